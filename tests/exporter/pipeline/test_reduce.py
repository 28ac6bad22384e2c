"""Exports whose weights are stored in fewer bits: their answers, their cards, and what is refused."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.artifact.weights import FLOAT16, INT8, INT8_PRODUCTS, STORED
from odelet.errors import InputError
from odelet_export import ParityError, export
from odelet_export.errors import FormError
from odelet_export.graphs.stored_weights import quantized
from odelet_export.lowering.forms import FORMS
from odelet_export.pipeline.settings import ExportSettings


class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(33, 48), nn.Linear(48, 32)

    def forward(self, t, x):
        return self.last(torch.tanh(self.first(torch.cat([x, torch.sin(40 * t).expand(x.shape[0], 1)], 1))))


class Classifier(nn.Module):
    """The times are a grid of many points, whose step would be another in float16."""

    def __init__(self, method="rk4", times=3):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.field, self.after = nn.Linear(40, 32), Field(), nn.Linear(32, 3)
        self.method = method
        self.register_buffer("times", torch.linspace(0, 1, times))

    def forward(self, x):
        return self.after(odeint(self.field, self.before(x), self.times, method=self.method, rtol=1e-4, atol=1e-5)[-1])


X = torch.randn(6, 40, generator=torch.Generator().manual_seed(1))
AXES = {"x": {0: "batch"}}


def rounded(model, kind):
    """The model with the weights that are stored, as the artifact reads them."""
    model = copy.deepcopy(model)
    for weight in (model.before.weight, model.field.first.weight, model.field.last.weight):
        array = weight.detach().numpy()
        if kind == FLOAT16:
            new = array.astype(np.float16).astype(np.float32)
        else:
            numbers, scale = quantized(array, 0, largest=127)
            new = numbers * scale
        weight.data = torch.from_numpy(new)
    return model


@pytest.mark.parametrize(("form", "kind"), [("rolled", FLOAT16), ("driven", INT8), ("loop_free", FLOAT16)])
def test_the_artifact_is_torchs_model_with_the_stored_weights(tmp_path, form, kind):
    model = Classifier(times=129 if form == "rolled" else 3)
    # Without rewrites, which give weights other shapes, the columns of a weight are those of torch.
    changes = {"form": form, "rewrite": False, "samples": 1}
    exported = export(model, X, tmp_path / "m", dynamic=AXES, weights=kind, max_error=0.02, **changes)
    x = torch.randn(11, 40, generator=torch.Generator().manual_seed(2))
    got = odelet.load(exported.path)(x.numpy())
    np.testing.assert_allclose(got, rounded(model, kind)(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert np.abs(got - model(x).detach().numpy()).max() > 1e-5
    assert exported.card.weights == kind and kind in exported.card.summary()
    assert odelet.verify(exported.path).passed
    stored = sum(file.bytes for name, file in exported.card.files.items() if name != "samples.npz")
    assert exported.parity.reduced.before > 1.9 * exported.parity.reduced.after and stored > 0


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.solves and not form.needs_data])
def test_every_form_has_products_in_int8(tmp_path, form):
    method = "dopri5" if FORMS[form].excludes(odelet.methods.roster.METHODS["rk4"]) else "rk4"
    exported = export(
        Classifier(method), X, tmp_path / "m", dynamic=AXES, form=form, weights=INT8_PRODUCTS, max_error=0.1, samples=1
    )
    reduced = exported.parity.reduced
    assert reduced.products >= 3 and exported.card.solves[0].form == form
    assert 0 < exported.parity.max_rel <= 0.1 and reduced.exact < 1e-4
    assert exported.card.parity["max_rel_before"] == reduced.exact
    assert odelet.verify(exported.path).passed


def accuracy(outputs, data):
    return float((outputs["output"].argmax(1) == data["labels"]).mean())


def test_errors_and_the_metric_are_measured_on_data(tmp_path):
    x = np.random.default_rng(0).normal(size=(90, 40)).astype(np.float32)
    model = Classifier()
    labels = model(torch.from_numpy(x)).argmax(1).numpy()
    changes = {"dynamic": AXES, "weights": INT8, "max_error": 0.05, "samples": 1, "metric": accuracy}
    data = {"x": x, "labels": labels}
    exported = export(model, X, tmp_path / "m", data=data, max_change=0.2, **changes)
    reduced = exported.parity.reduced
    got = odelet.load(exported.path)(x)
    want = model(torch.from_numpy(x)).detach().numpy()
    assert reduced.errors == {"output": pytest.approx(np.abs(got - want).max() / np.abs(want).max(), rel=1e-3)}
    assert (reduced.samples, reduced.metric.torch) == (90, 1.0)
    assert reduced.metric.artifact == pytest.approx(float((got.argmax(1) == labels).mean()))
    card = json.loads((exported.path / "odelet.json").read_text())
    assert card["parity"]["metric_of_torch"] == 1.0 and card["weights"] == INT8
    assert "accuracy" in (exported.path / "parity.md").read_text()
    with pytest.raises(ParityError, match=r"metric sharpness is .* may change by 1e-09.*allow more"):
        export(model, X, tmp_path / "n", data=data, max_change=1e-9, **{**changes, "metric": sharpness})
    assert (tmp_path / "n.failed" / "parity.md").exists()


def sharpness(outputs, data):
    assert len(outputs["output"]) == len(data["labels"])
    return outputs["output"].std()


def test_an_error_beyond_the_limit_fails(tmp_path):
    with pytest.raises(ParityError, match="stored as float16, the model's answers are too far from torch's") as e:
        export(Classifier(), X, tmp_path / "m", dynamic=AXES, weights=FLOAT16, max_error=1e-6, samples=1)
    assert e.value.exit_code == 3 and "please report" not in str(e.value)
    assert not (tmp_path / "m").exists()
    assert odelet.load(tmp_path / "m.failed").card.weights == FLOAT16


def test_a_model_without_weights_is_refused(tmp_path):
    def decay(x):
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    with pytest.raises(FormError, match="no weight of two axes"):
        export(decay, X, tmp_path / "m", weights=INT8, max_error=0.1, samples=1)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "int4"}, r"weights='int4' is not one of"),
        ({"weights": INT8}, r"give max_error="),
        ({"max_error": 0.1}, r"max_error is for weights"),
        ({"weights": INT8, "max_error": 0.0}, r"max_error=0.0 must be a positive"),
        ({"weights": INT8, "max_error": 0.1, "metric": accuracy}, r"metric is measured on data"),
        ({"weights": INT8, "max_error": 0.1, "max_change": 0.1}, r"max_change is of a metric"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        ExportSettings.of(**changes)


def test_the_profile_of_c_has_no_such_weights(tmp_path):
    with pytest.raises(FormError, match="profile c"):
        export(Classifier(), X, tmp_path / "m", profile="c", weights=INT8, max_error=0.1)


def test_each_kind_is_described():
    assert all(text.startswith("weights in") for text in STORED.values())
