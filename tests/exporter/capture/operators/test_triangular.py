"""The decompositions of triangular systems and Cholesky factors agree with torch."""

import numpy as np
import pytest
import torch
import torchdiffeq

import odelet
from odelet_export import export
from odelet_export.capture.operators import triangular

LEFT = pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
UPPER = pytest.mark.parametrize("upper", [True, False], ids=["upper", "lower"])
UNIT = pytest.mark.parametrize("unit", [True, False], ids=["unit", "any"])


def matrices(*batch, size):
    generator = torch.Generator().manual_seed(size)
    return torch.randn(*batch, size, size, dtype=torch.float64, generator=generator) + 2 * torch.eye(size)


@LEFT
@UPPER
@UNIT
def test_a_triangular_system_has_the_solution_of_torch(left, upper, unit):
    for a, b in ((matrices(size=4), matrices(2, size=4)), (matrices(2, 1, size=4), matrices(3, size=4)[..., :4])):
        options = {"upper": upper, "left": left, "unitriangular": unit}
        torch.testing.assert_close(
            triangular.solve_triangular(a, b, **options), torch.linalg.solve_triangular(a, b, **options)
        )


@UPPER
def test_a_cholesky_factor_is_that_of_torch(upper):
    a = matrices(3, size=4)
    factor, info = triangular.cholesky_ex(a @ a.mT, upper=upper)
    torch.testing.assert_close(factor, torch.linalg.cholesky(a @ a.mT, upper=upper))
    assert info.shape == (3,)
    assert triangular.cholesky_ex(-torch.eye(2))[0].isnan().any()


def test_large_matrices_are_not_decomposed():
    large = torch.eye(triangular.LARGEST + 1)
    assert triangular.cholesky_ex(large) is NotImplemented
    assert triangular.solve_triangular(large, large, upper=True) is NotImplemented


@pytest.mark.slow
def test_the_density_of_a_multivariate_normal_distribution_exports(tmp_path):
    """The Cholesky factor depends on an input, the density on a solution."""

    def density(x, scale):
        covariance = torch.tensor([[1.0, 0.3, 0.1], [0.3, 0.8, -0.2], [0.1, -0.2, 0.5]]) * scale
        z = torchdiffeq.odeint(lambda t, y: -y, x, torch.tensor([0.0, 0.5]), method="rk4")[-1]
        return torch.distributions.MultivariateNormal(torch.zeros(3), covariance).log_prob(z)

    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    export(density, (x, torch.tensor(1.5)), tmp_path / "out", dynamic={"x": {0: "batch"}})
    fresh = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor(0.7)
    actual = odelet.load(tmp_path / "out")(*(value.numpy() for value in fresh))
    np.testing.assert_allclose(actual, density(*fresh), rtol=1e-5)
