"""Exported models that solve until an event give the times and states of torchdiffeq."""

import numpy as np
import pytest
import torch
import torchdiffeq
from torch import nn

import odelet
from odelet_export import FormError, export


class UntilEvent(nn.Module):
    """A solve until the first of three events, one of them far off; the event function reads a value from outside."""

    def __init__(self, *, method="dopri5", options=None, reverse=False, pair=False, entry="odeint_event"):
        super().__init__()
        self.turn = nn.Parameter(torch.tensor([[0.125, 1.0], [-1.0, -0.125]]))
        self.settings = {"method": method, "options": options, "rtol": 1e-6, "atol": 1e-8}
        self.reverse, self.pair, self.entry = reverse, pair, entry

    def forward(self, x, t0):
        level = x.abs().sum() * 0.125

        def slope(t, y):
            return y @ self.turn.T + 0.125 * torch.cos(t)

        def happens(t, y):
            return torch.stack([y.sum() - level, y[0, 0], t - 50])

        y0, field, event = x, slope, happens
        if self.pair:
            y0 = (x, x[:, 0])
            field = lambda t, s: (slope(t, s[0]), s[0].sum() * 0.125 * s[1])  # noqa: E731
            event = lambda t, s: happens(t, s[0])  # noqa: E731
        if self.entry == "odeint":
            t = torch.stack([t0, t0 - 1 if self.reverse else t0 + 1])
            time, solution = torchdiffeq.odeint(field, y0, t, event_fn=event, **self.settings)
        else:
            time, solution = torchdiffeq.odeint_event(
                field, y0, t0, event_fn=event, reverse_time=self.reverse, **self.settings
            )
        return (time, *solution) if self.pair else (time, solution)


RK4 = {"method": "rk4", "options": {"step_size": 0.05}}
CASES = [
    ("adaptive", "float64", {}),
    ("adaptive", "float32", {"reverse": True, "pair": True, "entry": "odeint"}),
    ("driven", "float64", {"reverse": True, "pair": True}),
    ("driven", "float32", RK4),
    ("rolled", "float64", RK4 | {"reverse": True, "pair": True}),
]


@pytest.mark.parametrize(("form", "dtype", "settings"), CASES)
def test_event_times_and_states_equal_those_of_torchdiffeq(form, dtype, settings, tmp_path):
    number = getattr(torch, dtype)
    model = UntilEvent(**settings).to(number).eval()
    x = torch.tensor([[1.0, 0.3], [0.7, -0.2], [0.1, 0.2]], dtype=number)
    exported = export(
        model, (x, torch.tensor(0.25, dtype=number)), tmp_path / "out", form=form, dynamic={"x": {0: "n"}}
    )
    assert exported.parity.passed
    loaded = odelet.load(tmp_path / "out")
    for scale, start in ((1.3, 0.5), (0.6, -1.0)):
        other, t0 = x[:2] * scale, torch.tensor(start, dtype=number)
        with torch.no_grad():
            expected = model(other, t0)
        solution = loaded.solve(other.numpy(), t0.numpy())
        assert solution.status is odelet.Status.OK
        for ours, theirs in zip(solution.outputs.values(), expected, strict=True):
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs.numpy()).max() < (1e-5 if dtype == "float32" else 1e-11)
        assert solution.stats.solves[0].time == pytest.approx(float(expected[0]), abs=1e-5)


class Level(nn.Module):
    def forward(self, x):
        return torchdiffeq.odeint_event(
            lambda t, y: -y, x, torch.zeros((), dtype=x.dtype), event_fn=lambda t, y: y[0] - 0.5
        )


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_an_event_at_the_start_and_a_missing_event_are_reported(form, tmp_path):
    export(Level(), (torch.ones(1, dtype=torch.float64),), tmp_path / "out", form=form)
    model = odelet.load(tmp_path / "out")
    at_start = model.solve(np.array([0.5]))
    assert at_start.outputs["output_0"] == 0
    assert at_start.outputs["output_1"].tolist() == [[0.5], [0.5]]
    never = model.solve(np.array([0.25]), max_steps=20)
    assert never.status is odelet.Status.STEP_LIMIT
    assert never.stats.steps == 20


def test_a_form_without_events_is_refused_with_the_reason(tmp_path):
    model = UntilEvent(**RK4)
    with pytest.raises(FormError, match="it ends at an event"):
        export(model, (torch.ones(2, 2), torch.tensor(0.0)), tmp_path / "out", form="unrolled")
