"""Windows and triangles of indices follow the size of a free axis."""

import numpy as np
import torch

import odelet
from odelet_export import export


def model(x):
    n = x.shape[1]
    square = x.unsqueeze(-1) * x.unsqueeze(-2).cos()
    windows = (
        torch.hann_window(n),
        torch.hamming_window(n, False),
        torch.hamming_window(n, True, 0.5, 0.4),
        torch.blackman_window(n, periodic=False),
        torch.bartlett_window(n),
        torch.kaiser_window(n, False, 5.0),
    )
    triangles = (
        torch.triu_indices(n, n),
        torch.triu_indices(n, n, 1),
        torch.tril_indices(n, n),
        torch.tril_indices(n, n, offset=-1),
    )
    return (x * sum(windows), *(square[:, rows, columns] for rows, columns in triangles))


def test_sizes_that_were_not_traced(tmp_path):
    export(model, (torch.randn(2, 5),), tmp_path / "out", dynamic={"x": {0: "b", 1: "n"}}, form="plain", samples=1)
    exported = odelet.load(tmp_path / "out")
    for shape in [(3, 2), (1, 8), (2, 41)]:
        x = torch.randn(shape)
        for got, expected in zip(exported(x.numpy()), model(x), strict=True):
            np.testing.assert_allclose(got, expected, 1e-5, 1e-5)
