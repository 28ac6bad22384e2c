"""Replay: torchdiffeq on the captured graph gives the model's answers, and a wrong capture is refused as such."""

import collections
import linecache

import pytest
import torch
from torch import nn
from torchdiffeq import odeint, odeint_event

from odelet.errors import InputError
from odelet_export import CaptureError, ParityError, explain, export
from odelet_export.capture.capture import capture
from odelet_export.model.axes import check_dynamic
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import run_reference
from odelet_export.proof.capture_check import CaptureCheck
from odelet_export.proof.judge import Judge
from odelet_export.proof.replay import Replay
from odelet_export.proof.sample_inputs import Drawing

BATCH = {"x": {0: "batch"}}


def replayed(model, example, inputs, *, dynamic=BATCH, **overrides):
    """The outputs of a replay and of the model, at other inputs than those of the capture."""
    callee, changes = Callee(model, (example,), {}), Overrides(**overrides)
    captured = capture(callee, check_dynamic(dynamic, callee.names, callee.example), changes, opset=20)
    got = Replay(captured, changes).run([inputs])
    expected, counts = run_reference(callee, [inputs], changes)
    return [output.numpy() for output in got], expected, counts


class Two(nn.Module):
    """Two solves of a tuple state with options, tolerances and a norm; the second starts where the first ends."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)

    def field(self, t, state):
        a, b = state
        return torch.tanh(self.net(a)) * t, -b * a.sum(1, keepdim=True)

    def forward(self, x):
        t = torch.tensor([1.0, 0.6, 0.0])
        options = {
            "step_t": torch.stack([x.mean() * 0 + 0.5]),
            "first_step": torch.tensor(0.01),
            "norm": lambda state: (
                max(part.abs().max() for part in state)
                if not torch.compiler.is_compiling()
                else torch.maximum(state[0].abs().max(), state[1].abs().max())
            ),
        }
        a, b = odeint(self.field, (x, x[:, :1]), t, rtol=[1e-3, 1e-5], atol=1e-6, options=options)
        grid = {"grid_constructor": lambda f, y0, t: torch.cat([t[:1], t[1:] * 0.5, t[-1:]])}
        c = odeint(lambda t, y: -y * a[-1].mean(), b[-1], torch.tensor([0.0, 1.0]), method="midpoint", options=grid)
        return c[-1], a


def until_fallen(x):
    def field(t, state):
        return state[1], torch.full_like(state[1], -9.8)

    time, (height, speed) = odeint_event(
        field, (x, x * 0 + 2.0), torch.tensor(0.0), event_fn=lambda t, y: y[0].min() - 0.1
    )
    return time, height, speed


class Weighted(nn.Linear):
    """A solve, and a weight among the results."""

    def forward(self, x):
        times = torch.tensor([0.0, 1.0])
        return odeint(lambda t, y: super(Weighted, self).forward(y), x, times, method="rk4"), self.bias


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        (Two(), {}),
        (Weighted(3, 3), {}),
        (Two(), {"method": "rk4", "steps": 5}),
        (Two(), {"method": "tsit5", "rtol": 1e-2, "controller": "pi"}),
        (until_fallen, {}),
    ],
    ids=["options", "a weight", "fixed", "controller", "event"],
)
def test_a_replay_gives_the_models_answers_at_another_batch_size(model, overrides):
    example = torch.rand(4, 3) + 0.5
    # The numbers of a transposed state have another order in memory than those of the traced state.
    got, expected, counts = replayed(model, example, (torch.rand(3, 7) + 0.5).T, **overrides)
    assert len(counts) in (1, 2)
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=1e-6, atol=1e-6)


class Inner(nn.Module):
    """A field that takes a gradient through a layer, so that it is traced below autograd."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        def field(t, y):
            with torch.enable_grad():
                y = y.requires_grad_(True)
                return -torch.autograd.grad(torch.tanh(self.layer(y)).sum(), y)[0]

        return odeint(field, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]


def test_a_replay_uses_the_weights_of_the_model_itself():
    model = Inner()
    callee = Callee(model, (torch.rand(4, 3),), {})
    captured = capture(callee, BATCH, Overrides(), opset=20)
    replay = Replay(captured, Overrides())
    x = torch.rand(6, 3)
    for scale in (1.0, 0.5):
        with torch.no_grad():
            model.layer.weight.mul_(scale)
        torch.testing.assert_close(replay.run([x])[0], model(x))
    assert captured.tracer == "make_fx"
    assert any(value is model.layer.weight for value in captured.program.state_dict.values())


