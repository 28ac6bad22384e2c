"""Output times from everywhere, and times used in every way inside a field."""

import numpy as np
import torch
from models_case import BATCH, Case
from torch import nn
from torchdiffeq import odeint

TOL = {"rtol": 1e-3, "atol": 1e-4}


class Timed(nn.Module):
    """A model whose times are made by `times(x, *rest)`."""

    def __init__(self, times, *, field=None, **options):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.times, self.field, self.options = times, field, options or TOL

    def forward(self, x, *rest):
        field = self.field or (lambda t, y: torch.tanh(self.lin(y)) * torch.cos(t))
        return odeint(field, x, self.times(x, *rest), **self.options)


def _timed(times, *rest, dynamic=None, field=None, double=False, **options):
    model = Timed(times, field=field, **options)
    args = (torch.randn(3, 3), *rest)
    return Case(
        model.double() if double else model, args if not double else (args[0].double(), *rest), BATCH | (dynamic or {})
    )


def constant_times():
    """Every way to write times that are constants."""
    grid, whole = np.linspace(0, 1, 4), torch.tensor([0, 1])
    lin = nn.Linear(3, 3)

    def model(x):
        every = (
            torch.linspace(0, 1, 5),
            torch.stack([torch.tensor(0.0), torch.tensor(0.7)]),
            x.new_tensor([0.0, 0.5, 0.75]),
            torch.from_numpy(grid).to(x),
            whole.type_as(x),
        )
        return tuple(odeint(lambda t, y: torch.tanh(lin(y)) * torch.cos(t), x, times, method="rk4") for times in every)

    return Case(model, (torch.randn(3, 3),))


def arange_decreasing():
    return _timed(lambda x: torch.arange(4.0, 0.0, -1.0) / 4, method="rk4", options={"step_size": 0.1})


def float64_times():
    return _timed(lambda x: torch.linspace(0, 1, 4, dtype=torch.float64))


def float64_times_fixed():
    return _timed(lambda x: torch.linspace(0, 1, 4, dtype=torch.float64), method="rk4", options={"step_size": 0.07})


def float32_times_float64_state():
    return _timed(lambda x: torch.linspace(0, 1, 4), double=True)


def learned_end():
    end = nn.Parameter(torch.tensor(0.8))
    return _timed(lambda x: torch.cat([torch.zeros(1), end.reshape(1)]))


def learned_end_list():
    """torch.tensor of a Python list holding a parameter's value."""
    end = nn.Parameter(torch.tensor(0.8))
    return _timed(lambda x: torch.tensor([0.0, end.item()]))


def checked_constant():
    """Python decisions on constants: asserts and a flip."""
    grid = torch.tensor([1.0, 0.5, 0.0])

    def times(x):
        assert (grid[1:] < grid[:-1]).all()
        t = grid if grid[0] > grid[-1] else grid.flip(0)
        if torch.any(t < 0):
            raise ValueError("negative times")
        return t.sort(descending=True).values

    return _timed(times)


def constant_numbers():
    """float() and int() of constants, outside and inside the field."""
    end, power = torch.tensor(0.9), torch.tensor([2])

    def field(t, y):
        return -y / float(end) * (int(power) - 1)

    return _timed(lambda x: torch.tensor([0.0, float(end)]), field=field)


def _last(i):
    return {f"rest_{i}": {0: "times"}}


def given_times():
    return _timed(lambda x, t: t, torch.linspace(0, 1, 4), dynamic=_last(0))


def given_decreasing():
    return _timed(lambda x, t: t, torch.linspace(1, 0, 4), dynamic=_last(0))


def given_fixed_count():
    return _timed(lambda x, t: t, torch.tensor([0.0, 0.6]), method="rk4", options={"step_size": 0.1})


def given_float64_times():
    return _timed(lambda x, t: t, torch.linspace(0, 1, 3, dtype=torch.float64), dynamic=_last(0))


def given_times_scaled():
    return _timed(lambda x, t: t / 2 + 0.1, torch.linspace(0, 1, 4), dynamic=_last(0), method="rk4")


def prepended_zero():
    return _timed(
        lambda x, t: torch.cat([torch.zeros(1), t]), torch.tensor([0.3, 0.5, 1.0]), dynamic=_last(0), method="rk4"
    )


def scalar_end():
    return _timed(lambda x, end: torch.stack([torch.zeros_like(end), end]), torch.tensor(0.7))


def scalar_end_of_one():
    return _timed(lambda x, end: torch.cat([torch.zeros(1), end]), torch.tensor([0.7]))


