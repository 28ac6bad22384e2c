"""QR and LU factors in elementary operators have the signs and the pivots of LAPACK."""

import numpy as np
import pytest
import torch

import odelet
from odelet_export import export
from odelet_export.capture.operators import factors

SIZES = [(1, 1), (3, 3), (5, 3), (3, 5), (8, 8)]


def matrices(m, n):
    torch.manual_seed(m + 10 * n)
    x = torch.randn(20, m, n, dtype=torch.float64)
    x[0], x[1, :, 0] = 0.0, 0.0  # columns that are zero leave nothing to reflect, and no pivot
    x[2] = x[2].triu()
    return x


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("m", "n"), SIZES)
def test_factors_are_those_of_torch(m, n):
    x = matrices(m, n)
    for mode in ("reduced", "complete", "r"):
        for got, expected in zip(factors.qr(x, mode), torch.linalg.qr(x, mode), strict=True):
            close(got, expected.to(got.dtype))
    for got, expected in zip(factors.lu(x), torch.linalg.lu(x), strict=True):
        close(got, expected)
    for got, expected in zip(factors.lu_factor(x), torch.linalg.lu_factor_ex(x)[:2], strict=False):
        close(got, expected)


@pytest.mark.parametrize(("m", "n"), [(4, 4), (6, 3)])
def test_a_product_of_reflections_is_that_of_torch(m, n):
    vectors, numbers = torch.geqrf(matrices(m, n))
    close(factors.householder_product(vectors, numbers), torch.linalg.householder_product(vectors, numbers))
    none = factors.householder_product(vectors, numbers[..., :0])
    close(none, torch.linalg.householder_product(vectors, numbers[..., :0]))


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
def test_systems_are_solved_by_the_factors_of_torch(left, adjoint):
    x = matrices(4, 4)[3:]
    found, pivots = torch.linalg.lu_factor(x)
    right = x[:, :2] if not left else x[..., :2]
    got = factors.lu_solve(found, pivots, right, left=left, adjoint=adjoint)
    close(got, torch.linalg.lu_solve(found, pivots, right, left=left, adjoint=adjoint))


@pytest.mark.slow
@pytest.mark.parametrize("gradient", [False, True])
def test_factors_of_inputs_are_exported(gradient, tmp_path):
    def compute(x):
        q, r = torch.linalg.qr(x)
        order, lower, upper = torch.linalg.lu(x)
        solved = torch.linalg.lu_solve(*torch.linalg.lu_factor(x), x.mT)
        return q @ r.tanh(), order @ lower.sin() @ upper, torch.linalg.lstsq(x[..., 1:], x).solution, solved

    def model(x):
        if not gradient:
            return compute(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(sum(part.sin().sum() for part in compute(x)), x)[0]

    size = 2 if gradient else 3  # the graph of the gradients grows fast with it
    x = torch.randn(3, size, size, dtype=torch.float64)
    export(model, (x,), tmp_path / "out", dynamic={"x": {0: "batch"}}, form="plain", samples=1)
    x = torch.randn(5, size, size, dtype=torch.float64)
    found = odelet.load(tmp_path / "out")(x.numpy())
    for got, expected in zip([found] if gradient else found, [model(x)] if gradient else model(x), strict=True):
        np.testing.assert_allclose(got, expected, 1e-8, 1e-8)
