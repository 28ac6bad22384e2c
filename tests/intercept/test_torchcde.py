"""Coefficients of paths from observations with missing values: what they are, and torchcde's functions in a trace."""

import sys
import types
import warnings

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

import odelet
from odelet.errors import AssumptionError
from odelet_export import export
from odelet_intercept.libraries.observed_paths import (
    carried_forward,
    filled,
    natural_cubic,
    rectilinear_knots,
    unit_times,
)
from odelet_intercept.libraries.torchcde_calls import TORCHCDE


def observations(shape, missing, dtype=torch.float64):
    """Random values, of which a share is missing; some rows miss their ends, and one channel has no value at all."""
    x = torch.randn(shape, dtype=dtype)
    x[torch.rand(shape) < missing] = torch.nan
    if missing and x.ndim == 3:
        x[0, :2, 0], x[1, -2:, 1], x[2, :, 1] = torch.nan, torch.nan, torch.nan
    return x


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("shape", [(4, 7, 3), (2, 2), (2, 3, 5, 2)])
def test_missing_values_lie_on_lines_between_the_observed_ones(shape, missing):
    x, t = observations(shape, missing), torch.rand(shape[-2], dtype=torch.float64).cumsum(0) + 0.1
    ours = filled(x, t).movedim(-2, -1).reshape(-1, shape[-2])
    for row, values in zip(ours, x.movedim(-2, -1).reshape(-1, shape[-2]), strict=True):
        seen = ~values.isnan()
        expected = np.interp(t, t[seen], values[seen]) if seen.any() else np.zeros(len(t))
        assert np.allclose(row, expected, atol=1e-12)
        assert torch.equal(row[seen], values[seen])


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_a_rectilinear_path_moves_in_time_first(missing):
    x = observations((4, 6, 3), missing)
    x[..., 1] = torch.rand(4, 6, dtype=torch.float64).cumsum(1)
    knots = rectilinear_knots(x, 1)
    for row, path in zip(x, knots, strict=True):
        last, expected = torch.full((3,), torch.nan, dtype=torch.float64), []
        for values in row:
            if expected:
                expected.append(torch.stack([last[0], values[1], last[2]]))
            last = torch.where(values.isnan(), last, values)
            expected.append(last)
        assert torch.equal(torch.stack(expected).nan_to_num(nan=9.0), path.nan_to_num(nan=9.0))
    assert torch.equal(carried_forward(x)[..., 1], x[..., 1])


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("shape", [(4, 7, 3), (3, 90, 2), (2, 2)])
@pytest.mark.parametrize("constant_ends", [True, False])
def test_natural_splines_are_those_of_scipy_through_the_observed_values(shape, missing, constant_ends):
    x, t = observations(shape, missing), torch.rand(shape[-2], dtype=torch.float64).cumsum(0) + 0.1
    coefficients = natural_cubic(x, t, constant_ends=constant_ends)
    rows = x.movedim(-2, -1).reshape(-1, shape[-2])
    ours = torch.stack(coefficients.chunk(4, -1), dim=-1).movedim(-3, -2).reshape(len(rows), -1, 4)
    for row, values in zip(ours, rows, strict=True):
        seen = ~values.isnan()
        known = torch.from_numpy(np.interp(t, t[seen], values[seen])) if seen.any() else torch.zeros(len(t)).double()
        knots = seen.clone()
        ends = torch.nonzero(seen).flatten() if seen.any() else torch.tensor([len(t)])
        places = torch.arange(len(t))
        knots |= ((places < ends[0]) | (places > ends[-1])) if constant_ends else (places % (len(t) - 1) == 0)
        spline = CubicSpline(t[knots].numpy(), known[knots].numpy(), bc_type="natural")
        start = t[:-1].numpy()
        expected = [spline(start), spline(start, 1), spline(start, 2), spline(start, 3) / 2]
        scale = 1 + np.abs(expected[3]).max()
        assert np.abs(row.numpy().T - np.stack(expected)).max() < 1e-10 * scale


