"""Least squares and a loss that checks its arguments have torch's answers by other operators."""

import pytest
import torch
import torch.nn.functional as F

from odelet_export.capture.decisions.rewrites import rewritten

X = torch.linspace(-1, 1, 24, dtype=torch.float64).sin().reshape(2, 4, 3)


@pytest.mark.parametrize("driver", [None, "gels", "gelsd"])
@pytest.mark.parametrize(("m", "n"), [(5, 3), (3, 3), (3, 5)])
@pytest.mark.parametrize("vector", [False, True])
def test_least_squares(m, n, driver, vector):
    torch.manual_seed(0)
    matrix, right = torch.randn(4, m, n, dtype=torch.float64), torch.randn(4, m, 2, dtype=torch.float64)
    right = right[..., 0] if vector else right
    got = rewritten("linalg_lstsq", (matrix, right), {"driver": driver}, None)()
    expected = torch.linalg.lstsq(matrix, right, driver=driver)
    for name in ("solution", "residuals", "rank"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), rtol=1e-9, atol=1e-9)


def test_a_matrix_without_full_rank_gives_no_number():
    matrix = torch.ones(4, 3)
    assert rewritten("linalg_lstsq", (matrix, torch.ones(4, 1)), {}, None)().solution.isnan().all()


@pytest.mark.parametrize("settings", [{}, {"full": True, "reduction": "sum"}, {"eps": 0.3, "reduction": "none"}])
@pytest.mark.parametrize("variance", [X.square(), X[..., :1].square(), X[..., 0].square()])
def test_gaussian_loss_and_its_gradient(settings, variance):
    leaves = [x.clone().requires_grad_() for x in (X, variance)]
    got = rewritten("gaussian_nll_loss", (leaves[0], X.cos(), leaves[1]), settings, None)()
    expected = F.gaussian_nll_loss(leaves[0], X.cos(), leaves[1], **settings)
    torch.testing.assert_close(got, expected)
    gradients = (torch.autograd.grad(x.sum(), leaves) for x in (got, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_negative_variance_gives_no_number():
    assert rewritten("gaussian_nll_loss", (X, X, -X.square()), {}, None)().isnan()
