"""Models as people write them, exported unchanged: the same answers at fresh inputs, batch sizes and times.

Each case is a function in a `models_*` module that returns a model with an example call; to add one, write the
function and a line in that module's CASES.
"""

from dataclasses import replace

import models_calls
import models_gradients
import models_networks
import models_times
import numpy as np
import pytest
import torch
from torchdiffeq import odeint

import odelet
from odelet_export import CaptureError, ParityError, export, prepare
from odelet_export.capture import capture

MODULES = (models_calls, models_gradients, models_networks, models_times)
CASES = {case.__name__: case for module in MODULES for case in module.CASES}

# What the exporter says of those that it cannot do yet.
NOT_YET = {
    "functional_trace": "found: ",
    "checked_constant": "a Python decision or number that depends on the values of a tensor",
    "scalar_end_in_tensor": "found: ",
    "t_tensor_of": "found: ",
    "t_item": "found: ",
}
# Captured wrongly, which the replay of what was captured finds.
CAUGHT = ("times_of_sequence_length",)
DRIVEN = (
    "several_solves",
    "tuple_of_two_shapes",
    "tuple_of_scalars",
    "constant_slope",
    "state_unused",
    "ffjord",
    "augmented_times",
    "latent_ode",
    "ode_rnn",
    "given_decreasing",
    "single_time",
    "float32_times_float64_state",
)


@pytest.fixture(autouse=True)
def captured_once(monkeypatch):
    """The second export in a test, to another form, takes what the first captured."""
    kept = []

    def once(callee, *args, **options):
        if not kept:
            kept.append((capture(callee, *args, **options), callee))
        captured, traced = kept[0]
        callee._seen = traced._seen
        return replace(captured, model=captured.model.clone())

    monkeypatch.setattr(prepare, "capture", once)


def exported(name, out, **options):
    torch.manual_seed(0)
    case = CASES[name]()
    return export(case.model, case.args, out, kwargs=case.kwargs, dynamic=case.dynamic, samples=2, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in (*NOT_YET, *CAUGHT)])
def test_a_model_exports_unchanged(name, tmp_path):
    result = exported(name, tmp_path / "out")
    assert result.parity.passed
    assert len(result.parity.samples) >= 2
    shapes = [sample.shapes for sample in result.parity.samples]
    if any(CASES[name]().dynamic.values()):
        assert any(shape != shapes[0] for shape in shapes), "no sample had another size"
    assert odelet.verify(tmp_path / "out").passed
    if name in DRIVEN:
        result = exported(name, tmp_path / "driven", form="driven")
        assert result.card.form == "driven"
        assert result.parity.passed


@pytest.mark.slow
@pytest.mark.parametrize("name", NOT_YET)
def test_what_cannot_be_captured_yet_is_said(name, tmp_path):
    with pytest.raises(CaptureError) as refused:
        exported(name, tmp_path / "out")
    assert NOT_YET[name] in str(refused.value)
    assert f"{CASES[name].__module__}.py" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUGHT)
def test_a_wrong_capture_never_ships(name, tmp_path):
    with pytest.raises(CaptureError, match="the capture is wrong") as refused:
        exported(name, tmp_path / "out")
    assert f"{CASES[name].__module__}.py" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_left_as_it_was(tmp_path):
    case = CASES["train_mode"]()
    model = case.model
    assert model.training
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    export(model, case.args, tmp_path / "out", dynamic=case.dynamic)
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_export_that_is_wrong_is_kept_aside(tmp_path):
    state = {"calls": 0}

    class Drifting(torch.nn.Module):
        """Gives other answers each time it runs, as a model with a hidden counter would."""

        def forward(self, x):
            state["calls"] += 1
            return odeint(lambda t, y: -y, x * state["calls"], torch.tensor([0.0, 1.0]))

    with pytest.raises(ParityError, match=r"sample 0, output 'output': differs by .*other answers") as failed:
        export(Drifting(), (torch.rand(3, 2),), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out.failed"]
    assert not failed.value.report.passed
    assert "FAILED" in (tmp_path / "out.failed" / "parity.md").read_text()
    assert np.isfinite(failed.value.report.max_abs)
