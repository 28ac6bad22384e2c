"""Decisions of a model's Python code: on constants they are final, on inputs they become assumptions, and in a field
every path is traced."""

import bisect
import math

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.errors import AssumptionError
from odelet.status import Status
from odelet_export import CaptureError, export
from odelet_export.capture.decisions.paths import MOST_PATHS

T = torch.tensor([0.0, 1.0])
FINE = {"method": "rk4", "options": {"step_size": 0.1}}
BATCH = {"x": {0: "batch"}}


def decay(x, t=T):
    return odeint(lambda t, y: -y, x, t, **FINE)[-1]


def masked(x, mask):
    if mask.any():
        x = torch.where(mask, x, 0.0)
    return decay(x)


def checked(x, t):
    assert (t[1:] > t[:-1]).all()
    assert not torch.equal(x, torch.zeros_like(x))
    return odeint(lambda t, y: -y, x, t, **FINE)


def after_the_solve(x):
    y = decay(x)
    return y * 0 if y.abs().max() > 1e3 else y


def exported_and_loaded(tmp_path, model, *args, dynamic=BATCH, **options):
    result = export(model, args, tmp_path / "out", dynamic=dynamic, samples=2, **options)
    return result, odelet.load(tmp_path / "out")


def refusal(tmp_path, model, *args, dynamic=BATCH, **options):
    with pytest.raises(CaptureError) as error:
        export(model, args, tmp_path / "out", dynamic=dynamic, **options)
    assert not (tmp_path / "out").exists()
    return str(error.value)


@pytest.mark.slow
def test_a_decision_on_an_input_is_an_assumption_that_each_call_checks(tmp_path):
    x, mask = torch.randn(4, 3), torch.rand(4, 3) > 0.3
    result, model = exported_and_loaded(tmp_path, masked, x, mask, dynamic={"x": {0: "b"}, "mask": {0: "b"}})
    (assumed,) = result.card.assumptions
    assert (assumed.text, assumed.value, assumed.inputs) == ("if mask.any():", "True", ("mask",))
    assert assumed.source.startswith("test_answers.py:")
    assert any("holds only while" in warning and "mask.any()" in warning for warning in result.warnings)
    x = np.ones((2, 3), np.float32)
    assert model(x, np.array([[True, False, True]] * 2))[0, 1] == 0
    with pytest.raises(AssumptionError, match=r"mask\.any\(\)"):
        model(x, np.zeros((2, 3), bool))


