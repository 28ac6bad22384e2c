"""Models that call no solver that is caught: what they call instead, or the loop that they take their steps in."""

from __future__ import annotations

import sys
import time
import types
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from odelet_export.model.callee import Callee
from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import Place, is_library, with_source

# Packages with solvers of their own: what each is, and the way out.
OTHERS = {
    "torchdyn": (
        "torchdyn solves by functions of its own, not by torchdiffeq",
        "solve its vector field by torchdiffeq, as in odeint(lambda t, y: model.vf(t, y), x, t)",
    ),
    "zuko": (
        "zuko solves by a function of its own, which chooses its steps in Python",
        "solve the same field by torchdiffeq.odeint",
    ),
    "torchode": (
        "torchode solves by functions of its own, each sample with its own steps",
        "solve the same field by torchdiffeq.odeint, and export with per_sample",
    ),
    "diffrax": (
        "diffrax is a library for JAX, and odelet exports torch models",
        "write the model in torch with torchdiffeq, and copy the weights",
    ),
    "scipy": (
        "scipy solves on numpy arrays, which no graph holds",
        "call torchdiffeq.odeint, where method='scipy_solver' runs the same solvers",
    ),
}
# A model with a loop of its own may run for long; a part of its run shows the loop as well.
_SECONDS = 1.0
_REPEATED = 3


def no_solver_called(callee: Callee) -> CaptureError:
    """The error for a model that called no solver on its example. The model runs once more, for a second at most."""
    watch = _look_closer(callee)
    if watch.packages:
        what, advice = OTHERS[next(iter(watch.packages))]
        place = next(iter(watch.packages.values()))
        return CaptureError(f"{with_source(place)}\n  found: a call of another library: {what}\n  do: {advice}")
    loop = watch.loop()
    head = "" if loop is None else f"{with_source(loop)}\n  found: a loop of the model's own, and no solve: "
    return CaptureError(
        head + "the model made no call of torchdiffeq.odeint, odeint_adjoint or mark while it ran on the example\n"
        '  do: export it as it stands with form="plain"; where the loop takes the steps of an ODE, call '
        'torchdiffeq.odeint(field, x, t, method="euler"), which gives it every form; where it iterates to a fixed '
        "point, call odelet_export.mark; or use torch.onnx.export"
    )


class _Enough(BaseException):
    """Ends a run that has shown enough; no `except Exception` of the model may hold it up."""


@dataclass
class _Watch:
    """A trace function, as `sys.settrace` takes it, for one run of a model.

    packages: the packages of OTHERS that were called, each with the user's line that called it.
    """

    packages: dict[str, Place | None] = field(default_factory=dict)
    _lines: Counter[Place] = field(default_factory=Counter)
    _depths: dict[Place, int] = field(default_factory=dict)
    _ends: float = field(default_factory=lambda: time.monotonic() + _SECONDS)

    def __call__(self, frame: types.FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        del event, arg
        if time.monotonic() > self._ends:
            raise _Enough
        package = str(frame.f_globals.get("__name__", "")).split(".")[0]
        if package in OTHERS:
            self.packages.setdefault(package, _caller(frame))
            raise _Enough
        if is_library(frame.f_code.co_filename) or "site-packages" in frame.f_code.co_filename:
            return None
        depth = _depth(frame)

        def lines(frame: types.FrameType, event: str, arg: Any) -> Any:
            del arg
            if event == "line":
                place = frame.f_code.co_filename, frame.f_lineno
                self._lines[place] += 1
                self._depths.setdefault(place, depth)
            return lines

        return lines

    def loop(self) -> Place | None:
        """The line at the head of the outermost loop, or None."""
        repeated = [place for place, count in self._lines.items() if count >= _REPEATED]
        return min(repeated, key=lambda place: self._depths[place], default=None)


def _look_closer(callee: Callee) -> _Watch:
    """The record of one more run of the model."""
    watch, before = _Watch(), sys.gettrace()
    copies = [tensor.clone() for tensor in callee.example]
    sys.settrace(watch)
    try:
        with callee.restoring(), suppress(Exception, _Enough), torch.random.fork_rng(devices=[]):
            callee(*copies)
    finally:
        sys.settrace(before)
    return watch


def _caller(frame: types.FrameType) -> Place | None:
    """The innermost line of the user's code that a frame was called from."""
    above = frame.f_back
    while above is not None:
        if not is_library(above.f_code.co_filename) and "site-packages" not in above.f_code.co_filename:
            return above.f_code.co_filename, above.f_lineno
        above = above.f_back
    return None


def _depth(frame: types.FrameType) -> int:
    """How many frames lie around a frame."""
    depth, above = 0, frame.f_back
    while above is not None:
        depth, above = depth + 1, above.f_back
    return depth
