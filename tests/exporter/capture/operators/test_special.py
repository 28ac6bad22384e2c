"""Special functions in elementary operators agree with torch's own, in float64 and float32."""

import math

import pytest
import torch

from odelet_export.capture.operators import error_functions, special

aten = torch.ops.aten
POSITIVE = torch.cat([torch.logspace(-6, 6, 101, dtype=torch.float64), torch.tensor([1.0, 2.0, 1 + 1e-9, 1e17])])
NEGATIVE = -torch.linspace(0.013, 30.3, 101, dtype=torch.float64)
BETWEEN = torch.linspace(-1, 1, 101, dtype=torch.float64)
WIDE = torch.linspace(-80, 80, 301, dtype=torch.float64)
VALUES = {
    aten.lgamma.default: torch.cat([POSITIVE, NEGATIVE]),
    aten.digamma.default: torch.cat([POSITIVE, NEGATIVE]),
    aten.erfinv.default: BETWEEN,
    aten.special_ndtri.default: torch.cat([torch.linspace(0, 1, 101), torch.logspace(-37, -1, 37)]).double(),
    aten.erfc.default: WIDE / 4,
    aten.special_erfcx.default: WIDE / 4,
    aten.special_log_ndtr.default: WIDE,
    aten.i0.default: WIDE,
    aten.special_i0e.default: WIDE,
    aten.special_i1.default: WIDE,
    aten.special_i1e.default: WIDE,
    aten.signbit.default: torch.cat([WIDE, torch.tensor([0.0, -0.0])]),
}
DECOMPOSITIONS = special.DECOMPOSITIONS | error_functions.DECOMPOSITIONS


@pytest.mark.parametrize("operator", VALUES, ids=str)
def test_a_special_function_agrees_with_torch(operator):
    for x in (VALUES[operator], VALUES[operator].float()):
        expected = operator(x.double()).to(operator(x).dtype)
        torch.testing.assert_close(DECOMPOSITIONS[operator](x), expected, equal_nan=True)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_derivatives_of_digamma_agree_with_torch(n):
    # torch's own second derivative of lgamma has nine digits.
    torch.testing.assert_close(special.polygamma(n, POSITIVE), torch.polygamma(n, POSITIVE), rtol=1e-9, atol=1e-12)


def test_pairs_with_nan_and_large_numbers():
    x, y = torch.tensor([3e30, 0.0, float("nan"), 1.0]), torch.tensor([4e30, 0.0, 2.0, float("nan")])
    torch.testing.assert_close(special.hypot(x, y)[:2], torch.hypot(x, y)[:2])
    for operator in (aten.fmax.default, aten.fmin.default):
        torch.testing.assert_close(special.DECOMPOSITIONS[operator](x, y), operator(x, y))


def test_poles_and_infinities_are_those_of_torch():
    ends = torch.tensor([0.0, -0.0, -1.0, -7.0, math.inf, -math.inf, math.nan], dtype=torch.float64)
    for operator in (*DECOMPOSITIONS.keys() & VALUES.keys(),):
        torch.testing.assert_close(DECOMPOSITIONS[operator](ends), operator(ends), equal_nan=True)
    pairs = torch.tensor([math.inf, -math.inf, 0.0]), torch.tensor([-math.inf, 1.0, 0.0])
    torch.testing.assert_close(special.hypot(*pairs), torch.hypot(*pairs))


def test_whole_numbers_are_left_to_torch():
    assert special.DECOMPOSITIONS[aten.lgamma.default](torch.tensor([3])) is NotImplemented
    assert special.polygamma(1, torch.tensor([3])) is NotImplemented