def test_a_size_fixed_by_the_trace_is_refused_with_its_line(tmp_path):
    def model(x):
        rate = torch.ones(len(x) if type(x) is torch.Tensor else 7).sum() / 4
        return odeint(lambda t, y: -y * rate, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    with pytest.raises(CaptureError) as refused:
        export(model, (torch.rand(7, 3),), tmp_path / "out", dynamic=BATCH)
    line = model.__code__.co_firstlineno + 1
    message = str(refused.value)
    assert message.startswith("the capture is wrong")
    assert "right at the sizes it was traced with (batch=7) and wrong at others" in message
    assert f'batch=7: File "{__file__}", line {line}\n    {linecache.getline(__file__, line).strip()}' in message
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_computes_something_else_when_traced_is_refused(tmp_path):
    def model(x):
        rate = 1.5 if torch.compiler.is_exporting() else 1.0
        return odeint(lambda t, y: -y * rate, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    with pytest.raises(CaptureError, match=r"(?s)where: sample 0 .*differs by .*something else while it is traced"):
        export(model, (torch.rand(4, 3),), tmp_path / "out", dynamic=BATCH)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_lowering_is_distinguished_from_a_wrong_capture(tmp_path, monkeypatch):
    def spoiled(model):
        """Change an operator, as a wrong translation would."""
        for node in model.graph.all_nodes():
            if node.op_type == "Tanh":
                node.op_type = "Sigmoid"

    monkeypatch.setattr("odelet_export.capture.capture.widen", spoiled)

    def model(x):
        return odeint(lambda t, y: -torch.tanh(y), x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    with pytest.raises(ParityError, match="What was captured gives them under torchdiffeq.*please report it"):
        export(model, (torch.rand(4, 3),), tmp_path / "out", dynamic=BATCH)


def test_a_replay_without_noise_or_with_an_unknown_draw_is_refused():
    def model(x):
        noise = torch.randn_like(x)
        return odeint(lambda t, y: noise - y, x, torch.tensor([0.0, 1.0]), method="euler")[-1]

    callee = Callee(model, (torch.rand(4, 3),), {})
    captured = capture(callee, BATCH, Overrides(), opset=20)
    replay = Replay(captured, Overrides())
    x, noise = torch.rand(2, 3), torch.rand(2, 3)
    torch.testing.assert_close(replay.run([x], noise={0: noise})[0], noise)
    with pytest.raises(CaptureError, match="needs the random draw 0"):
        replay.run([x])
    for node in captured.program.graph_module.graph.nodes:
        if "Noise" in node.args:
            node.args = (node.args[0], "Magic", *node.args[2:])
    with pytest.raises(CaptureError, match="'Magic', which it cannot run"):
        Replay(captured, Overrides()).run([x])


def test_the_model_runs_once_at_each_sample(tmp_path, monkeypatch):
    # Without this, a copy of torchdiffeq that another test has imported would be tried first.
    monkeypatch.setattr("odelet_export.model.callee.find_copies", lambda model: ())
    calls = collections.deque()  # unlike a list, it keeps what a run of the model put into it

    def model(x):
        calls.append(tuple(x.shape))
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

    export(model, (torch.rand(3, 2),), tmp_path / "out", dynamic=BATCH, samples=2)
    eager = [shape for shape in calls if isinstance(shape[0], int)]
    assert sorted(eager) == [(1, 2), (3, 2), (4, 2)]


@pytest.mark.parametrize("write", [True, False])
def test_a_model_that_fails_on_its_example_is_reported_as_such(tmp_path, write):
    def model(x):
        y = odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]
        if not torch.compiler.is_exporting():
            raise RuntimeError("no good")
        return y

    with pytest.raises(
        InputError, match=r"fails on its example \(x float32 \[3, 2\]\) .*\.py, line \d+: RuntimeError: no"
    ):
        export(model, (torch.rand(3, 2),), tmp_path / "out") if write else explain(model, (torch.rand(3, 2),))
    assert list(tmp_path.iterdir()) == []


def test_a_size_is_not_blamed_where_no_inputs_of_the_traced_size_tell_anything():
    """The graph of one model is compared with another model, on inputs that break the assumption of the graph."""
    x = torch.rand(7, 3)
    exactly = float(x[0, 0])

    def model_at(rate):
        def model(x):
            factor = 2 * rate if abs(x[0, 0] - exactly) < 1e-5 else rate
            return odeint(lambda t, y: -y * factor, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]

        return Callee(model, (x,), {})

    callee = model_at(1.0)
    captured = capture(callee, BATCH, Overrides(), opset=20)
    other = model_at(1.5)
    other.take_over(callee)
    judge = Judge(other, captured.specs, Overrides(), ["float32"])
    check = CaptureCheck(captured, judge, Drawing(callee.names, callee.example, BATCH))
    sample = judge.sample(0, [x])
    with pytest.raises(CaptureError) as refused:
        check.check([sample])
    message = str(refused.value)
    assert "found: nothing certain; at the sizes it was traced with (batch=7), no inputs were drawn" in message
    assert "right at the sizes" not in message
    check.check([judge.sample(1, [torch.rand(7, 3)])])  # a sample that breaks an assumption tells nothing


def test_assumptions_that_no_drawn_input_keeps_are_a_warning(tmp_path):
    x = torch.rand(4, 3)
    times = torch.tensor([0.0, 1.0])
    end = float(odeint(lambda t, y: -y, x, times, method="rk4")[-1][0, 0])

    def model(x):
        y = odeint(lambda t, y: -y, x, times, method="rk4")[-1]
        rate = 2.0 if (y[0, 0] - end).abs() < 1e-6 else 1.0
        return odeint(lambda t, y: -y * rate, x, times, method="rk4")[-1]

    exported = export(model, (x,), tmp_path / "out", dynamic=BATCH, samples=2)
    (warning,) = (one for one in exported.warnings if "fresh samples" in one)
    assert warning.startswith("0 of 2 fresh samples were compared with torch; left out: 16 because an assumption does")
    assert "rate = 2.0 if (y[0, 0] - end).abs() < 1e-6 else 1.0" in warning
