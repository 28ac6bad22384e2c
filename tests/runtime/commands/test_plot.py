"""Pictures of solves: each attempted step is drawn once, at the time where it starts."""

import sys

import numpy as np
import pytest
import torch
from support.command_line import call, one_line
from torchdiffeq import odeint, odeint_event

import odelet
from odelet import InputError
from odelet.commands.plot import MOST_CURVES, draw, record
from odelet.model.settings import CallSettings
from odelet_export import export
from odelet_export.capture.cache import capturing_once

Y0 = np.array([[2.0, 0.0], [0.1, 4.0], [-1.0, 1.0]])


class Oscillator(torch.nn.Module):
    """Van der Pol's oscillator, some steps of which are rejected where the state turns."""

    def forward(self, y0):
        def field(t, y):
            x, v = y[..., 0], y[..., 1]
            return torch.stack([v, 5 * (1 - x * x) * v - x], -1)

        return odeint(field, y0, torch.tensor([0.0, 4.0], dtype=y0.dtype), method="dopri5", rtol=1e-3, atol=1e-4)[-1]


def made(folder, model, example, variants):
    """Return models by the names of their settings, exported from one capture."""
    dynamic = {"y0": {0: "batch"}}
    with capturing_once():
        for name, settings in variants.items():
            export(model, (example,), folder / name, dynamic=dynamic, samples=1, **{"form": "driven", **settings})
    return {name: odelet.load(folder / name) for name in variants}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    variants = {
        "whole": {},
        "per_sample": {"per_sample": True},
        "fixed": {"method": "rk4", "steps": 400},
        "adaptive": {"form": "adaptive"},
        "scipy": {"method": "scipy_solver"},
    }
    return made(tmp_path_factory.mktemp("plot"), Oscillator(), torch.tensor(Y0), variants)


def marks(figure, panel, name):
    """Return the times and heights of the marks of a panel."""
    (line,) = [line for line in figure.axes[panel].lines if line.get_label() == name]
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def test_every_step_of_the_solve_is_on_the_picture(models):
    solution = models["whole"].solve(Y0)
    recording = record(models["whole"], {"y0": Y0})
    (stats,) = solution.stats.solves
    assert recording.stats == stats  # recording does not change the solve
    assert stats.rejected > 3
    figure = draw(recording)
    for panel in (1, 2):
        assert len(marks(figure, panel, "accepted")[0]) == stats.accepted
        assert len(marks(figure, panel, "rejected")[0]) == stats.rejected
    assert (marks(figure, 2, "accepted")[1] <= 1).all()
    assert (marks(figure, 2, "rejected")[1] > 1).all()
    assert f"{stats.steps} steps, {stats.accepted} accepted, {stats.rejected} rejected" in figure.get_suptitle()


def test_accepted_steps_follow_one_another_and_rejected_ones_start_where_the_next_does(models):
    tape = record(models["whole"], {"y0": Y0}).recording
    time = 0.0
    for step in tape.attempts:
        assert step.time == time
        time = time + step.length if step.accepted else time
    assert time >= 4
    assert [piece.end for piece in tape.steps][:-1] == [piece.start for piece in tape.steps][1:]


@pytest.mark.parametrize("sample", [0, 2])
def test_the_curves_are_the_solution(models, sample):
    times = np.linspace(0, 4, 33)
    figure = draw(record(models["whole"], {"y0": Y0}, sample=sample))
    dense = models["whole"].solve(Y0, dense=True)
    for element in (0, 1):
        drawn, heights = marks(figure, 0, f"y[{element}]")
        inside = drawn <= 4
        np.testing.assert_allclose(heights[inside], dense.at(drawn[inside])[:, sample, element], rtol=1e-12, atol=1e-12)
        ends, _ = marks(figure, 0, f"_steps of y[{element}]")
        assert len(ends) == dense.stats.accepted
    assert np.ptp(times) == 4


@pytest.mark.parametrize("sample", range(len(Y0)))
def test_of_a_solve_per_sample_one_sample_is_drawn(models, sample):
    recording = record(models["per_sample"], {"y0": Y0}, sample=sample)
    whole = models["per_sample"].solve(Y0)
    (stats,) = whole.stats.solves
    steps, accepted = stats.samples.steps[sample], stats.samples.accepted[sample]
    figure = draw(recording)
    assert len(marks(figure, 2, "accepted")[0]) == accepted
    assert sum(len(marks(figure, 2, name)[0]) for name in ("accepted", "rejected")) == steps
    assert f"sample {sample}" in figure.get_suptitle()
    # A sample takes the same steps in a batch as alone.
    alone = record(models["per_sample"], {"y0": Y0[sample : sample + 1]}).recording
    assert [(step.accepted, step.time) for step in recording.recording.attempts] == [
        (step.accepted, pytest.approx(step.time, rel=1e-9)) for step in alone.attempts
    ]
    end = recording.recording.steps[-1].read(4.0)
    np.testing.assert_allclose(end, whole.outputs["output"][sample], rtol=1e-12)


