"""Gradients inside a field, through layers of every kind, export and agree with torch at other inputs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.layers import LAYERS
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torchdiffeq import odeint

import odelet
from odelet_export import CaptureError, export
from odelet_export.capture.operators import matrices, pooling
from odelet_export.capture.operators.decompositions import gradient_decompositions
from odelet_export.capture.sizes.symbolic_inputs import symbolic_inputs
from odelet_export.capture.surroundings import quiet_tracing

# Layers without an ONNX operator or a decomposition yet, each with the operator that the refusal names.
NOT_YET = {
    "eigh": "aten._linalg_eigh",
}
TOGETHER = 12
NAMES = [name for name in LAYERS if name not in NOT_YET]
GROUPS = [NAMES[i : i + TOGETHER] for i in range(0, len(NAMES), TOGETHER)]


def descent(names):
    """A model and its inputs; each part of its state follows the negative gradient of one layer."""

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


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_small_matrices_give_the_results_of_torch(size):
    torch.manual_seed(size)
    # With a zero in the corner, elimination without row exchanges would divide by zero.
    matrix, right = torch.randn(3, size, size, dtype=torch.float64), torch.randn(3, size, 2, dtype=torch.float64)
    matrix[:, 0, 0] *= size == 1
    torch.testing.assert_close(matrices.inv_ex(matrix)[0], torch.linalg.inv(matrix))
    torch.testing.assert_close(matrices.solve_ex(matrix, right)[0], torch.linalg.solve(matrix, right))
    from_the_right = matrices.solve_ex(matrix, right.mT, left=False)[0]
    torch.testing.assert_close(from_the_right, torch.linalg.solve(matrix, right.mT, left=False))
    torch.testing.assert_close(matrices.det(matrix)[0], torch.linalg.det(matrix))
    torch.testing.assert_close(matrices.slogdet(matrix)[:2], tuple(torch.linalg.slogdet(matrix)))


def test_a_matrix_and_right_sides_broadcast():
    torch.manual_seed(0)
    matrix, right = torch.randn(3, 3) + 3 * torch.eye(3), torch.randn(5, 3, 2)
    for left, other in ((matrix, right), (matrix.expand(2, 1, 3, 3), right), (right @ right.mT + matrix, right[0])):
        torch.testing.assert_close(matrices.solve_ex(left, other)[0], torch.linalg.solve(left, other))


def test_operators_without_a_decomposition_stay_as_they_are():
    large = torch.randn(matrices.LARGEST + 1, matrices.LARGEST + 1)
    assert matrices.inv_ex(large) is NotImplemented
    assert matrices.det(large) is NotImplemented
    assert pooling.cdist_forward(large, large, float("inf"), None) is NotImplemented
    assert pooling.replication_pad_backward(large, large, [-1, 0]) is NotImplemented


@pytest.mark.slow
@pytest.mark.parametrize("name", NOT_YET)
def test_an_operator_that_onnx_lacks_is_named(name, tmp_path):
    model, parts = descent([name])
    with pytest.raises(CaptureError, match=f"the operator {NOT_YET[name]}"):
        export(model, parts, tmp_path / "out", dynamic={"parts_0": {0: "batch"}})


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_gradient_of_a_convolution_leaves_sizes_free(stride):
    weight = torch.randn(2, 3, 3)

    def gradient(x):
        z = x.detach().requires_grad_()
        return torch.autograd.grad(torch.sin(F.conv1d(z, weight, stride=stride, padding=1)).sum(), z)[0]

    x = torch.randn(2, 3, 12)
    with quiet_tracing(), symbolic_inputs([x], [{2: "length"}]):
        traced = make_fx(
            gradient,
            tracing_mode="symbolic",
            decomposition_table=gradient_decompositions(),
            _allow_non_fake_inputs=True,
        )(x)
    for length in (3, 4, 7, 12, 14):
        other = torch.randn(2, 3, length)
        torch.testing.assert_close(traced(other), gradient(other))


def test_rrelu_in_evaluation_mode_has_the_mean_slope(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.RReLU()).eval()
    export(model, (torch.randn(2, 3),), tmp_path / "out", form="plain", dynamic={"input": {0: "batch"}}, quick=True)
    x = torch.randn(5, 3) * 3
    torch.testing.assert_close(torch.from_numpy(odelet.load(tmp_path / "out")(x.numpy())), model(x).detach())


def test_signs_are_taken_from_zeros_and_infinities_too(tmp_path):
    def model(x, y):
        return torch.copysign(x, y), torch.copysign(x, -2.0), torch.signbit(y)

    export(model, (torch.randn(4), torch.randn(4)), tmp_path / "out", form="plain", quick=True)
    x, y = torch.tensor([1.0, -2.0, 0.0, -torch.inf]), torch.tensor([-0.0, 0.0, torch.inf, -3.0])
    for got, expected in zip(odelet.load(tmp_path / "out")(x.numpy(), y.numpy()), model(x, y), strict=True):
        torch.testing.assert_close(torch.from_numpy(got), expected)


def test_the_losses_of_the_rows_of_a_free_batch_are_exported(tmp_path):
    weight = torch.arange(1.0, 6.0)

    def model(x, labels):
        return (
            nn.functional.cross_entropy(x, labels, reduction="none"),
            nn.functional.nll_loss(x.log_softmax(-1), labels, reduction="none"),
            nn.functional.cross_entropy(x, labels, weight, ignore_index=1),
            nn.functional.cross_entropy(x, labels, reduction="sum", label_smoothing=0.2),
        )

    axes = {"x": {0: "batch"}, "labels": {0: "batch"}}
    export(
        model, (torch.randn(3, 5), torch.tensor([0, 1, 4])), tmp_path / "out", form="plain", dynamic=axes, quick=True
    )
    x, labels = torch.randn(6, 5), torch.tensor([1, 3, 3, 0, 4, 2])
    for got, expected in zip(odelet.load(tmp_path / "out")(x.numpy(), labels.numpy()), model(x, labels), strict=True):
        torch.testing.assert_close(torch.from_numpy(np.asarray(got)), expected)
