"""Models with weights in half precision under a float32 or float64 state round where torch rounds."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

from odelet_export import CaptureError, export
from odelet_export.graphs.half_precision import widen
from odelet_export.proof.judge import TOLERANCES

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class Half(nn.Module):
    """A field whose network, and the context that it reads, are in half precision."""

    def __init__(self, dtype, *, method="dopri5", activation=torch.tanh):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encode, self.inner, self.outer = nn.Linear(3, 64), nn.Linear(3, 64), nn.Linear(64, 3)
            self.norm = nn.LayerNorm(64)
        self.to(dtype)
        self.half_dtype, self.method, self.activation = dtype, method, activation

    def forward(self, x):
        context = self.encode(x.to(self.half_dtype))

        def slope(t, y):
            hidden = self.activation(self.norm(self.inner(y.to(self.half_dtype)) + context))
            return self.outer(hidden).to(y.dtype) - y

        t = torch.linspace(0, 1, 4, dtype=x.dtype)
        return odeint(slope, x, t, method=self.method, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["unrolled", "adaptive", "driven"])
def test_half_precision_rounds_as_torch_does(form, dtype, tmp_path):
    state = torch.float64 if form == "driven" else torch.float32
    model = Half(DTYPES[dtype], method="rk4" if form == "unrolled" else "dopri5")
    exported = export(
        model, (torch.randn(2, 3, dtype=state),), tmp_path / "out", form=form, dynamic={"x": {0: "batch"}}
    )
    report = exported.parity
    assert (report.rtol, report.atol) == TOLERANCES[dtype]
    # Far below the roundoff of the dtype: only numbers near a tie are rounded differently. An error estimate
    # in half precision has few digits, and so has the length of a step.
    relative = sorted(output.max_rel for sample in report.samples for output in sample.outputs)
    assert relative[len(relative) // 2] < TOLERANCES[dtype][0] / (500 if form == "unrolled" else 5)
    for sample in report.samples:
        for solve in sample.solves:
            assert solve.steps == solve.torch.steps
    if form == "driven":
        # The weights are constants of the solve's graphs, so that the context is their only input from the host graph.
        (solve,) = exported.card.solves
        assert len(solve.drive.captured) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_operator_that_onnx_splits_stays_within_the_roundoff(dtype, tmp_path):
    model = Half(DTYPES[dtype], method="rk4", activation=nn.functional.silu)
    exported = export(model, (torch.randn(2, 3),), tmp_path / "out", form="unrolled")
    assert max(output.max_rel for sample in exported.parity.samples for output in sample.outputs) < TOLERANCES[dtype][0]


class Given(nn.Module):
    """A model with input and output in half precision around a float32 solve."""

    def forward(self, x):
        solved = odeint(lambda t, y: -y, x.float() * 2, torch.tensor([0.0, 1.0]), method="rk4")
        return (solved[-1].to(x.dtype) + x) * 3


def test_inputs_and_outputs_may_be_float16_but_not_bfloat16(tmp_path):
    x = torch.randn(2, 3, dtype=torch.float16)
    exported = export(Given(), (x,), tmp_path / "out")
    assert [tensor.dtype for tensor in (*exported.card.inputs, *exported.card.outputs)] == ["float16", "float16"]
    with pytest.raises(CaptureError, match="the input 'x' is bfloat16, which numpy does not have; cast it to float32"):
        export(Given(), (x.to(torch.bfloat16),), tmp_path / "refused")
    assert np.isfinite(exported.parity.samples[0].outputs[0].max_abs)


def test_an_operator_without_a_kernel_and_an_input_to_cast_is_refused():
    like = ir.Value(name="like", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2, 2]))
    node = ir.Node("", "EyeLike", [like], [ir.AttrInt64("dtype", int(ir.DataType.BFLOAT16))])
    node.outputs[0].type = ir.TensorType(ir.DataType.BFLOAT16)
    model = ir.Model(ir.Graph([like], [], nodes=[node], opset_imports={"": 20}), ir_version=10)
    with pytest.raises(CaptureError, match="a EyeLike that makes bfloat16 numbers cannot be exported"):
        widen(model)
