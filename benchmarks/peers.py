"""Other solvers for the same models, with the same weights, inputs, tolerances and step control as odelet's.

Each function of PEERS makes a `Peer` of a model and an input. It raises Missing for a solver that is not installed or
cannot run the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from in_jax import in_jax
from jax_layers import layers_in
from solved import Array, Digits, Flow, Layers, Solved

# The step control of torchdiffeq: safety, largest and smallest factor. Its exponent is 1/order.
SAFETY, LARGEST, SMALLEST = 0.9, 10.0, 0.2


class Missing(Exception):
    """A peer cannot run here, or cannot run this model. The text says why, for the table."""


@dataclass(frozen=True)
class Peer:
    """Another way to run a model.

    call: returns an array like the model's output. steps: the number of attempted steps. evaluations: the number of
    evaluations of the field; where each sample has its own steps, of the sample with the most. Both are None where the
    peer does not say. other_steps: whether the peer controls its steps in another way, so that its work differs. note:
    how else the peer differs.
    """

    call: Callable[[], Any]
    steps: int | None = None
    evaluations: int | None = None
    other_steps: bool = False
    note: str = ""


def _installed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise Missing(f"not installed ({error.name or name}); pip install 'odelet[bench]'") from error


def eager(model: Solved, x: Array) -> Peer:
    """torchdiffeq in eager mode, without gradients."""
    return Peer(_torch_call(model, x), evaluations=_count(model, x))


def with_rk4(way: Callable[[Solved, Array], Peer], steps: int) -> Callable[[Solved, Array], Peer]:
    """A way to run models in torch with so many steps of rk4 in place of the model's own method."""

    def run(model: Solved, x: Array) -> Peer:
        model = copy.copy(model)
        step = float(model.times[-1] - model.times[0]) / steps
        model.method, model.options = "rk4", {"step_size": step}
        return way(model, x)

    return run


def _torch_call(model: Solved, x: Array) -> Callable[[], Any]:
    tensor = torch.from_numpy(x)

    def call() -> Any:
        with torch.no_grad():
            return model(tensor).numpy()

    return call


def _count(model: Solved, x: Array) -> int:
    """The number of evaluations of the field in one call of the model."""
    calls: list[int] = []
    hook = model.field.register_forward_hook(lambda *_: calls.append(1))
    _torch_call(model, x)()
    hook.remove()
    return len(calls)


def compiled(model: Solved, x: Array) -> Peer:
    """torchdiffeq with a field compiled by torch.compile."""
    evaluations = _count(model, x)
    model = copy.deepcopy(model)
    torch._dynamo.reset()
    model.field = torch.compile(model.field, dynamic=False)
    return Peer(_compiled_call(model, x), evaluations=evaluations)


def compiled_whole(model: Solved, x: Array) -> Peer:
    """The whole model with its solve, compiled by torch.compile. The note says where Dynamo breaks the graph."""
    evaluations = _count(model, x)
    torch._dynamo.reset()
    breaks = torch._dynamo.utils.counters["graph_break"]
    breaks.clear()
    call = _compiled_call(torch.compile(copy.deepcopy(model), dynamic=False), x)
    note = f"Dynamo breaks the graph at {len(breaks)} places" if breaks else "in one graph"
    return Peer(call, evaluations=evaluations, note=note)


def _compiled_call(model: Any, x: Array) -> Callable[[], Any]:
    """A call of a model of which torch.compile has compiled a part, or all."""
    call = _torch_call(model, x)
    try:
        call()
    except Exception as error:  # Inductor needs a C++ compiler, and some models cannot be compiled.
        raise Missing(f"torch.compile failed: {' '.join(str(error).split())[:160]}") from error
    return call