def scalar_end_in_tensor():
    return _timed(lambda x, end: torch.tensor([0.0, end]), torch.tensor(0.7))


def scalar_end_scaled():
    return _timed(lambda x, end: torch.linspace(0, 1, 4) * end, torch.tensor(0.7))


def python_end():
    return _timed(lambda x, end: torch.tensor([0.0, end]), 0.7)


def python_count():
    return _timed(lambda x, n: torch.linspace(0, 1, n), 5, method="rk4")


def times_of_sequence_length():
    """As many times as the input has observations."""

    def model(x):
        t = torch.linspace(0, 1, x.shape[1]).to(x)
        return odeint(lambda t, y: -y * t, x[:, 0], t, method="rk4").transpose(0, 1)

    return Case(model, (torch.randn(3, 5, 2),), {"x": {0: "batch", 1: "length"}})


def observed_times():
    """Times out of the data: a column of the input."""

    def model(x, obs):
        return odeint(lambda t, y: torch.sin(y), x, obs[:, 0], method="rk4")

    return Case(model, (torch.randn(2, 3), torch.tensor([[0.0, 1.0], [0.5, 2.0], [0.9, 1.0]])), BATCH)


def irregular_steps():
    return _timed(lambda x: torch.tensor([0.0, 0.1, 0.15, 0.9]), method="heun3", options={"step_size": 0.2})


def single_time():
    return _timed(lambda x: torch.tensor([0.5]))


def _field(field):
    return _timed(lambda x: torch.tensor([0.0, 0.6]), field=field)


def t_as_a_column():
    """Every way to put the time beside the state."""
    lin, gain = nn.Linear(9, 3), nn.Linear(1, 3)

    def of_dim(t, y):
        # The check of many networks: make the time a vector if it is a scalar.
        if t.dim() == 0:
            t = t.repeat(y.shape[0])
        return t[:, None] if len(t.shape) == 1 else t

    def field(t, y):
        columns = [
            torch.ones_like(y[:, :1]) * t,
            t.expand(y.shape[0], 1),
            t * torch.ones(y.shape[0], 1),
            t.unsqueeze(0).repeat(y.size(0)).unsqueeze(1),
            of_dim(t, y),
            t.repeat(y.shape[0], 1),
        ]
        return lin(torch.cat([y, *columns], 1)) + y * gain(t.view(1, 1))

    return _field(field)


def t_full():
    lin = nn.Linear(4, 3)
    return _field(lambda t, y: lin(torch.cat([y, torch.full((y.shape[0], 1), t.item())], -1)))


def t_not_tensor():
    def field(t, y):
        t = t if torch.is_tensor(t) else torch.tensor(t)
        return y * torch.as_tensor(t).to(y.device, y.dtype)

    return _field(field)


def t_new_tensor():
    def field(t, y):
        vec = y.new_zeros(y.shape[0], 1).fill_(1.0) * t
        return y * vec + torch.zeros(y.shape[0], 1).fill_(t)

    return _field(field)


def t_tensor_of():
    return _field(lambda t, y: y * torch.tensor([t, 1.0, 0.5 * t]))


def t_item():
    return _field(lambda t, y: y * t.item() + float(t))


def t_in_formulas():
    freqs, lin = torch.tensor([1.0, 2.0, 4.0]), nn.Linear(6, 3)

    def field(t, y):
        angles = 2 * torch.pi * freqs * t
        return y * torch.stack([t**i for i in range(3)]) + lin(torch.cat([angles.sin(), angles.cos()]))

    return _field(field)


def t_take():
    table = torch.randn(5, 3)
    return _field(
        lambda t, y: y * table[torch.clamp((t * 4).long(), 0, 4)] + table.index_select(0, (t * 4).long()[None])
    )


CASES = [
    t_in_formulas,
    t_as_a_column,
    constant_times,
    arange_decreasing,
    float64_times,
    float64_times_fixed,
    float32_times_float64_state,
    learned_end,
    learned_end_list,
    checked_constant,
    constant_numbers,
    given_times,
    given_decreasing,
    given_fixed_count,
    given_float64_times,
    given_times_scaled,
    prepended_zero,
    scalar_end,
    scalar_end_of_one,
    scalar_end_in_tensor,
    scalar_end_scaled,
    python_end,
    python_count,
    times_of_sequence_length,
    observed_times,
    irregular_steps,
    single_time,
    t_full,
    t_not_tensor,
    t_new_tensor,
    t_tensor_of,
    t_item,
    t_take,
]
