"""The markers of an SDE: regions for its drift, its diffusion and their products, and draws for its Brownian motion.

odelet::Begin       a time and a state; the nodes of the drift follow
odelet::Diffusion   the same for the diffusion
odelet::Product     a time, a state and a vector for each batch row; the nodes of the diffusion's product follow
odelet::Correction  the same for the derivative term of a method
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from odelet_export.capture.decisions.answers import TracingWatch
from odelet_export.capture.decisions.example_values import real
from odelet_export.model.sde_reference import noise_of, points_of
from odelet_export.model.sde_spec import MEMORY
from odelet_export.model.spec import SolveSpec
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.torchsde_calls import SdeCall


def state_of(name: str, call: SdeCall, y: Tensor) -> list[Tensor]:
    """The tensors that a function of the SDE takes besides the time: the state, and the vector of a product."""
    if name not in ("product", "correction"):
        return [y]
    area = name == "correction" and "area" in call.solver_method.draws
    return [y, y.new_ones((y.shape[0], *[call.channels] * (1 + area)))]


def function_value(name: str, value: object, call: SdeCall, y: Tensor, where: str) -> Tensor:
    """What a function of the SDE returned, in the shape that it must have and the dtype of the state."""
    if not isinstance(value, Tensor):
        raise CaptureError(where + f"the {name} of the SDE returned {type(value).__name__}; it must return a tensor")
    matrix = name == "diffusion" and call.noise != "diagonal"
    return torch.broadcast_to(value, (*y.shape, call.channels) if matrix else tuple(y.shape)).to(y.dtype)


def sde_extras(call: SdeCall, spec: SolveSpec, y: Tensor, t: Tensor, watch: TracingWatch) -> list[Tensor]:
    """The values of `spec.extras`: the grid, what the first step remembers, and the draws of the Brownian motion."""
    points = _grid(call, spec, t, watch) if "grid" in spec.extras else None
    values = dict(zip((name for name in spec.extras if name.startswith(MEMORY)), call.memory, strict=True))
    if points is not None:
        values["grid"] = torch.from_numpy(points)
    values |= noise_of(call, spec, points)
    return [values[name] for name in spec.extras]


def _grid(call: SdeCall, spec: SolveSpec, t: Tensor, watch: TracingWatch) -> np.ndarray:
    """The ends of the steps (steps + 1,), which are numbers of the trace, as their count is the size of the noise."""
    times = _held(t, watch)
    if times is None:
        raise CaptureError(
            call.where + "the times of the SDE change with the inputs, and with them the number of steps; make them "
            "constants, freeze the input that they come from (--freeze), or give the number of steps (--steps), which "
            "then are of equal length"
        )
    with real():
        return points_of(call, spec, times)


def _held(t: Tensor, watch: TracingWatch) -> Tensor | None:
    """The times, if they are constants or follow from frozen inputs alone, which each call then checks; else None."""
    on_example = watch.shadows.of(t)
    if on_example is None or not on_example.sources <= watch.frozen:
        return None
    times: Tensor = on_example.value
    if on_example.sources:
        with watch:
            watch.assume((t == times).all(), str(times.tolist()), on_example.sources)
    return times
