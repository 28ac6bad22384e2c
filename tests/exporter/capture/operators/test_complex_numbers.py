"""Operators on complex tensors are exported with torch's answers, and those without a formula are called so."""

import pytest
import torch
import torch.nn.functional as F

from odelet_export import CaptureError, export

WEIGHT = torch.randn(6, 6, dtype=torch.cfloat, generator=torch.Generator().manual_seed(1))


def written(z):
    modes = torch.zeros(z.shape[0], 8, dtype=torch.cfloat)
    modes[:, :6] = z @ WEIGHT
    modes[:, 7] = z[:, 2]
    modes[:, [1, 3]] = 2j * z[:, :2]
    return modes


MOVED = [
    lambda z: torch.cat([z[:, 1:3], z[:, -1:], z[:, [0, 2]], z.flip(-1)], -1),
    lambda z: F.pad(z, (1, 2)) + F.pad(z, (2, 1), value=1.0),
    lambda z: torch.stack([z[:, 1], z.unbind(1)[2], *z.split(2, -1)[0].unbind(-1)], 1).cumsum(1),
    lambda z: z.unsqueeze(1).expand(-1, 3, -1).repeat(1, 1, 2)[:, 1:2].squeeze(1),
    lambda z: torch.where(z.real > 0, z, z.imag) + z.index_select(1, torch.tensor([5, 4, 3, 2, 1, 0])),
    lambda z: z.reshape(-1, 2, 3).mH @ z.reshape(-1, 2, 3),
    lambda z: torch.diagonal(z.reshape(-1, 2, 3), 1, -2, -1),
    lambda z: torch.fft.irfft(z, n=14),
    lambda z: z.real.to(torch.cfloat) * torch.ones_like(z) + torch.full_like(z, 2j),
    written,
]
COMPUTED = [
    lambda z: torch.einsum("bi,io->bo", z, WEIGHT) + torch.addmm(WEIGHT[0], z, WEIGHT),
    lambda z: (z - 2 * WEIGHT[1]) / (WEIGHT[0] + 2) + z / 2 - z.real / (z + 4),
    lambda z: torch.exp(1j * z.real) + torch.exp(z) + 3.0 * z.abs() * z,
    lambda z: torch.log(z) + torch.sqrt(z) + torch.sqrt(-z.real.abs() + 0j),
    lambda z: torch.sin(z) + torch.cos(z) + torch.tanh(z),
    lambda z: z**2 + z**3 + (z + 3) ** 0.5,
    lambda z: torch.sub(z, WEIGHT[0], alpha=2) + torch.linalg.vecdot(z, z + 1)[:, None],
    lambda z: torch.linalg.norm(z, dim=-1) + z.sum((0, 1)).abs() + (z == z).sum(-1),
]


@pytest.mark.slow
@pytest.mark.parametrize("functions", [MOVED, COMPUTED], ids=["moved", "computed"])
def test_operators_on_complex_tensors_have_torchs_answers(functions, tmp_path):
    def model(x):
        results = [function(torch.view_as_complex(x)) for function in functions]
        return tuple(torch.view_as_real(z.resolve_conj()) if z.is_complex() else z for z in results)

    exported = export(model, (torch.randn(3, 6, 2),), tmp_path / "out", dynamic={"x": {0: "batch"}}, form="plain")
    assert len({sample.shapes["x"][0] for sample in exported.parity.samples}) > 2
    assert exported.parity.passed


def test_an_operator_without_a_formula_is_named_with_its_line(tmp_path):
    def model(x):
        return torch.view_as_real(torch.asinh(torch.view_as_complex(x)))

    with pytest.raises(CaptureError) as refused:
        export(model, (torch.randn(3, 6, 2),), tmp_path / "out", form="plain")
    message = str(refused.value)
    assert f'File "{__file__}", line {model.__code__.co_firstlineno + 1}\n' in message
    assert "aten.asinh, which has no translation to ONNX for complex numbers" in message
    assert "This is step" not in message