def _scalar(t, x):
    """One channel's values with the missing ones filled, time by time."""
    seen = [i for i in range(len(t)) if not bool(torch.isnan(x[i]))]
    if not seen:
        return torch.zeros_like(x)
    values = []
    for i in range(len(t)):
        before, after = max((j for j in seen if j <= i), default=seen[0]), min((j for j in seen if j >= i), default=-1)
        after = seen[-1] if after < 0 else after
        share = 0.0 if t[after] == t[before] else (t[i] - t[before]) / (t[after] - t[before])
        values.append(x[before] + share * (x[after] - x[before]))
    return torch.stack(values)


def linear_interpolation_coeffs(x, t=None, rectilinear=None):
    """What torchcde's function of this name does, with its loops over times and channels."""
    calls.append(type(x).__name__)
    if t is None:
        t = torch.arange(x.shape[-2], dtype=x.dtype)
    for before, after in zip(t[:-1], t[1:], strict=True):
        if after <= before:
            raise ValueError("t must be monotonically increasing.")
    assert rectilinear is None
    rows = [torch.stack([_scalar(t, channel) for channel in row.unbind(-1)], dim=-1) for row in x.unbind(0)]
    return torch.stack(rows)


calls = []


@pytest.fixture
def library(monkeypatch):
    """A library with the name and a function of torchcde, in the place of what other tests have imported of it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchcde"]:
        monkeypatch.delitem(sys.modules, name)
    module = types.ModuleType("torchcde.interpolation_linear")
    module.linear_interpolation_coeffs = linear_interpolation_coeffs
    monkeypatch.setitem(sys.modules, module.__name__, module)
    calls.clear()
    return module


def ends(x, t):
    values = linear_interpolation_coeffs(x, t)
    return values.sum(1), values.diff(dim=1) / t.diff()[:, None]


@pytest.mark.slow
def test_a_function_of_torchcde_is_replaced_in_a_trace_and_not_in_the_comparison(library, tmp_path):
    x, t = observations((4, 6, 2), 0.3, torch.float32), torch.rand(6).cumsum(0)
    dynamic = {"x": {0: "batch", 1: "length"}, "t": {0: "length"}}
    exported = export(ends, (x, t), tmp_path / "out", dynamic=dynamic, form="plain", samples=3)
    assert exported.parity.passed
    assert set(calls) == {"Tensor"}, "a tracer's tensors reached the loops of the library"
    model = odelet.load(tmp_path / "out")
    x, t = observations((5, 9, 2), 0.4, torch.float32), torch.rand(9).cumsum(0)
    for ours, theirs in zip(model(x.numpy(), t.numpy()), ends(x, t), strict=True):
        assert np.allclose(ours, theirs, atol=1e-5)
    with pytest.raises(AssumptionError, match="test_torchcde"):
        model(x.numpy(), t.numpy()[::-1].copy())


def test_nothing_is_replaced_where_the_model_has_not_imported_the_library(monkeypatch, library):
    assert [entry.function for entry in TORCHCDE.entries()] == [linear_interpolation_coeffs]
    for name in [name for name in sys.modules if name.startswith("torchcde")]:
        monkeypatch.delitem(sys.modules, name)
    assert TORCHCDE.entries() == []


def test_torchcde_itself_gives_the_same_numbers():
    torchcde = pytest.importorskip("torchcde")
    substitutes = {entry.name: entry for entry in TORCHCDE.entries()}
    assert len(substitutes) >= 3
    for missing in (0.0, 0.4, 1.0):
        for dtype in (torch.float32, torch.float64):
            x = observations((4, 7, 3), missing, dtype)
            t = torch.rand(7).cumsum(0)
            for times in (None, t):
                theirs = torchcde.linear_interpolation_coeffs(x, times)
                assert torch.equal(theirs, filled(x, unit_times(x) if times is None else times))
                theirs = torchcde.natural_cubic_coeffs(x, times)
                ours = natural_cubic(x, unit_times(x) if times is None else times, constant_ends=True)
                assert theirs.shape == ours.shape
                assert (theirs - ours).abs().max() <= 1e-4 * (1 + theirs.abs().max())
            x[..., 0] = t.to(dtype)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of paths that begin with missing values
                theirs = torchcde.linear_interpolation_coeffs(x, rectilinear=0)
            knots = rectilinear_knots(x, 0)
            assert torch.equal(theirs, filled(knots, unit_times(knots)))
            assert torch.equal(torchcde.misc.forward_fill(x).nan_to_num(), carried_forward(x).nan_to_num())