@pytest.mark.slow
def test_asserts_of_the_model_are_checked_in_each_call(tmp_path):
    t = torch.linspace(0, 1, 4)
    result, model = exported_and_loaded(
        tmp_path, checked, torch.randn(4, 3), t, dynamic={"x": {0: "batch"}, "t": {0: "times"}}
    )
    assert [assumption.value for assumption in result.card.assumptions] == ["True", "False"]
    x = np.ones((2, 3), np.float32)
    assert model(x, np.array([0, 0.5], np.float32)).shape == (2, 2, 3)
    with pytest.raises(AssumptionError, match="assert"):
        model(x, np.array([0.5, 0], np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["auto", "driven"])
def test_a_decision_on_a_solution_is_an_assumption(form, tmp_path):
    result, model = exported_and_loaded(tmp_path, after_the_solve, torch.randn(4, 3), form=form)
    assert [assumption.value for assumption in result.card.assumptions] == ["False"]
    with pytest.raises(AssumptionError):
        model(np.full((1, 3), 1e5, np.float32))


def test_strict_refuses_a_model_that_needs_assumptions(tmp_path):
    message = refusal(tmp_path, masked, torch.randn(4, 3), torch.rand(4, 3) > 0.3, dynamic=None, strict=True)
    assert "if mask.any():" in message
    assert "leave strict out" in message


class Constants(nn.Module):
    """A model whose decisions and numbers all come from constants, in many ways."""

    def __init__(self):
        super().__init__()
        self.register_buffer("knots", torch.tensor([0.0, 0.5, 1.0]))
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.limits = torch.tensor([0.0, 1.0])

    def forward(self, x):
        assert (self.knots.diff() > 0).all() and 0.5 in self.knots
        if self.gain > 0 and torch.allclose(self.limits, T):
            x = x * self.gain.item()
        rows = [float(k) for k in self.knots] + self.limits.tolist()
        limits = self.limits.clone()
        view = limits[:1]
        view += 1
        count = int(limits.sum()) + round(float(self.knots.numpy()[1]) * 2) + len(f"{limits[1]:.2f}")
        self.cache = limits - view
        return decay(x * sum(rows), torch.linspace(0, 1, count))


@pytest.mark.slow
def test_decisions_on_constants_are_no_assumptions(tmp_path):
    model = Constants()
    result, _ = exported_and_loaded(tmp_path, model, torch.randn(4, 3), strict=True)
    assert result.warnings == ()
    assert type(model.cache) is torch.Tensor, "what the tracer made stayed on the model"


class Doses(nn.Module):
    """A field with a bisection, an index by the time, a branch on the state, and an error at late times."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(5, 3))
        self.knots = [0.0, 0.3, 0.6]

    def field(self, t, y):
        if t > 50.0:
            raise ValueError("the table ends at 50")
        dose = self.table[bisect.bisect_right(self.knots, t) - 1]
        y = y.clamp(max=1.0) if y.mean() > 0 else y
        return dose - y + self.table[int(t * 2)]

    def forward(self, x, t):
        return odeint(self.field, x, t, **FINE)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["unrolled", "driven"])
def test_every_path_of_a_field_is_traced(form, tmp_path):
    torch.manual_seed(0)
    net = Doses()
    result, model = exported_and_loaded(
        tmp_path, net, torch.randn(4, 3), torch.tensor([0.0, 1.0]), form="auto" if form != "driven" else form
    )
    assert result.card.assumptions == ()
    assert any("the table ends at 50" in warning for warning in result.warnings)
    assert any("is 0 to 2 on the example" in warning for warning in result.warnings)
    for x in (torch.randn(2, 3), torch.randn(7, 3) - 2):
        for t in (T, torch.tensor([0.9, 0.1])):
            expected = net(x, t).detach().numpy()
            np.testing.assert_allclose(model(x.numpy(), t.numpy()), expected, rtol=0, atol=2e-6)
    # The solve fails at times whose whole numbers were not traced, and where the field raises.
    for end in (1.9, 60.0):
        assert model.solve(np.ones((1, 3), np.float32), [0, end]).status is Status.NOT_FINITE


class Currents(nn.Module):
    """A field with tables of many values, whose rows it finds by whole numbers of the time."""

    def __init__(self):
        super().__init__()
        self.table, self.steps = torch.randn(300, 3), torch.tensor([0.00571])  # no time of a stage is close to a jump

    def field(self, t, y):
        k, last = round(float(t) * 90), len(self.table) - 1
        current = self.table[int(t // self.steps[0])] + self.table[min(math.floor(t * 247.3), last)]
        return current - y * (1.0 + 0.01 * (k % 7)) + (self.table[k] if k > 20 else y)

    def forward(self, x, t):
        return odeint(self.field, x, t, **FINE)


def test_a_whole_number_with_many_values_is_an_index_that_is_a_tensor(tmp_path):
    net = Currents()
    result, model = exported_and_loaded(tmp_path, net, torch.randn(4, 3), T)
    assert result.card.assumptions == result.warnings == ()
    for t in (T, torch.tensor([0.3, 1.4])):
        x = torch.randn(2, 3)
        np.testing.assert_allclose(model(x.numpy(), t.numpy()), net(x, t).numpy(), rtol=0, atol=2e-6)


def layer_by_time(x):
    layers = [lambda y, i=i: -y * i for i in range(60)]
    return odeint(lambda t, y: layers[int(t * 50)](y), x, T, **FINE)


def test_a_whole_number_that_must_be_one_may_not_have_many_values(tmp_path):
    assert "0 to 50 on the example" in refusal(tmp_path, layer_by_time, torch.ones(2, 3))


def newton(x):
    def field(t, y):
        z = y
        while (z * z - y).abs().max() > 1e-3:
            z = (z + y / z) / 2
        return -z

    return odeint(field, x, T, **FINE)[-1]


def test_too_many_paths_are_refused(tmp_path):
    message = refusal(tmp_path, newton, torch.rand(4, 3) + 1)
    assert f"more than {MOST_PATHS} paths" in message
    assert "fixed number of passes" in message


def number_in_field(x):
    import math

    return odeint(lambda t, y: -y * math.gamma(t + 1), x, T)[-1]  # torch has no function of the same name


def steps_of_an_input(x, n):
    return decay(x, torch.linspace(0, 1, int(n)))


def first_columns(x, n):
    return decay(x[:, :n])


def ragged(x, mask):
    rows = [row[keep].sum() for row, keep in zip(x.unbind(0), mask.unbind(0), strict=True)]
    return decay(torch.stack(rows))


def array_of_an_input(x, n):
    return decay(x * torch.from_numpy(n.reshape(1).numpy() * 2))


N = torch.tensor(4)


@pytest.mark.parametrize(
    ("model", "args", "finding", "advice"),
    [
        (number_in_field, (), "float() of a value of the field", "torch.sin(t), not math.sin(t)"),
        (array_of_an_input, (N,), "numpy() of a value that depends on n", "--freeze n"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_a_number_that_a_graph_cannot_hold_is_refused_with_advice(model, args, finding, advice, tmp_path):
    message = refusal(tmp_path, model, torch.rand(5, 7), *args)
    assert f'File "{__file__}", line ' in message
    assert finding in message
    assert advice in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "freeze"), [(steps_of_an_input, ()), (first_columns, ()), (array_of_an_input, ("n",))]
)
def test_a_whole_or_frozen_number_is_an_assumption_that_each_call_checks(model, freeze, tmp_path):
    result, loaded = exported_and_loaded(tmp_path, model, torch.randn(5, 7), N, freeze=freeze)
    (assumed,) = result.card.assumptions
    assert (assumed.value.strip("[]"), assumed.inputs) == ("4", ("n",))
    x = np.ones((2, 7), np.float32)
    loaded(x, 4)
    with pytest.raises(AssumptionError):
        loaded(x, 5)


def test_freeze_must_name_an_input(tmp_path):
    with pytest.raises(odelet.InputError, match="freeze names input 'm', but the model's inputs are x, n"):
        export(steps_of_an_input, (torch.rand(2, 3), N), tmp_path / "out", freeze=["m"])


def scalars_of_inputs(x, end, k):
    """A model that reads its inputs as Python numbers, all of which can stay tensors in the graph."""
    t = torch.tensor([0.0, end.item() / 2, end])
    y = odeint(lambda t, y: -y * end.item() + torch.tensor([t, 1.0, 0.0]), x, t, **FINE)
    first, second = end.reshape(1).expand(2).tolist()
    return y[k] + torch.full((3,), first) - second, torch.linspace(0, end, 3), torch.Tensor([end, 1.0])


@pytest.mark.slow
def test_numbers_read_from_inputs_stay_in_the_graph(tmp_path):
    args = torch.randn(4, 3), torch.tensor(0.8), torch.tensor(1)
    result, model = exported_and_loaded(tmp_path, scalars_of_inputs, *args, strict=True)
    for end, k in ((0.5, 2), (1.5, -1)):
        expected = scalars_of_inputs(args[0], torch.tensor(end), torch.tensor(k))
        for ours, theirs in zip(model(args[0].numpy(), end, k), expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=2e-6)
