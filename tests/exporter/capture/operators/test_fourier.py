"""Fourier transforms between real and complex tensors have torch's answers at any length of the signal."""

import numpy as np
import pytest
import torch
from torch import fft

import odelet
from odelet_export import export


def real(z):
    return torch.view_as_real(z.resolve_conj())


def one_axis(u):
    n = u.shape[-1]
    return (
        fft.irfft(fft.rfft(u) * (1 + 2j), n=n),
        fft.irfft(fft.rfft(u, norm="ortho"), norm="ortho"),
        fft.irfft(fft.rfft(u, n=2 * n, norm="forward"), n=3 * n, norm="forward"),
        fft.hfft(fft.ihfft(u), n=n),
        fft.irfft(fft.rfft(u, dim=0), n=u.shape[0], dim=0),
        real(fft.rfft(fft.ifft(fft.fft(u) * 2).real)),
    )


def two_axes(u):
    return (
        fft.irfftn(fft.rfftn(u) * (1 + 2j), s=u.shape),
        fft.irfft2(fft.rfft2(u, dim=(2, 0)), s=(u.shape[2], u.shape[0]), dim=(2, 0)),
        fft.hfft2(fft.ihfft2(u), s=u.shape[-2:]),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "dtype", "example", "shapes"),
    [
        (one_axis, torch.float32, (3, 8), [(3, 8), (2, 7), (1, 6), (5, 3), (4, 31), (4, 4)]),
        (one_axis, torch.float64, (3, 7), [(3, 7), (2, 8), (4, 31)]),
        (two_axes, torch.float32, (2, 6, 8), [(3, 5, 7), (1, 4, 9), (4, 4, 4)]),
    ],
    ids=["one axis", "one axis in float64", "two axes"],
)
def test_transforms_at_even_and_odd_lengths(model, dtype, example, shapes, tmp_path):
    axes = dict(enumerate(["b", "n", "m"][: len(example)]))
    x = torch.randn(example, dtype=dtype)
    export(model, (x,), tmp_path / "out", dynamic={"u": axes}, form="plain", samples=1)
    exported = odelet.load(tmp_path / "out")
    for shape in shapes:
        u = torch.randn(shape, dtype=dtype)
        for number, (got, expected) in enumerate(zip(exported(u=u.numpy()), model(u), strict=True)):
            tolerance = 1e-4 if dtype is torch.float32 else 1e-12
            np.testing.assert_allclose(got, expected, tolerance, tolerance, err_msg=f"{number} at {shape}")
