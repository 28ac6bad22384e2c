"""Comparing a lowered model with torchdiffeq, step for step."""

import numpy as np
import pytest

from odelet.status import Status
from support.rosters import ADAPTIVE


def matches(case, model, x, t=None):
    """Assert that a model gives torchdiffeq's values at x (and t), and in float64 takes torchdiffeq's steps.

    case: the `Case` that was lowered to the model. x: the input, (batch, width). t: output times; None where the case
    has constant ones.
    """
    theirs = case.torch(x, t)
    inputs = (x,) if t is None else (x, np.array(t, case.time_dtype or case.dtype))
    ours = model.solve(*inputs)
    (stats,) = ours.stats.solves
    assert (ours.status, stats.form, stats.method) == (Status.OK, case.form, case.method)
    adaptive = case.method in ADAPTIVE
    if case.dtype == "float64" or not adaptive:
        assert (stats.steps, stats.accepted, stats.evaluations) == (theirs.steps, theirs.accepted, theirs.evaluations)
    end = (case.times if t is None else t)[-1]
    assert stats.time == pytest.approx(end, rel=1e-7) or (adaptive and stats.steps > 0)
    # In float32, rounding moves the ends of steps, and dense output has the error of the tolerance; see test_odeint.py.
    allowed = {"float64": 1e-15, "float32": 1e-6}[case.dtype] * 10
    if adaptive:
        allowed = 20 * case.rtol if case.dtype == "float32" else 1e-10 if case.method == "dopri8" else 1e-11
    for output, wanted in zip(ours.outputs.values(), theirs.outputs, strict=True):
        assert (output.shape, output.dtype) == (wanted.shape, wanted.dtype)
        assert np.abs(output - wanted).max() <= allowed * np.abs(wanted).max()
