"""Other ways to solve the same models. The law here: same weights, inputs, tolerances and step control as odelet's.

Each maker returns a call without arguments and what it says of its steps; what is not installed is Missing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from in_jax import in_jax, layers_in
from torchdiffeq import odeint
from workloads import Array, Digits, Flow, Layers, Solved

# torchdiffeq's step control: safety, largest and smallest factor, exponent 1/order.
SAFETY, LARGEST, SMALLEST = 0.9, 10.0, 0.2


class Missing(Exception):
    """A peer cannot run here, or not this model; the text is for the table."""


@dataclass(frozen=True)
class Peer:
    """A way to run a model. call: returns an array like the model's output. steps: attempted; evaluations: of the
    field, of its dearest sample where each has its own; None where the peer does not say."""

    call: Callable[[], Any]
    steps: int | None = None
    evaluations: int | None = None
    note: str = ""


def _installed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise Missing(f"not installed ({error.name or name}); pip install 'odelet[bench]'") from error


def eager(model: Solved, x: Array, *, rk4: int | None = None) -> Peer:
    """torchdiffeq as it is, without gradients."""
    if rk4 is not None:
        model = copy.copy(model)
        step = float(model.times[-1] - model.times[0]) / rk4
        model.solve = lambda state: odeint(  # type: ignore[method-assign]
            model.field, state, model.times, method="rk4", options={"step_size": step}
        )
    return Peer(_torch_call(model, x), evaluations=_count(model, x))


def _torch_call(model: Solved, x: Array) -> Callable[[], Any]:
    given = torch.from_numpy(x)

    def call() -> Any:
        with torch.no_grad():
            return model(given).numpy()

    return call


def _count(model: Solved, x: Array) -> int:
    calls: list[int] = []
    hook = model.field.register_forward_hook(lambda *_: calls.append(1))
    _torch_call(model, x)()
    hook.remove()
    return len(calls)


def compiled(model: Solved, x: Array) -> Peer:
    """torchdiffeq with a field that torch.compile made."""
    evaluations = _count(model, x)
    model = copy.deepcopy(model)
    torch._dynamo.reset()
    model.field = torch.compile(model.field, dynamic=False)
    call = _torch_call(model, x)
    try:
        call()
    except Exception as error:  # inductor needs a C++ compiler, and not all fields can be compiled
        raise Missing(f"torch.compile failed: {' '.join(str(error).split())[:160]}") from error
    return Peer(call, evaluations=evaluations)


def torchode(model: Solved, x: Array) -> Peer:
    """torchode's dopri5, whose steps are each sample's own."""
    library = _installed("torchode")
    rows = _rows(model)
    term = library.ODETerm(rows)
    control = library.IntegralController(
        model.atol, model.rtol, term=term, safety=SAFETY, factor_min=SMALLEST, factor_max=LARGEST
    )
    solver = library.AutoDiffAdjoint(library.Dopri5(term), control)
    given, times = torch.from_numpy(x), model.times

    def solve() -> tuple[Any, Any]:
        with torch.no_grad():
            y0 = model.before(given)
            state = y0 if not isinstance(y0, tuple) else torch.cat(y0, dim=1)
            problem = library.InitialValueProblem(state.flatten(1), t_eval=times.expand(len(given), -1))
            found = solver.solve(problem)
            path = found.ys.transpose(0, 1).reshape(len(times), *state.shape)
            parts = path if not isinstance(y0, tuple) else path.split([part.shape[1] for part in y0], dim=2)
            return model.after(parts).numpy(), found.stats

    try:
        stats = solve()[1]
    except Exception as error:
        raise Missing(f"torchode failed: {' '.join(str(error).split())[:160]}") from error
    steps, calls = (int(stats[key].max()) for key in ("n_steps", "n_f_evals"))
    return Peer(lambda: solve()[0], steps, calls, "each sample has its own steps")


def _rows(model: Solved) -> Callable[[Any, Any], Any]:
    """The field on rows (batch, n), at a time for each."""
    if isinstance(model, Digits):
        with torch.no_grad():
            shape = model.before(torch.zeros(1, 64)).shape[1:]
        return lambda t, y: model.field(t.reshape(-1, 1, 1, 1), y.reshape(-1, *shape)).flatten(1)
    if isinstance(model, Flow):
        return lambda t, y: torch.cat(model.field(t, (y[:, :-1], y[:, -1:])), dim=1)
    return model.field


def diffrax(model: Solved, x: Array) -> Peer:
    """diffrax, jitted: the state is the whole batch, so that its steps are those of torchdiffeq."""
    jax, library = _installed("jax"), _installed("diffrax")
    jnp = jax.numpy
    before, field, after = in_jax(model, jax)
    times = jnp.asarray(model.times.numpy())
    control = library.PIDController(
        rtol=model.rtol, atol=model.atol, safety=SAFETY, factormin=SMALLEST, factormax=LARGEST
    )

    @jax.jit
    def solve(x: Any) -> tuple[Any, Any]:
        found = library.diffeqsolve(
            library.ODETerm(lambda t, y, args: field(t, y)),
            library.Dopri5(),
            times[0],
            times[-1],
            None,
            before(x),
            saveat=library.SaveAt(ts=times),
            stepsize_controller=control,
            adjoint=library.ForwardMode(),
        )
        return after(found.ys), found.stats["num_steps"]

    steps = int(solve(x)[1])
    # First same as last: six evaluations a step, one at the start and one for the length of the first.
    return Peer(lambda: np.asarray(solve(x)[0]), steps, 2 + 6 * steps)


def scipy(model: Solved, x: Array) -> Peer:
    """SciPy's RK45 in numpy, in float64, as SciPy always is."""
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

    return Peer(call, evaluations=int(solve().nfev), note="another norm of the error, and float64 beside the field")


PEERS: dict[str, Callable[[Solved, Array], Peer]] = {
    "torchdiffeq": eager,
    "torchdiffeq, compiled field": compiled,
    "torchode": torchode,
    "diffrax": diffrax,
    "SciPy": scipy,
    **{f"torchdiffeq, rk4, {steps} steps": partial(eager, rk4=steps) for steps in (8, 32, 128)},
}
