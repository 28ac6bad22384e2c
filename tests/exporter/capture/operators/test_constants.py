"""Constants by operators without a translation are computed by torch at export; what inputs change is named."""

import onnx
import pytest
import torch
from torchdiffeq import odeint

from odelet_export import CaptureError, export

TIMES = torch.tensor([0.0, 1.0])


def test_what_depends_on_a_folded_constant_alone_is_folded_too(tmp_path):
    matrix = torch.randn(40, 3)
    basis = torch.linalg.qr(matrix)[0]

    def model(x):
        return odeint(lambda t, y: -y @ (torch.linalg.qr(matrix)[0].T @ basis), x, TIMES, method="euler")[-1]

    result = export(model, (torch.randn(2, 3),), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=1)
    assert result.parity.passed
    graph = onnx.load(next(result.path.glob("*.onnx"))).graph
    # The factor and its product with the basis were computed at export: what is left is the matrix (3, 3).
    assert [3, 3] in [[*tensor.dims] for tensor in graph.initializer]
    assert max(tensor.dims[0] for tensor in graph.initializer if tensor.dims) < 40


def test_a_constant_may_be_a_result(tmp_path):
    def model(x):
        return odeint(lambda t, y: -y, x, TIMES, method="euler")[-1], torch.fft.fftfreq(8)

    assert export(model, (torch.randn(2, 3),), tmp_path / "out", samples=1).parity.passed


def test_an_operator_of_an_input_is_refused_with_its_line(tmp_path):
    def model(x):
        values = torch.linalg.eigvalsh(x.T @ x)
        return odeint(lambda t, y: -y, x, TIMES, method="euler")[-1] * values

    with pytest.raises(CaptureError, match="torch.linalg.eigvalsh") as refused:
        export(model, (torch.randn(4, 3),), tmp_path / "out", samples=1)
    assert "aten._linalg_eigh" in str(refused.value)
    assert "test_constants.py" in str(refused.value)


def test_assertions_of_a_trace_are_no_operators_without_translation(tmp_path):
    def model(x, index):
        return odeint(lambda t, y: -y, x[index.long()], TIMES, method="euler")[-1]

    args = torch.randn(4, 3), torch.tensor([0, 2], dtype=torch.int32)
    result = export(model, args, tmp_path / "out", dynamic={"index": {0: "rows"}}, samples=1)
    assert result.tracer == "torch.export"
