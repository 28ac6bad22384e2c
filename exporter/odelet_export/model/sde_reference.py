"""Solves of SDEs by torchsde, on the increments of a Brownian motion that come from base draws of the run.

torchsde draws its path from numpy's global generator. In the runs that are compared with an artifact, the path is made
of the same numbers that the artifact takes as inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from odelet.loops.brownian import BridgedPath, draw_shapes
from odelet.methods.sde import SdeMethod
from odelet.numerics.backend import NUMPY
from odelet.numerics.grid import accumulated_points
from odelet_export.model.random_draws import draw_keys
from odelet_export.model.sde_spec import KEYS, NORMALS
from odelet_export.model.spec import SolveSpec
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.torchsde_calls import Drawn, SdeCall


def points_of(call: SdeCall, spec: SolveSpec, t: Tensor) -> np.ndarray:
    """The ends of the steps (steps + 1,) from the first of the times t to the last: torchsde's own, or equal steps."""
    assert spec.sde is not None and spec.grid is not None
    times = _array(t)
    try:
        if spec.grid.steps is None:
            return accumulated_points(times, spec.sde.step_size)
    except ValueError as error:
        raise CaptureError(f"{call.where}{error}") from None
    points: np.ndarray = spec.grid.points(times, direction=times.dtype.type(1), xp=NUMPY)
    return points


def _array(t: Tensor) -> np.ndarray:
    """The values of times. Under torch.func.grad a tensor has no memory that numpy could take."""
    try:
        return t.detach().numpy()
    except RuntimeError:
        return np.array(t.tolist(), str(t.dtype).removeprefix("torch."))


def noise_of(call: SdeCall, spec: SolveSpec, points: np.ndarray | None) -> dict[str, Tensor]:
    """Draw the noise of a solve, by the names among `spec.extras`: base draws of the run that is under way.

    Solves on one Brownian motion have the same noise where they take the same steps. points: the ends of the steps,
    None where they do not matter: the number of steps is then in the spec. Raises CaptureError for a motion that
    another solve has drawn in other steps.
    """
    method, y = spec.solver, call.y0
    assert isinstance(method, SdeMethod)
    times = None if points is None else tuple(points.tolist())
    noise = _drawn_before(call, times)
    if KEYS in spec.extras:
        noise = {KEYS: draw_keys(y.shape[0])}
    else:
        assert spec.grid is not None
        steps = spec.grid.steps or 0 if times is None else len(times) - 1
        for name, shape in draw_shapes(method, call.channels).items():
            if f"{NORMALS}{name}" not in noise:
                noise[f"{NORMALS}{name}"] = torch.randn((steps, y.shape[0], *shape), dtype=y.dtype)
    call.drawn.append(Drawn(times, noise))
    return {name: x for name, x in noise.items() if name in spec.extras}


def _drawn_before(call: SdeCall, times: tuple[float, ...] | None) -> dict[str, Tensor]:
    """What an earlier solve drew of the same Brownian motion for the same steps; empty where none did."""
    noise: dict[str, Tensor] = {}
    for drawn in call.drawn:
        if drawn.apart(times):
            continue
        if times is None or drawn.times != times:
            raise CaptureError(
                call.where
                + "the solve shares its bm with another solve that takes other steps over the same times, so "
                "that the two depend on one path; give both the same times and dt, without adaptive=True, or solve "
                "for both states in one sdeint"
            )
        noise |= drawn.noise
    return noise


class SdeSolution(NamedTuple):
    """A solution by torchsde. states: (times, batch, d). steps, accepted: attempted and accepted steps."""

    states: Tensor
    steps: int
    accepted: int


@dataclass
class _Motion:
    """A Brownian motion whose increments are made of standard normal numbers, in the order in which they are asked for.

    normals: the numbers of each step, by what is made of them. levy: how an area is approximated.
    """

    normals: Mapping[str, Tensor]
    levy: str
    step: int = 0

    def __call__(self, t: Any, t1: Any, return_U: bool = False, return_A: bool = False) -> Any:  # torchsde's names
        draws = {name: x[self.step] for name, x in self.normals.items()}
        self.step += 1
        h = torch.as_tensor(t1 - t).to(draws["w"].dtype)
        w = draws["w"] * h.sqrt()
        if not (return_U or return_A):
            return w
        space_time = draws["h"] * (h / 12).sqrt()
        answer = [w, *([h * (0.5 * w + space_time)] if return_U else [])]
        if return_A:
            answer.append(self._area(w, space_time, draws["area"], h) if "area" in draws else torch.zeros_like(w))
        return tuple(answer)

    def _area(self, w: Tensor, space_time: Tensor, normals: Tensor, h: Tensor) -> Tensor:
        from torchsde._brownian.brownian_interval import _davie_foster_approximation

        area: Tensor = _davie_foster_approximation(w, space_time, float(h), self.levy, lambda: normals)
        return area


def sde_solution(call: SdeCall, original: Callable[..., Any], spec: SolveSpec) -> SdeSolution:
    """The solution of a call as `solved_sde` gives it, on noise that is drawn for the run that is under way."""
    noise = noise_of(call, spec, points_of(call, spec, call.t) if spec.solver.fixed else None)
    return solved_sde(call, original, spec, noise)


