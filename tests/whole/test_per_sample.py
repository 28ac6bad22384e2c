"""With per_sample, each sample of a batch has the steps and the answer that it has when it is solved alone."""

import numpy as np
import pytest
import torch
import torchdiffeq
from support.lowering import load_captured
from support.rosters import ADAPTIVE
from torch import nn

import odelet
from odelet import Status
from odelet.engine.sample_steps import GraphSampleStepper
from odelet.errors import InputError
from odelet_export import export
from odelet_export.capture.capture import capture
from odelet_export.errors import FormError
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.proof.alone import SampleAxes, run_alone
from odelet_intercept.errors import CaptureError

RNG = np.random.default_rng(0)
Y0 = RNG.normal(size=(5, 2)) * np.array([[0.1], [1], [3], [0.5], [2]])
T = np.array([0.0, 0.3, 1.0, 2.5])


def field(t, y):
    return np.stack([y[:, 1], -y[:, 0] * (1 + y[:, 0] ** 2) + np.sin(3 * t[..., 0])], axis=1)


def alone(y0, t, **settings):
    return odelet.odeint(lambda t, y: field(np.full((1, 1), t), y), y0, t, **settings)


SETTINGS = {
    **{method: {"method": method} for method in ADAPTIVE},
    "pi": {"options": {"controller": "pi"}},
    "pid": {"options": {"controller": "pid"}},
    "bounds": {"options": {"min_step": 0.02, "max_step": 0.1, "first_step": 0.05}},
    "points": {"options": {"step_t": [0.2, 1.1], "jump_t": [0.7]}},
    "float32 times": {"options": {"dtype": "float32"}, "dtype": "float32"},
}


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_sample_has_the_steps_and_answer_of_a_solve_alone_in_numpy(settings, direction):
    settings = dict(settings)
    y0, t = Y0.astype(settings.pop("dtype", "float64")), direction * T
    options = settings.get("options", {})
    turned = {name: direction * np.array(v) for name, v in options.items() if name in ("step_t", "jump_t")}
    settings |= {"options": {**options, **turned}, "rtol": 1e-4, "atol": 1e-5}
    together = odelet.odeint(field, y0, t, per_sample=True, **settings)
    (stats,) = together.stats.solves
    for i in range(len(y0)):
        # A batch of one agrees to the last digits. A solve of the whole state takes the same steps, but computes powers
        # with Python's floats: numpy's powers of vectors are instructions of the processor, a few units in the last
        # place apart (with AVX-512, not without), and the first steps of high orders multiply the difference.
        one, single = alone(y0[i : i + 1], t, per_sample=True, **settings), alone(y0[i : i + 1], t, **settings)
        # In float32 the difference is as large as the tolerance of the solve, and larger for the end of the last step.
        short = "dtype" in options
        exact, rounded = ((1e-6, 1e-5), (1e-2, 1e-4)) if short else ((1e-12, 1e-10), (1e-10, 1e-10))
        for other, (ends, near) in ((one, exact), (single, rounded)):
            (expected,) = other.stats.solves
            samples = stats.samples
            assert (samples.steps[i], samples.accepted[i]) == (expected.steps, expected.accepted)
            assert samples.time[i] == pytest.approx(expected.time, rel=ends)
            np.testing.assert_allclose(together.outputs["y"][:, i], other.outputs["y"][:, 0], rtol=near, atol=near)
    assert stats.steps == sum(stats.samples.steps)
    calls = 7 - 1 if settings.get("method", "dopri5") == "dopri5" else None
    if calls and not options:
        assert stats.evaluations == 2 + calls * max(stats.samples.steps)