def test_fixed_steps_have_no_ratios(models):
    recording = record(models["fixed"], {"y0": Y0}, sample=1)
    figure = draw(recording)
    assert len(figure.axes) == 2
    times, lengths = marks(figure, 1, "accepted")
    assert len(times) == models["fixed"].solve(Y0).stats.steps == 400
    np.testing.assert_allclose(times, np.arange(400) / 100, atol=1e-12)
    np.testing.assert_allclose(lengths, 0.01)
    np.testing.assert_allclose(recording.recording.steps[-1].ends.y1.reshape(3, 2), models["fixed"](Y0), rtol=1e-12)


class Falling(torch.nn.Module):
    """A body that falls to the ground, or that is followed backwards in time; the state has many other elements."""

    def __init__(self, method="dopri5", options=None, *, event=True):
        super().__init__()
        self.event, self.how = event, {"method": method, "options": options}

    def forward(self, y0):
        def field(t, y):
            return torch.cat([y[:, 1:2], -torch.ones_like(y[:, :1]), torch.sin(t) * y[:, 2:]], 1)

        if self.event:
            return odeint_event(field, y0, torch.zeros((), dtype=y0.dtype), event_fn=lambda t, y: y[0, 0], **self.how)[
                1
            ][-1]
        times = torch.tensor([1.0, 0.35, -0.5], dtype=y0.dtype)
        return odeint(field, y0, times, **self.how)


FALL = np.array([[1.0, 0.0, 1, 2, 3, 4, 5, 6, 7, 8]])


def test_a_solve_that_ends_at_an_event_is_marked_there(tmp_path):
    model = made(tmp_path, Falling(), torch.tensor(FALL), {"a": {}})["a"]
    recording = record(model, {"y0": FALL})
    assert recording.end == pytest.approx(2**0.5)
    assert recording.count == 10
    assert len(recording.curves) == MOST_CURVES
    figure = draw(recording)
    assert recording.end in [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert figure.axes[0].get_legend().get_title().get_text() == "6 of 10 elements, those that change most"
    assert {curve.name for curve in recording.curves} >= {"y[9]", "y[8]"}


def test_cubics_of_a_fixed_method_and_time_that_runs_back(tmp_path):
    options = {"step_size": 0.25, "interp": "cubic"}
    model = made(tmp_path, Falling("rk4", options, event=False), torch.tensor(FALL), {"a": {}})["a"]
    recording = record(model, {"y0": FALL})
    figure = draw(recording)
    drawn, heights = marks(figure, 0, "y[9]")
    assert drawn[0] == 1 and drawn[-1] == -0.5
    dense = model.solve(FALL, dense=True)
    np.testing.assert_allclose(heights, dense.at(drawn)[:, 0, 9], rtol=1e-12)
    assert (marks(figure, 1, "accepted")[0] > -0.5).all()


def test_a_solve_that_fails_is_drawn_until_then(models):
    recording = record(models["whole"], {"y0": Y0}, settings=CallSettings(max_steps=5))
    assert len(recording.recording.attempts) == 5
    assert "STEP_LIMIT: the step limit was reached" in draw(recording).get_suptitle()
    nothing = record(models["whole"], {"y0": np.full_like(Y0, np.nan)})
    assert nothing.recording.attempts == []
    assert "NOT_FINITE" in draw(nothing).get_suptitle()


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("adaptive", {}, r"solve 0 \(.*\) has the form 'adaptive', .* export the model with the form 'driven'"),
        ("scipy", {}, "has its steps taken by SciPy"),
        ("whole", {"solve": 1}, "solve=1 is not in the artifact, whose solves are 0 to 0"),
        ("whole", {"sample": 3}, "sample=3 is not in the batch, which has 3 samples"),
        ("per_sample", {"sample": 3}, "sample=3 is not in the batch"),
        ("whole", {"sample": -1}, "sample=-1 must not be negative"),
        ("fixed", {"settings": CallSettings(rtol=0.1)}, "rtol=0.1 cannot be set"),
    ],
)
def test_what_cannot_be_drawn_is_told(models, name, asked, message):
    with pytest.raises(InputError, match=message):
        record(models[name], {"y0": Y0}, **asked)


class TestCommand:
    @pytest.fixture
    def arguments(self, models, tmp_path):
        np.savez(tmp_path / "x.npz", y0=Y0)
        return ["plot", models["whole"].folder, "--input", tmp_path / "x.npz", "-o", tmp_path / "p.png"]

    def test_it_writes_a_picture_and_says_what_is_on_it(self, capsys, arguments, models):
        code, out, err = call(capsys, *arguments, "--sample", 2, "--rtol", 0.01)
        assert (code, err) == (0, "")
        stats = models["whole"].solve(Y0, rtol=0.01).stats
        first = f"solve 0: dopri5, {stats.steps} steps, {stats.accepted} accepted, {stats.rejected} rejected"
        assert out == f"{first}\nwrote {arguments[-1]}\n"
        assert arguments[-1].read_bytes().startswith(b"\x89PNG")

    def test_another_ending_is_refused_before_anything_runs(self, capsys, arguments):
        arguments[-1] = arguments[-1].with_suffix(".jpg")
        code, _, err = call(capsys, *arguments)
        assert code == 2
        assert "its ending must be one of .png, .svg, .pdf" in one_line(err)

    def test_without_matplotlib_it_says_what_to_install(self, capsys, arguments, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        code, _, err = call(capsys, *arguments)
        assert code == 2
        assert one_line(err).endswith('install it with: pip install "odelet[plot]"\n')
        assert not arguments[-1].exists()
