"""An ODE-RNN, which reads a stream of readings at irregular times and says what the next one will be.

Follows Rubanova, Chen and Duvenaud, "Latent ODEs for Irregularly-Sampled Time Series" (2019), with the field of De
Brouwer et al., "GRU-ODE-Bayes" (2019), on readings of a glucose monitor with gaps of up to 28 hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchdiffeq import odeint

from odelet_models import datasets
from odelet_models.family import Call, Data, Family, Member, Use

# A reading of 140 mg/dL is 0 inside the networks, and 50 mg/dL more is 1.
MEAN, SCALE = 140.0, 50.0
MINUTES = 60.0
# Readings differ little from the ones before, so that networks see the differences enlarged.
CLOSER = 5.0
HIDDEN = 24
# Of the readings of a step of training, the forecasts of the first ones do not count.
FITTED, SKIPPED = 12, 2
LONGEST = 60.0
# The largest rate of the field, in 1/h.
RATE = 6.0


class Step(NamedTuple):
    """What a step returns. forecast: (batch,), mg/dL. next_state: (batch, 1 + hidden), for the next step."""

    forecast: Tensor
    next_state: Tensor


class DecayField(nn.Module):
    """The field of a GRU-ODE: each element of the state goes to a value between -1 and 1, at a rate of its own."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.target = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.rate = nn.Linear(hidden, hidden)

    def forward(self, z: Tensor) -> Tensor:
        """z: (batch, hidden). Returns dz/dt, t in hours."""
        return RATE * self.rate(z).sigmoid() * (self.target(z) - z)