def torchode(model: Solved, x: Array) -> Peer:
    """torchode's dopri5, which takes separate steps for each sample."""
    library = _installed("torchode")
    rows = _rows(model)
    term = library.ODETerm(rows)
    control = library.IntegralController(
        model.atol, model.rtol, term=term, safety=SAFETY, factor_min=SMALLEST, factor_max=LARGEST
    )
    solver = library.AutoDiffAdjoint(library.Dopri5(term), control)
    tensor, times = torch.from_numpy(x), model.times

    def solve() -> tuple[Any, Any]:
        with torch.no_grad():
            y0 = model.before(tensor)
            state = y0 if not isinstance(y0, tuple) else torch.cat(y0, dim=1)
            problem = library.InitialValueProblem(state.flatten(1), t_eval=times.expand(len(tensor), -1))
            solution = solver.solve(problem)
            path = solution.ys.transpose(0, 1).reshape(len(times), *state.shape)
            parts = path if not isinstance(y0, tuple) else path.split([part.shape[1] for part in y0], dim=2)
            return model.after(parts).numpy(), solution.stats

    try:
        stats = solve()[1]
    except Exception as error:
        raise Missing(f"torchode failed: {' '.join(str(error).split())[:160]}") from error
    steps, calls = (int(stats[key].max()) for key in ("n_steps", "n_f_evals"))
    return Peer(lambda: solve()[0], steps, calls, other_steps=True, note="each sample has its own steps")


def _rows(model: Solved) -> Callable[[Any, Any], Any]:
    """The field as a function of times (batch,) and rows (batch, n)."""
    if isinstance(model, Digits):
        with torch.no_grad():
            shape = model.before(torch.zeros(1, 64)).shape[1:]
        return lambda t, y: model.field(t.reshape(-1, 1, 1, 1), y.reshape(-1, *shape)).flatten(1)
    if isinstance(model, Flow):
        return lambda t, y: torch.cat(model.field(t, (y[:, :-1], y[:, -1:])), dim=1)
    return model.field


def diffrax(model: Solved, x: Array) -> Peer:
    """diffrax, jitted. Its state is the whole batch, so that it takes the steps of torchdiffeq."""
    jax, library = _installed("jax"), _installed("diffrax")
    jnp = jax.numpy
    before, field, after = in_jax(model, jax)
    times = jnp.asarray(model.times.numpy())
    # First same as last: dopri5 evaluates the field six times a step, once at the start and once for the first length.
    each, once = (6, 2) if model.method == "dopri5" else (1, 0)
    solver, control = library.Euler(), library.StepTo(ts=times)
    if model.method == "dopri5":
        solver = library.Dopri5()
        control = library.PIDController(
            rtol=model.rtol, atol=model.atol, safety=SAFETY, factormin=SMALLEST, factormax=LARGEST
        )

    @jax.jit
    def solve(x: Any) -> tuple[Any, Any]:
        solution = library.diffeqsolve(
            library.ODETerm(lambda t, y, args: field(t, y)),
            solver,
            times[0],
            times[-1],
            None,
            before(x),
            saveat=library.SaveAt(ts=times),
            stepsize_controller=control,
            adjoint=library.ForwardMode(),
        )
        return after(solution.ys), solution.stats["num_steps"]

    steps = int(solve(x)[1])
    return Peer(lambda: np.asarray(solve(x)[0]), steps, once + each * steps)


def scipy(model: Solved, x: Array) -> Peer:
    """SciPy's RK45 in numpy. SciPy always computes in float64."""
    integrate = _installed("scipy.integrate")
    if type(model.field) is not Layers:
        raise Missing("this model was not written in numpy")
    net = layers_in(np, model.field, np.asarray)
    times = model.times.numpy().astype(np.float64)
    with torch.no_grad():
        y0 = model.before(torch.from_numpy(x)).numpy()

    def solve() -> Any:
        return integrate.solve_ivp(
            lambda t, y: net(y.astype(np.float32).reshape(y0.shape)).ravel(),
            (times[0], times[-1]),
            y0.ravel(),
            t_eval=times,
            rtol=model.rtol,
            atol=model.atol,
        )

    def call() -> Array:
        path = solve().y.T.reshape(len(times), *y0.shape).astype(np.float32)
        with torch.no_grad():
            return np.asarray(model.after(torch.from_numpy(path)))

    return Peer(
        call,
        evaluations=int(solve().nfev),
        other_steps=True,
        note="another norm of the error, and float64 beside the field",
    )


PEERS: dict[str, Callable[[Solved, Array], Peer]] = {
    "torchdiffeq": eager,
    "torchdiffeq, compiled field": compiled,
    "torchdiffeq, compiled whole": compiled_whole,
    "torchode": torchode,
    "diffrax": diffrax,
    "SciPy": scipy,
    **{f"torchdiffeq, rk4, {steps} steps": with_rk4(eager, steps) for steps in (8, 32, 128)},
    **{f"torchdiffeq, rk4, {steps} steps, compiled whole": with_rk4(compiled_whole, steps) for steps in (8, 32, 128)},
}
