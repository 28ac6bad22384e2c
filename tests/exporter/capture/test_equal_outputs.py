"""Models without inputs, with one value as two outputs, with one check twice, and with checks in numpy are exported."""

import numpy as np
import pytest
import torch
import torchdiffeq

import odelet
from odelet_export import export

TIMES = torch.tensor([0.0, 0.5])


def solved(x):
    return torchdiffeq.odeint(lambda t, y: -y, x, TIMES, method="rk4")[-1]


def with_equal_outputs(x):
    y = solved(x)
    return y * 2, y * 2, y, x, y.clone()


@pytest.mark.parametrize("form", ["auto", "driven"])
def test_one_value_may_be_two_outputs(tmp_path, form):
    export(with_equal_outputs, (torch.rand(4, 3),), tmp_path / "out", form=form, dynamic={"x": {0: "batch"}})
    x = torch.rand(2, 3)
    outputs = odelet.load(tmp_path / "out").solve(x.numpy()).outputs.values()
    for ours, theirs in zip(outputs, with_equal_outputs(x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def gradient_field(t, y):
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        return torch.autograd.grad(-torch.cos(y).sum(), y)[0]


def falling():
    return torchdiffeq.odeint(gradient_field, torch.arange(3.0), TIMES, method="rk4")[-1]


@pytest.mark.parametrize("model", [lambda: solved(torch.arange(3.0)), falling], ids=["plain", "gradient"])
def test_a_model_without_inputs_is_exported(tmp_path, model):
    export(model, (), tmp_path / "out")
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(), model(), rtol=1e-5)


def with_checks(x, mask):
    assert not torch.isnan(x).any()
    zeros, ones = torch.sum(mask == 0).cpu().numpy(), torch.sum(mask == 1).cpu().numpy()
    assert zeros + ones == np.prod(list(mask.size()))
    state = x
    assert not torch.isnan(state).any()
    return solved(state * mask)


def test_a_repeated_check_and_a_check_in_numpy_are_assumptions(tmp_path):
    args = torch.rand(4, 3), torch.tensor([[0.0, 1.0, 1.0]]).expand(4, 3).clone()
    exported = export(with_checks, args, tmp_path / "out", dynamic={"x": {0: "batch"}, "mask": {0: "batch"}})
    assert [(assumed.value, assumed.inputs) for assumed in exported.card.assumptions] == [
        ("False", ("x",)),
        ("True", ("mask",)),
        ("False", ("x",)),
    ]
    model = odelet.load(tmp_path / "out")
    x, mask = torch.rand(2, 3), torch.ones(2, 3)
    np.testing.assert_allclose(model(x.numpy(), mask.numpy()), with_checks(x, mask), rtol=1e-5)
    with pytest.raises(odelet.OdeletError, match="zeros . ones"):
        model(x.numpy(), 0.5 * mask.numpy())


def noisy(x):
    z = x + torch.randn_like(x)
    assert not torch.isnan(z).any()
    y = solved(z)
    return y * 2 if y.abs().max() < 100 else y


def test_decisions_on_noise_and_on_its_solutions_are_assumptions(tmp_path):
    exported = export(noisy, (torch.rand(4, 3),), tmp_path / "out", dynamic={"x": {0: "batch"}})
    assert [assumed.value for assumed in exported.card.assumptions] == ["False", "True"]
    model = odelet.load(tmp_path / "out")
    x = np.zeros((2, 3), np.float32)
    (noise,) = model.card.noise
    np.testing.assert_allclose(model(x, **{noise.name: x + 1}), 2 * solved(torch.ones(2, 3)), rtol=1e-5)
    with pytest.raises(odelet.OdeletError, match="100"):
        model(x, **{noise.name: x + 1000})


def test_a_draw_may_be_a_result(tmp_path):
    def model(x):
        return solved(x), torch.rand(3), torch.randn(2) * 1

    export(model, (torch.ones(2),), tmp_path / "out", samples=1)
    loaded = odelet.load(tmp_path / "out")
    y, uniform, normal = loaded(np.ones(2, np.float32), seed=1)
    again = loaded(np.ones(2, np.float32), seed=1)
    assert y.shape == (2,) and ((uniform >= 0) & (uniform < 1)).all() and normal.shape == (2,)
    for ours, theirs in zip((y, uniform, normal), again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(uniform, loaded(np.ones(2, np.float32), seed=2)[1])