class Recurrent(nn.Module):
    """A network that reads a series a reading at a time, each after a gap.

    Its state has the last reading first, and then the hidden state; the state before the first reading is 0.
    """

    def __init__(self, *, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.hidden = hidden
        self.cell = nn.GRUCell(2, hidden)

    def over(self, z: Tensor, hours: Tensor) -> tuple[Tensor, Tensor]:
        """z: (batch, hidden); hours: (batch, 1). Returns z after the gap, and how the reading changes: (batch, 1)."""
        raise NotImplementedError

    def step(self, gap: Tensor, reading: Tensor, state: Tensor) -> Step:
        """Forecast the reading after a gap, and then read it.

        gap: (batch,), minutes since the last step, of each sample its own. reading: (batch,), mg/dL, NaN where there is
        none. state: (batch, 1 + hidden), of the last step.
        """
        last, z = state[:, :1], state[:, 1:]
        z, change = self.over(z, gap[:, None] / MINUTES)
        forecast = last + change
        value = (reading[:, None] - MEAN) / SCALE
        seen = ~value.isnan()
        value = torch.where(seen, value, forecast)
        z = torch.where(seen, self.cell(torch.cat([value, CLOSER * (value - last)], 1), z), z)
        return Step(MEAN + SCALE * forecast[:, 0], torch.cat([torch.where(seen, value, last), z], 1))

    def forward(self, gaps: Tensor, readings: Tensor) -> Tensor:
        """The forecast of each reading of a series, before it is read: (batch, length), mg/dL.

        gaps, readings: (batch, length), minutes and mg/dL, as for `step`.
        """
        state = readings.new_zeros(len(readings), 1 + self.hidden)
        forecasts = []
        for gap, reading in zip(gaps.unbind(1), readings.unbind(1), strict=True):
            forecast, state = self.step(gap, reading, state)
            forecasts.append(forecast)
        return torch.stack(forecasts, 1)


class OdeRnn(Recurrent):
    """A GRU between whose readings the state follows an ODE for as long as the gap is.

    rtol, atol: the tolerances of dopri5. In training, where gaps are bounded, two steps of rk4 are enough for a gap.
    """

    def __init__(self, *, hidden: int = HIDDEN, rtol: float = 1e-3, atol: float = 1e-3) -> None:
        super().__init__(hidden=hidden)
        self.rtol, self.atol = rtol, atol
        self.field = DecayField(hidden)
        self.head = nn.Linear(hidden, 1)
        self.register_buffer("unit", torch.tensor([0.0, 1.0]), persistent=False)

    def over(self, z: Tensor, hours: Tensor) -> tuple[Tensor, Tensor]:
        """Solve dz/ds = hours f(z) over s from 0 to 1, so that one solve takes samples with gaps of their own."""
        method: dict[str, Any] = {"method": "dopri5", "rtol": self.rtol, "atol": self.atol}
        if self.training:
            method = {"method": "rk4", "options": {"step_size": 0.5}}
        z = odeint(lambda s, z: hours * self.field(z), z, self.unit, **method)[-1]
        return z, self.head(z)


class GapGru(Recurrent):
    """The discrete twin of `OdeRnn`: a GRU that is told the gap, when it forecasts and before it reads."""

    def __init__(self, *, hidden: int = HIDDEN) -> None:
        super().__init__(hidden=hidden)
        self.gap = nn.Sequential(nn.Linear(hidden + 1, hidden), nn.Tanh(), nn.Linear(hidden, hidden))
        self.head = nn.Linear(hidden, 1)

    def over(self, z: Tensor, hours: Tensor) -> tuple[Tensor, Tensor]:
        """Change z by layers that take the logarithm of the gap."""
        z = z + self.gap(torch.cat([z, (10 * hours).log1p()], 1))
        return z, self.head(z)


class Stepped(nn.Module):
    """A network as one step: what a device calls for each reading."""

    def __init__(self, network: Recurrent) -> None:
        super().__init__()
        self.network = network

    def forward(self, gap: Tensor, reading: Tensor, state: Tensor) -> Step:
        """As `Recurrent.step`."""
        return self.network.step(gap, reading, state)


def loss(model: Recurrent, gaps: Tensor, readings: Tensor) -> Tensor:
    """The mean square error of the forecasts of 12 readings in a row, of which a part is not shown: in each series
    another part, up to four fifths. Gaps are at most an hour here."""
    start = int(torch.randint(gaps.shape[1] - FITTED + 1, ()))
    gaps, readings = gaps[:, start : start + FITTED], readings[:, start : start + FITTED]
    hidden = torch.rand_like(readings) < 0.8 * torch.rand(len(readings), 1)
    hidden[:, 0] = False
    forecasts = model(gaps.clamp(max=LONGEST), readings.masked_fill(hidden, torch.nan))
    return ((forecasts - readings) / SCALE)[:, SKIPPED:].square().mean()


def error(forecasts: Tensor, readings: Tensor) -> float:
    """The root mean square error in mg/dL."""
    return (forecasts - readings).double().square().mean().sqrt().item()


def streamed(step: Call, gaps: Tensor, readings: Tensor) -> tuple[Tensor, Tensor]:
    """The forecasts (batch, length) of a step that is called for one reading after the other, and the last state."""
    state = readings.new_zeros(len(readings), 1 + HIDDEN)
    forecasts = []
    with torch.no_grad():
        for gap, reading in zip(gaps.unbind(1), readings.unbind(1), strict=True):
            forecast, state = step(gap, reading, state)
            forecasts.append(forecast)
    return torch.stack(forecasts, 1), state


def score(step: Call, gaps: Tensor, readings: Tensor) -> float:
    """The error of the forecasts half an hour ahead, of the last reading of each series."""
    return error(streamed(step, gaps, readings)[0][:, -1], readings[:, -1])


def last_value(data: Data) -> float:
    """The error if half an hour later the reading is still the same."""
    _, readings = data.test
    return error(readings[:, -2], readings[:, -1])


def step_inputs(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """A gap and a reading of each of some series of the training part, and a state."""
    gaps, readings = datasets.glucose().train
    rows = torch.arange(batch) % len(gaps)
    state = torch.rand(batch, 1 + HIDDEN, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return gaps[rows, 5], readings[rows, 5], state


def series_inputs(batch: int) -> tuple[Tensor, Tensor]:
    """The first 8 readings of series of the training part, and their gaps."""
    gaps, readings = datasets.glucose().train
    rows = torch.arange(batch) % len(gaps)
    return gaps[rows, :8], readings[rows, :8]


def draw(figure: Any, calls: Mapping[str, Call], data: Data) -> None:
    """A series that is read for a while and then forecast, and how the error grows with the time since a reading."""
    gaps, readings = data.test
    shown = readings.clone()
    shown[:, READ:] = torch.nan
    minutes = gaps.cumsum(1)
    ahead = (minutes - minutes[:, READ - 1 : READ])[:, READ:]
    left, right = figure.subplots(1, 2)
    moments, values = minutes[DRAWN].numpy(), readings[DRAWN].numpy()
    left.plot(moments, values, ".", color="0.75", label="not read")
    left.plot(moments[:READ], values[:READ], "ko", markersize=4, label="read")
    edges = (0, 7.5, 15, 25, 35, 50, 70, 100)
    bins = [(ahead > low) & (ahead <= high) for low, high in pairwise(edges)]
    centres = [(low + high) / 2 for low, high in pairwise(edges)]
    steps = {name.rpartition("-")[0]: call for name, call in calls.items() if name.endswith("-step")}
    for (name, step), style in zip(steps.items(), ("C0o-", "C1s--"), strict=False):
        forecasts = streamed(step, gaps, shown)[0]
        left.plot(moments[READ - 1 :], forecasts[DRAWN, READ - 1 :].numpy(), style, markersize=2, label=name)
        errors = [error(forecasts[:, READ:][inside], readings[:, READ:][inside]) for inside in bins]
        right.plot(centres, errors, style, label=name)
    last = readings[:, READ - 1 : READ].expand(-1, ahead.shape[1])
    errors = [error(last[inside], readings[:, READ:][inside]) for inside in bins]
    right.plot(centres, errors, ".:", color="0.4", label="last reading")
    left.set(xlabel="minutes", ylabel="mg/dL")
    right.set(xlabel="minutes since the last reading", ylabel="error, mg/dL", ylim=(0, None))
    left.legend(frameon=False, fontsize=7)
    right.legend(frameon=False, fontsize=8)


# The series that is drawn, and how many readings are read before the forecast.
DRAWN, READ = 100, 12
_USES = {
    "step": Use(
        inputs=step_inputs,
        dynamic={name: {0: "batch"} for name in ("gap", "reading", "state")},
        module=Stepped,
    ),
    "series": Use(inputs=series_inputs, dynamic={"gaps": {0: "batch"}, "readings": {0: "batch"}}),
}
_TRAINING = {"epochs": 40, "batch_size": 128, "learning_rate": 1e-2, "clip": 1.0}
FAMILY = Family(
    title="ODE-RNN",
    about="A reader of streams whose readings come when they come: between two of them its state follows an ODE for as "
    "long as the gap is. One step is an artifact, which a device calls for each reading and carries the state.",
    source="Rubanova, Chen, Duvenaud, Latent ODEs for Irregularly-Sampled Time Series (2019)",
    data=datasets.glucose,
    members={
        "ode_rnn": Member(
            about="a GRU whose state follows an ODE over each gap, dopri5 at 1e-3",
            build=OdeRnn,
            loss=loss,
            uses=_USES,
            settings=_TRAINING,
        ),
        "gap_gru": Member(
            about="a GRU that is told each gap",
            build=GapGru,
            loss=loss,
            uses=_USES,
            discrete=True,
            settings=_TRAINING,
        ),
    },
    metric="error half an hour ahead, mg/dL",
    higher=False,
    score=score,
    baseline=("the last reading", last_value),
    draw=draw,
)