def test_a_sample_that_diverges_does_not_change_the_others():
    y0 = np.array([[1.0], [1e200], [np.nan], [0.5]])
    with np.errstate(all="ignore"):
        solution = odelet.odeint(lambda t, y: y * y, y0, [0.0, 0.9], per_sample=True)
    samples = solution.stats.solves[0].samples
    assert samples.status == (Status.OK, Status.STEP_UNDERFLOW, Status.NOT_FINITE, Status.OK)
    assert solution.status is Status.STEP_UNDERFLOW, "the status of the first sample that failed"
    np.testing.assert_allclose(solution.outputs["y"][1, [0, 3], 0], [10, 1 / (2 - 0.9)], rtol=1e-5)
    assert np.isnan(solution.outputs["y"][1, [1, 2]]).all()
    with pytest.raises(odelet.SolveError, match="for 2 of 4 samples, the first of them sample 1"):
        solution.raise_if_failed()


def test_limits_hold_for_each_sample():
    y0 = np.array([[0.001], [50.0]])

    def stiff(t, y):
        return -y * np.abs(y)

    few = odelet.odeint(stiff, y0, [0.0, 1.0], per_sample=True, max_steps=20)
    assert few.stats.solves[0].samples.status == (Status.OK, Status.STEP_LIMIT)
    spent = odelet.odeint(stiff, y0, [0.0, 0.5, 1.0], per_sample=True, max_evals=100)
    samples = spent.stats.solves[0].samples
    assert samples.status == (Status.OK, Status.EVALUATION_LIMIT)
    assert 0 < samples.time[1] < 1
    last = spent.outputs["y"][2, 1, 0]
    assert last == pytest.approx(50 / (1 + 50 * samples.time[1]), rel=1e-4), "the output is the state that was reached"
    per_interval = {"options": {"max_num_steps": 10}}
    assert odelet.odeint(stiff, y0, [0.0, 1.0], per_sample=True, **per_interval).status is Status.STEP_LIMIT
    assert odelet.odeint(stiff, y0, [0.0, 1e-4, 2e-4], per_sample=True, **per_interval).status is Status.OK


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "rk4"}, "per_sample is for adaptive methods, which 'rk4' is not"),
        ({"dense": True}, "per_sample goes with neither events, nor dense"),
        ({"options": {"norm": "max"}}, "nor a norm of its own"),
    ],
)
def test_settings_that_exclude_per_sample_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        odelet.odeint(field, Y0, T, per_sample=True, **settings)


def test_states_without_samples_are_refused():
    with pytest.raises(InputError, match="needs parts with one first axis of samples"):
        odelet.odeint(lambda t, y: -y, np.array(1.0), T, per_sample=True)
    with pytest.raises(InputError, match="needs parts with one first axis of samples"):
        odelet.odeint(lambda t, y: y, (np.ones(2), np.ones(3)), T, per_sample=True)


