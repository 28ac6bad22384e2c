"""The decomposition of pseudo-inverses agrees with torch where the rank is full, and is NaN where it may not be."""

import pytest
import torch

from odelet_export.capture.operators.pseudo_inverses import pinv
from odelet_export.capture.operators.triangular import LARGEST

SHAPES = [(5, 3, 1), (5, 1, 3), (5, 3, 2), (4, 2, 3), (7, 3, 3), (2, 8, 5), (2, 3, 12, 7), (1, 1), (40, 2)]


def matrices(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_pseudo_inverse_is_that_of_torch(shape, dtype):
    for factor in (1.0, 1e-15, 1e15):
        a = matrices(shape, dtype) * factor
        expected = torch.linalg.pinv(a)
        error = (pinv(a) - expected).abs().max() / expected.abs().max()
        assert error < 100 * torch.finfo(dtype).eps


def test_columns_and_rows_of_zeros_count_as_absent():
    a = matrices((4, 5, 3))
    a[..., 1] = 0
    a[:, 2] = 0
    for matrix in (a, a.mT):
        torch.testing.assert_close(pinv(matrix), torch.linalg.pinv(matrix))
    assert (pinv(torch.zeros(2, 3, 2)) == 0).all()


def test_a_rank_that_is_not_full_gives_nan():
    a = matrices((4, 5, 3))
    a[1, :, 2] = 2 * a[1, :, 0] - a[1, :, 1]
    inverse = pinv(a)
    assert inverse.isnan().all(dim=(1, 2)).tolist() == [False, True, False, False]
    torch.testing.assert_close(inverse[2:], torch.linalg.pinv(a[2:]))


def test_a_singular_value_that_a_tolerance_cuts_off_gives_nan():
    a = torch.diag(torch.tensor([1.0, 1e-3]))
    for cut in ({"rtol": torch.tensor(1e-2)}, {"atol": torch.tensor(1e-2)}):
        assert (torch.linalg.pinv(a, **cut) == torch.diag(torch.tensor([1.0, 0.0]))).all()
        assert pinv(a, **cut).isnan().all()
    for kept in ({"rtol": torch.tensor(1e-5)}, {"atol": torch.tensor(1e-5)}):
        torch.testing.assert_close(pinv(a, **kept), torch.linalg.pinv(a, **kept))


def test_other_matrices_are_left_to_torch():
    assert pinv(torch.eye(LARGEST + 1)) is NotImplemented
    assert pinv(torch.eye(2), hermitian=True) is NotImplemented
    assert pinv(torch.eye(2, dtype=torch.complex64)) is NotImplemented
