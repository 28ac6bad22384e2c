"""Gradients inside a field, through layers of every kind: each export is compared with torch at other inputs."""

import pytest
import torch
from layers import LAYERS
from torchdiffeq import odeint

from odelet_export import CaptureError, export

# Those without an operator or a decomposition yet, with what the exporter says of them.
NOT_YET = {
    "cholesky": "aten.linalg_cholesky_ex",
    "matrix_exp": "aten.linalg_matrix_exp",
}
TOGETHER = 12
NAMES = [name for name in LAYERS if name not in NOT_YET]
GROUPS = [NAMES[i : i + TOGETHER] for i in range(0, len(NAMES), TOGETHER)]


def descent(names):
    """A model whose state has a part for each layer, which follows the gradient of that layer."""

    def field(t, state):
        with torch.enable_grad():
            state = [part.requires_grad_(True) for part in state]
            energy = sum(LAYERS[name][0](part) for name, part in zip(names, state, strict=True))
            return tuple(-slope for slope in torch.autograd.grad(energy, state))

    def model(*parts):
        ends = odeint(field, parts, torch.tensor([0.0, 0.1]), method="euler")
        return {f"{name}_end": end[-1] for name, end in zip(names, ends, strict=True)}

    torch.manual_seed(1)
    return model, [torch.randn(3, *LAYERS[name][1]) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: names[0])
def test_a_gradient_through_a_layer_exports(names, tmp_path):
    model, parts = descent(names)
    dynamic = {f"parts_{i}": {0: "batch"} for i in range(len(parts))}
    result = export(model, parts, tmp_path / "out", dynamic=dynamic, samples=2)
    assert result.parity.passed
    assert len(result.parity.samples) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", NOT_YET)
def test_an_operator_that_onnx_lacks_is_named(name, tmp_path):
    model, parts = descent([name])
    with pytest.raises(CaptureError, match=f"the operator {NOT_YET[name]}"):
        export(model, parts, tmp_path / "out", dynamic={"parts_0": {0: "batch"}})