class Model(nn.Module):
    """A model whose field reads time, state and an encoding of the input; pair: whether the state has two parts."""

    def __init__(self, *, pair=False, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer, self.encode = nn.Linear(5, 16), nn.Linear(16, 2), nn.Linear(2, 2)
        self.pair, self.settings = pair, settings
        self.double()

    def forward(self, x, t):
        context = torch.tanh(self.encode(x))

        def slope(t, y):
            columns = torch.cat([y, context, torch.ones_like(y[:, :1]) * t], dim=1)
            return 3 * self.outer(torch.tanh(self.inner(columns)))

        def both(t, state):
            dy = slope(t, state[0])
            return dy, (dy * dy).sum(1)

        settings = {"rtol": 1e-4, "atol": 1e-6, **self.settings}
        if self.pair:
            return torchdiffeq.odeint(both, (x, x[:, 0] * 0), t, **settings)
        return torchdiffeq.odeint(slope, x, t, **settings)


class Indexed(Model):
    """A field that must be called for each sample: with a time (samples, 1) its slope would be (samples, samples)."""

    def forward(self, x, t):
        def slope(t, y):
            return torch.stack([y[:, 1] * torch.cos(t), -y[:, 0] * (1 + t)], dim=1)

        return torchdiffeq.odeint(slope, x, t, rtol=1e-4, atol=1e-6)


MODELS = {
    "dopri5": Model(),
    "a pair": Model(pair=True, method="bosh3"),
    "points": Model(options={"step_t": torch.tensor([0.4], dtype=torch.float64), "jump_t": [0.9]}),
    "eighth order": Model(method="dopri8"),
    "indexed": Indexed(),
}


@pytest.mark.parametrize("times", ["constant", "two", "given"])
@pytest.mark.parametrize("name", MODELS)
def test_a_sample_has_the_steps_and_answer_of_torch_alone_in_every_form(name, times, tmp_path):
    if times != "given" and name not in ("dopri5", "a pair"):
        pytest.skip("the way that times come in is tested with two models")
    model = MODELS[name]
    x = torch.from_numpy(Y0[:3])
    t = torch.tensor(T[:2] if times == "two" else T)
    overrides = Overrides(per_sample=True)
    if times == "given":
        callee, dynamic = Callee(model, (x, t), {}), {"x": {0: "batch"}, "t": {0: "times"}}
    else:

        class AtTimes(nn.Module):
            def forward(self, x):
                return model(x, t)

        callee, dynamic = Callee(AtTimes(), (x,), {}), {"x": {0: "batch"}}
    captured = capture(callee, dynamic, overrides, opset=20)
    loaded = {form: load_captured(captured, form, tmp_path / form) for form in ("adaptive", "driven")}
    later = [torch.tensor([1.0, 0.8, 0.1])] if times == "given" else []
    for batch, more in ((Y0, [t] if times == "given" else []), (Y0[::-1] * 2, [x.double() for x in later])):
        tensors = [torch.from_numpy(batch.copy()), *more]
        outputs = (1, 1) if model.pair else (1,)
        inputs = (0, None) if more else (0,)
        expected, (count,) = run_alone(callee, tensors, Overrides(), SampleAxes(inputs, outputs))
        for form, exported in loaded.items():
            solution = exported.solve(*(tensor.numpy() for tensor in tensors)).raise_if_failed()
            (stats,) = solution.stats.solves
            assert (stats.steps, stats.accepted) == (count.steps, count.accepted), form
            for ours, theirs in zip(solution.outputs.values(), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-6 if name == "eighth order" else 1e-10, atol=1e-9)


def test_the_batch_shrinks_to_the_samples_that_are_not_finished(tmp_path, monkeypatch):
    """Finished samples cost little: the step graph runs on few more rows than the samples have steps."""
    model = MODELS["dopri5"]
    callee = Callee(model, (torch.from_numpy(Y0), torch.tensor(T)), {})
    captured = capture(callee, {"x": {0: "batch"}, "t": {0: "times"}}, Overrides(per_sample=True), opset=20)
    driven = load_captured(captured, "driven", tmp_path)
    rows = []
    attempt = GraphSampleStepper.attempt
    monkeypatch.setattr(
        GraphSampleStepper, "attempt", lambda self, *times: rows.append(len(times[0])) or attempt(self, *times)
    )
    # Samples with large states need few steps, as these states saturate the field.
    solution = driven.solve(np.concatenate([np.tile(Y0 * 300, (6, 1)), np.zeros((5, 2))]), np.array([0, 0.3]))
    steps = np.array(solution.stats.solves[0].samples.steps)
    needed, without = steps.sum(), len(steps) * steps.max()
    assert needed <= sum(rows) < needed + 0.5 * (without - needed)
    assert rows[0] == 35 > rows[-1]
    assert driven.card.solves[0].drive.batched, "the encoding has a row for each sample"


def test_a_failed_sample_does_not_change_the_others_in_every_form(tmp_path):
    model = MODELS["a pair"]
    callee = Callee(model, (torch.from_numpy(Y0), torch.tensor(T)), {})
    captured = capture(callee, {"x": {0: "batch"}}, Overrides(per_sample=True), opset=20)
    x = Y0.copy()
    x[1] = np.nan
    for form in ("adaptive", "driven"):
        exported = load_captured(captured, form, tmp_path / form)
        whole = exported.solve(Y0, T).raise_if_failed()
        broken = exported.solve(x, T)
        samples = broken.stats.solves[0].samples
        assert [status is Status.OK for status in samples.status] == [True, False, True, True, True]
        for ours, theirs in zip(broken.outputs.values(), whole.outputs.values(), strict=True):
            np.testing.assert_allclose(ours[:, [0, 2, 3, 4]], theirs[:, [0, 2, 3, 4]], rtol=1e-13)
            assert np.isnan(ours[:, 1]).any()
        with pytest.raises(odelet.SolveError, match="for 1 of 5 samples, the first of them sample 1"):
            exported(x, T)
        few = exported.solve(Y0, T, max_steps=max(whole.stats.solves[0].samples.steps) - 1)
        assert Status.STEP_LIMIT in few.stats.solves[0].samples.status
        assert Status.OK in few.stats.solves[0].samples.status


@pytest.mark.parametrize(("form", "controller"), [("adaptive", "pi"), ("driven", "pid")])
def test_an_export_is_proved_against_torch_sample_by_sample(form, controller, tmp_path):
    """torchdiffeq's loop runs with the controller of the export for the comparison."""
    x, t = torch.from_numpy(Y0), torch.tensor(T)
    settings = {"form": form, "controller": controller, "per_sample": form == "adaptive", "samples": 2}
    exported = export(MODELS["dopri5"], (x, t), tmp_path / "out", dynamic={"x": {0: "batch"}}, **settings)
    assert exported.parity.passed
    assert all(solve.equal for sample in exported.parity.samples for solve in sample.solves)
    assert exported.card.solves[0].per_sample == (form == "adaptive")
    plain = load_captured(
        capture(Callee(MODELS["dopri5"], (x, t), {}), {"x": {0: "batch"}}, Overrides(), opset=20),
        form,
        tmp_path / "plain",
    )
    assert odelet.load(tmp_path / "out").solve(Y0, T).stats.steps != plain.solve(Y0, T).stats.steps


def test_models_that_exclude_per_sample_are_refused(tmp_path):
    x, t = torch.from_numpy(Y0), torch.tensor(T)
    with pytest.raises(FormError, match="one dynamic axis that is the first of every state; the states have 5"):
        export(MODELS["dopri5"], (x, t), tmp_path / "static", per_sample=True)
    normed = Model(options={"norm": lambda y: y.abs().max()})
    with pytest.raises(CaptureError, match="a norm of the whole state cannot measure each sample"):
        export(normed, (x, t), tmp_path / "normed", per_sample=True, dynamic={"x": {0: "batch"}})
    with pytest.raises(FormError, match="per_sample is for adaptive methods"):
        export(Model(method="rk4"), (x, t), tmp_path / "fixed", per_sample=True, dynamic={"x": {0: "batch"}})

    class Mean(Model):
        def forward(self, x, t):
            return super().forward(x, t).mean()

    with pytest.raises(FormError, match="samples mix, as it has no axis 'batch'"):
        export(Mean(), (x, t), tmp_path / "mixed", per_sample=True, dynamic={"x": {0: "batch"}})

    class Mixed(Model):
        def forward(self, x, t):
            context = self.encode(x)
            return torchdiffeq.odeint(lambda t, y: torch.stack([y[:, 1] * t, context[:, 0] * y[:, 0]], dim=1), x, t)

    with pytest.raises(CaptureError, match="neither a time for each sample.* nor each sample alone"):
        export(Mixed(), (x, t), tmp_path / "indexed", per_sample=True, dynamic={"x": {0: "batch"}})

    class Number(nn.Module):
        def forward(self, x, t):
            return torchdiffeq.odeint(lambda t, y: -y, x.sum(), t)

    with pytest.raises(CaptureError, match="per_sample needs a state whose first axis counts samples"):
        export(Number(), (x, t), tmp_path / "number", per_sample=True, dynamic={"x": {0: "batch"}})