def solved_sde(
    call: SdeCall, original: Callable[..., Any], spec: SolveSpec, noise: Mapping[str, Tensor]
) -> SdeSolution:
    """The solution by torchsde on given noise.

    original: the method `integrate` of torchsde's solver. noise: by the names among `spec.extras`. Where the export
    sets the steps, torchsde takes each step, on the points of the export.
    """
    solver, y0, t = call.solver, call.y0, call.t
    if KEYS in noise:
        return _along_path(call, original, spec, noise[KEYS])
    points = points_of(call, spec, t)
    normals = {name.removeprefix(NORMALS): x for name, x in noise.items() if name.startswith(NORMALS)}
    # A log-ODE solve that takes no area reads it all the same.
    missing = {name: torch.zeros_like(normals["w"]) for name in ("h",) if name not in normals}
    solver.bm = _Motion(normals | missing, solver.bm.levy_area_approximation)
    assert spec.grid is not None and spec.sde is not None
    if spec.grid.steps is None and spec.sde.step_size == float(solver.dt):
        states, _ = original(solver, y0, t, call.memory)
        return SdeSolution(states, len(points) - 1, len(points) - 1)
    states = _on_points(solver, y0, t, call.memory, torch.from_numpy(points))
    return SdeSolution(states, len(points) - 1, len(points) - 1)


def _along_path(call: SdeCall, original: Callable[..., Any], spec: SolveSpec, keys: Tensor) -> SdeSolution:
    """The solution with steps that follow an error estimate, along the path that the keys stand for."""
    method, solver, y0, t = spec.solver, call.solver, call.y0, call.t
    assert isinstance(method, SdeMethod)
    dtype = np.dtype(str(y0.dtype).removeprefix("torch."))
    path = BridgedPath(method, keys.numpy(), float(t[0]), call.channels, dtype)
    starts: list[float] = []

    def motion(t: Any, t1: Any, return_U: bool = False, return_A: bool = False) -> Any:  # torchsde's names
        w, u, area = (None if x is None else torch.from_numpy(x) for x in path.increment(float(t), float(t1)))
        answer = [w, *([u] if return_U else []), *([area] if return_A else [])]
        return answer[0] if len(answer) == 1 else tuple(answer)

    def step(t: Any, t1: Any, *state: Any) -> Any:
        starts.append(float(t))
        return type(solver).step(solver, t, t1, *state) if own is None else own(t, t1, *state)

    own = vars(solver).get("step")
    solver.bm, solver.step = motion, step
    states, _ = original(solver, y0, t, call.memory)
    # Each attempt takes three steps, the first of which starts where the attempt does.
    attempts = starts[::3]
    return SdeSolution(states, len(attempts), len({*attempts}))


def replaced(
    call: SdeCall, spec: SolveSpec, functions: Mapping[str, Callable[..., Tensor]], y0: Tensor, t: Tensor
) -> SdeCall:
    """The call with other functions, state and times, and with the numbers of its spec, as the call may have tensors
    of a tracer in their place. functions: by the names that a call has for them."""
    from torchsde._core.base_sde import ForwardSDE

    old = call.solver
    sde = _Functions(old.sde.noise_type, old.sde.sde_type, functions)
    forward = ForwardSDE(sde)
    if "correction" in functions:
        correction = functions["correction"]
        forward.g_prod_and_gdg_prod = lambda t, y, v1, v2: (forward.g_prod(t, y, v1), correction(t, y, v2))
        forward.dg_ga_jvp_column_sum = correction
    assert spec.sde is not None
    solver = type(old)(
        sde=forward,
        bm=old.bm,
        dt=spec.sde.step_size,
        adaptive=old.adaptive,
        rtol=spec.rtol,
        atol=spec.atol,
        dt_min=spec.sde.least_step,
        options=dict(old.options),
    )
    return replace(call, func=functions["field"], y0=y0, t=t, solver=solver)


class _Functions:
    """An SDE as torchsde takes it, made of functions."""

    def __init__(self, noise_type: str, sde_type: str, functions: Mapping[str, Callable[..., Tensor]]) -> None:
        self.noise_type, self.sde_type, self.f = noise_type, sde_type, functions["field"]
        if "diffusion" in functions:
            self.g = functions["diffusion"]
        if "product" in functions:
            self.g_prod = functions["product"]


def _on_points(solver: Any, y0: Tensor, t: Tensor, memory: Sequence[Tensor], points: Tensor) -> Tensor:
    """The solution by steps of the solver between given points; as in torchsde, it is linear between them."""
    states, y, before, previous = [y0], y0, points[0], y0
    i = 0
    for time in t[1:]:
        while points[i] < time:
            before, previous = points[i], y
            y, memory = solver.step(points[i], points[i + 1], y, memory)
            i += 1
        after = points[i]
        states.append(previous * ((after - time) / (after - before)) + y * ((time - before) / (after - before)))
    return torch.stack(states)
