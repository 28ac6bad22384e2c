"""The reference that errors are measured against: the model itself, with its solves at tight tolerances.

The law here: the reference is checked before anything is compared with it. It is solved twice, and its change from one
tolerance to the other is reported with every result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from odelet.errors import InputError
from odelet.methods.roster import METHODS
from odelet.numerics.backend import NumpyArray
from odelet_export.capture.surroundings import frozen_weights
from odelet_export.errors import FormError
from odelet_export.model.callee import Callee
from odelet_export.model.intercepted_run import run_intercepted
from odelet_export.model.overrides import Overrides
from odelet_export.model.random_draws import drawing
from odelet_export.model.random_sources import ReplayedSource, SeededSource
from odelet_export.model.reference import run_reference, solved
from odelet_export.model.widening import widened, widened_model
from odelet_export.proof.data import Data, scaled_error
from odelet_export.tuning.candidates import Solves
from odelet_intercept import installed
from odelet_intercept.call import Call
from odelet_intercept.errors import ExportError
from odelet_intercept.libraries.torchsde_calls import SdeCall

# Steps are made to end at the output times: between steps the solution is a quartic, which is less exact than a step.
METHOD = "dopri8"
# The method of solves that end at an event, at which no step can be made to end beforehand.
TO_EVENT = "dopri5"
# The tolerance of the reference, and the looser tolerance of its check: as tight as rounding lets error estimates be.
TIGHT = {"float64": (1e-9, 1e-8), "float32": (1e-6, 1e-5)}
# The uncertainty of the reference may be this share of the target.
SHARE = 0.1
# This many samples are solved as one batch, where no sample's answer depends on the other samples.
TOGETHER = 256


@dataclass(frozen=True)
class Truth:
    """The answers of the reference.

    tolerance, compared: the tolerance of the reference, and that of the looser solve that it is compared with. calls:
    the outputs of each call. scales: the largest element of each output, over all calls. axes: for each output the axis
    that counts samples, or None. uncertainty: the largest error between the two tolerances, relative to the scales.
    noise: the base draws of each call, for a model that draws. together: whether calls were solved as one batch.
    """

    dtype: str
    tolerance: float
    compared: float
    calls: list[list[NumpyArray]]
    scales: list[float]
    axes: list[int | None]
    uncertainty: float
    noise: list[list[NumpyArray]]
    together: bool

    def to_dict(self) -> dict[str, Any]:
        """The description of the reference as a dict of JSON types."""
        return {
            "method": METHOD,
            "dtype": self.dtype,
            "tolerance": self.tolerance,
            "compared": self.compared,
            "uncertainty": self.uncertainty,
            "scales": self.scales,
            "together": self.together,
        }

    def errors(self, number: int, outputs: Sequence[NumpyArray]) -> NumpyArray:
        """The errors (samples,) of a call, relative to the scales."""
        return scaled_error(outputs, self.calls[number], self.scales, self.axes)


def solves_of(callee: Callee, tensors: Sequence[torch.Tensor]) -> Solves:
    """Run the model as it is, and collect the facts of its solves from their calls."""
    calls: list[Call] = []

    def handler(call: Call, original: Callable[..., Any]) -> Any:
        if isinstance(call, SdeCall):
            raise FormError(
                f"the solve at {call.source} is of an SDE, whose answers are as random as its noise; a tuning compares "
                "methods for ODEs: choose method and dt of an SDE in the model"
            )
        if call.depth == 0 and call.entry != "mark":
            calls.append(call)
        return solved(call, original, Overrides())

    with frozen_weights(callee), callee.restoring():
        run_intercepted(callee, tensors, handler, silent=False)
    names = [installed.name_of(call.method or "dopri5") for call in calls]
    intervals = [len(call.t) - 1 for call in calls if call.event_fn is None]
    return Solves(
        tuple(name for name in names if name in METHODS),
        max(intervals, default=1),
        any(call.event_fn is not None for call in calls),
    )


class Reference:
    """Runs the model with its solves at tight tolerances. axes: for each output the axis that counts samples, or
    None."""

    def __init__(self, callee: Callee, data: Data, axes: Sequence[int | None], *, seed: int) -> None:
        self._callee, self._data, self._axes, self._seed = callee, data, list(axes), seed
        self._draws = False
        self._wide = self._widened()

    def _widened(self) -> Callee | None:
        """The model in float64; None for a model that cannot be copied, or that does not run in float64."""
        wide = widened_model(self._callee)
        if wide is None:
            return None
        try:
            with _float64():
                run_reference(wide, self._tensors(self._data.call(0), wide=True), Overrides())
        except Exception:  # a model with float32 numbers of its own may raise any error
            return None
        return wide

    def _tensors(self, arrays: dict[str, NumpyArray], *, wide: bool) -> list[torch.Tensor]:
        tensors = [torch.from_numpy(arrays[name]) for name in self._callee.names]
        return widened(tensors) if wide else tensors

    def find(self, on_call: Callable[[int, int], None]) -> Truth:
        """Solve all calls. on_call: called with the number of calls done and the number of all calls. Raises InputError
        where the model fails."""
        data = self._data
        dtype = "float64" if self._wide is not None else "float32"
        tolerances = TIGHT[dtype]
        drawn = [self._drawn(number) for number in range(data.calls)]
        split = data.label is not None and all(axis is not None for axis in self._axes)
        together = split and data.calls > 1 and not any(drawn)
        if together:
            together = self._alike(tolerances)
        size = max(TOGETHER // data.batch, 1) if together else 1
        tight: list[list[NumpyArray]] = []
        loose: list[list[NumpyArray]] = []
        for first in range(0, data.calls, size):
            on_call(first, data.calls)
            for outputs, tolerance in zip((tight, loose), tolerances, strict=True):
                outputs += self._some(first, min(size, data.calls - first), tolerance, drawn[first])
        scales = [_scale([call[i] for call in tight]) for i in range(len(self._axes))]
        far = [scaled_error(a, b, scales, self._axes).max() for a, b in zip(loose, tight, strict=True)]
        uncertainty = float(max(far))
        arrays = [[x.numpy() for x in draws] for draws in drawn]
        return Truth(dtype, *tolerances, tight, scales, self._axes, uncertainty, arrays, together)

    def _drawn(self, number: int) -> list[torch.Tensor]:
        """The base draws of a call, as the artifact takes them; empty for a model that draws nothing."""
        if number and not self._draws:
            return []
        source = SeededSource(self._seed + number)
        with drawing(source), self._naming(f"call {number}"):
            run_reference(self._callee, self._tensors(self._data.call(number), wide=False), Overrides())
        self._draws = bool(source.arrays)
        return source.arrays

    def _alike(self, tolerances: tuple[float, float]) -> bool:
        """Whether a call has the same answer alone and in one batch with another call."""
        try:
            _, among = self._some(0, 2, tolerances[0], [])
            (alone,) = self._some(1, 1, tolerances[0], [])
        except InputError:
            return False
        scales = [_scale([x]) for x in alone]
        return bool(scaled_error(among, alone, scales, self._axes).max() <= 10 * tolerances[1])

    def _some(self, first: int, count: int, tolerance: float, draws: Sequence[torch.Tensor]) -> list[list[NumpyArray]]:
        """The outputs of each of some calls, which are solved as one batch."""
        where = f"calls {first} to {first + count - 1}" if count > 1 else f"call {first}"
        outputs = self._solved(self._data.call(first, count), tolerance, draws, where)
        if count == 1:
            return [outputs]
        cut = [np.split(x, count, axis) for x, axis in zip(outputs, self._axes, strict=True) if axis is not None]
        return [list(call) for call in zip(*cut, strict=True)]

    def _solved(
        self, arrays: dict[str, NumpyArray], tolerance: float, draws: Sequence[torch.Tensor], where: str
    ) -> list[NumpyArray]:
        wide = self._wide is not None
        callee = self._wide if self._wide is not None else self._callee
        replayed = drawing(ReplayedSource([x.double() if wide else x for x in draws]))
        with replayed, _float64(on=wide), frozen_weights(callee), self._naming(where):
            outputs = _run_tight(callee, self._tensors(arrays, wide=wide), tolerance)
        for output in outputs:
            if output.dtype.kind == "f" and not np.isfinite(output).all():
                raise InputError(f"data: the model's own answer at {where} is not finite; leave such samples out")
        return [x.astype(np.float64) if x.dtype.kind == "f" else x for x in outputs]

    @contextmanager
    def _naming(self, where: str) -> Iterator[None]:
        """Turn an error of the model into an InputError that names the call."""
        try:
            yield
        except (InputError, ExportError):
            raise
        except Exception as error:  # the model may raise any error on data that it was not made for
            raise InputError(
                f"data: the torch model fails on {where}, solved by {METHOD}: {type(error).__name__}: {error}"
            ) from error


def _run_tight(callee: Callee, tensors: Sequence[torch.Tensor], tolerance: float) -> list[NumpyArray]:
    """The outputs of the model with all its solves at a tolerance."""

    def handler(call: Call, original: Callable[..., Any]) -> Any:
        return solved(call if call.entry == "mark" else _tight(call, tolerance), original, Overrides(method=METHOD))

    outputs = run_intercepted(callee, tensors, handler)
    return [output.detach().cpu().numpy() for output in outputs]


def _tight(call: Call, tolerance: float) -> Call:
    """A call at a tolerance, which keeps the times at which the model says that its field jumps."""
    options: dict[str, Any] = {}
    jumps = (call.options or {}).get("jump_t")
    if jumps is not None:
        options["jump_t"] = jumps
    if call.event_fn is None:
        ends = call.t[1:].double()
        if jumps is not None:
            ends = ends[~torch.isin(ends, torch.as_tensor(jumps, dtype=torch.float64))]
        options["step_t"] = ends
    method = METHOD if call.event_fn is None else TO_EVENT
    return replace(call, method=method, rtol=tolerance, atol=tolerance, options=options)


def _scale(outputs: Sequence[NumpyArray]) -> float:
    """The largest element of an output in some calls; 1 for an output that is not float, or zero."""
    if outputs[0].dtype.kind != "f":
        return 1.0
    return max((float(np.abs(x).max()) for x in outputs if x.size), default=0.0) or 1.0


@contextmanager
def _float64(*, on: bool = True) -> Iterator[None]:
    """Let tensors that the model makes without a dtype be float64 inside the `with` block."""
    before = torch.get_default_dtype()
    if on:
        torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
