"""The floor of a model: its graph with a chain of evaluations of its field in the place of each solve."""

import importlib
import json

import numpy as np
import onnx
import pytest
import torch
from support.artifacts import edit_card
from torch import nn
from torchdiffeq import odeint, odeint_event

import odelet
from odelet import ArtifactError
from odelet.commands.bench import bench
from odelet_export import export
from odelet_export.commands.floor import Floor, FloorError

COUNT, TIME = 5, 0.25
RK4 = {"method": "rk4", "steps": 3}
FORMS = {"adaptive": {}, "driven": {}, "unrolled": RK4, "rolled": RK4}

pytestmark = pytest.mark.usefixtures("captured_once")


class Net(nn.Module):
    """A field of time and state that also reads a value of the encoder, between other layers."""

    def __init__(self):
        super().__init__()
        self.encode, self.inner, self.head = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 4)
        self.register_buffer("times", torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), persistent=False)
        self.double()

    def field(self, t, y):
        return torch.tanh(self.inner(y) * torch.cos(t) + self.context)

    def forward(self, x):
        start = self.encode(x)
        self.context = start.mean(1, keepdim=True)
        return self.head(odeint(self.field, start, self.times, rtol=1e-4, atol=1e-4))

    def nested(self, x, count):
        """The model with a chain of `count` evaluations in place of its solve, as the floor computes it."""
        y = self.encode(x)
        self.context = y.mean(1, keepdim=True)
        for _ in range(count):
            y = self.field(torch.tensor(TIME, dtype=x.dtype), y)
        return self.head(y.expand(3, *y.shape))


def floor_of(folder, inputs, counts, **options):
    floor = Floor(folder, counts, **options)
    feeds = floor.feeds({name: np.asarray(value) for name, value in inputs.items()}, t=TIME)
    return floor, floor.session.run(None, feeds)


def operators(graph):
    """The number of nodes of each operator in a graph, subgraphs included."""
    counts = {}
    for node in graph.all_nodes():
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


@pytest.mark.parametrize("form", FORMS)
def test_a_floor_chains_the_evaluations_without_control_flow(form, tmp_path):
    torch.manual_seed(0)
    model = Net()
    export(
        model, (torch.randn(3, 3, dtype=torch.float64),), tmp_path, form=form, dynamic={"x": {0: "n"}}, **FORMS[form]
    )
    x = torch.randn(7, 3, dtype=torch.float64)  # another batch size than the example's
    for count in (1, COUNT):
        floor, (output,) = floor_of(tmp_path, {"x": x}, {0: count})
        with torch.no_grad():
            np.testing.assert_allclose(output, model.nested(x, count), rtol=1e-12, atol=1e-13)
        counts_of_operators = operators(floor.model.graph)
        assert counts_of_operators["Tanh"] == count
        assert counts_of_operators["Cos"] == count  # the time is an input, so that each evaluation computes it anew
        assert not counts_of_operators.keys() & {"Loop", "If", "Scan"}


class Flow(nn.Module):
    """A state of three parts; the field reads two of them, and not the third, a log-density."""

    def forward(self, x):
        def field(t, state):
            position, speed, _ = state
            return speed, -torch.sin(position), (position * speed).sum(1, keepdim=True)

        start = (x, torch.ones_like(x), torch.zeros_like(x[:, :1]))
        return tuple(part[-1] for part in odeint(field, start, torch.tensor([0.0, 1.0], dtype=x.dtype)))


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_slopes_of_a_part_that_the_field_does_not_read_are_summed(form, tmp_path):
    x = torch.tensor([[0.3, -0.2], [1.0, 2.0]], dtype=torch.float64)
    export(Flow(), (x,), tmp_path, form=form, dynamic={"x": {0: "n"}})
    _, outputs = floor_of(tmp_path, {"x": x}, {0: COUNT})
    position, speed, total = x.numpy(), np.ones((2, 2)), np.zeros((2, 1))
    for _ in range(COUNT):
        total = total + (position * speed).sum(1, keepdims=True)
        position, speed = speed, -np.sin(position)
    for output, expected in zip(outputs, (position, speed, total), strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-13, atol=1e-14)


class Two(nn.Module):
    """Two solves at times that are an input; the second starts where the first ended."""

    def forward(self, x, t):
        first = odeint(lambda t, y: torch.sin(y), x, t)
        return odeint(lambda t, y: torch.cos(y) * t, first[-1], t)


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_each_solve_has_its_own_chain(form, tmp_path):
    x, t = torch.tensor([0.3, -1.0], dtype=torch.float64), torch.linspace(0, 1, 4, dtype=torch.float64)
    export(Two(), (x, t), tmp_path, form=form, dynamic={"t": {0: "times"}})
    _, (output,) = floor_of(tmp_path, {"x": x, "t": np.linspace(0, 2, 6)}, {0: 2, 1: 3})
    y = np.sin(np.sin(x.numpy()))
    for _ in range(3):
        y = np.cos(y) * TIME
    np.testing.assert_allclose(output, np.tile(y, (6, 1)), rtol=1e-13)


# Fields with branches and loops, a field whose weights a network computes, and a fixed point.
IDIOMS = ("decision_in_the_field", "deep_equilibrium", "hypernetwork", "solve_inside_a_solve")


@pytest.mark.slow
@pytest.mark.parametrize("name", IDIOMS)
def test_floors_of_idioms_have_the_outputs_of_their_models(name, tmp_path):
    torch.manual_seed(0)
    case = importlib.import_module(f"idioms.{name}").case()
    options = {"kwargs": case.kwargs, "dynamic": case.dynamic, "samples": 1}
    for form in ("auto", "driven"):
        card = export(case.model, case.args, tmp_path, form=form, **options).card
        inputs = dict(zip([tensor.name for tensor in card.inputs], case.args, strict=True))
        solution = odelet.load(tmp_path).solve(**{key: value.detach().numpy() for key, value in inputs.items()})
        floor, outputs = floor_of(tmp_path, inputs, {solve.index: 2 for solve in card.solves})
        assert [out.shape for out in outputs] == [out.shape for out in solution.outputs.values()]
        assert [out.dtype for out in outputs] == [out.dtype for out in solution.outputs.values()]
        onnx.checker.check_model(onnx.load_from_string(floor.model_bytes), full_check=True)


class Ending(nn.Module):
    def forward(self, x):
        t0 = torch.zeros(())
        return odeint_event(lambda t, y: -torch.ones_like(y), x, t0, event_fn=lambda t, y: y[0])[1]


def test_a_solve_that_ends_at_an_event_has_no_floor(tmp_path):
    card = export(Ending(), (torch.ones(2),), tmp_path).card
    assert card.solves[0].piece is None
    with pytest.raises(FloorError, match="solve 0 has no floor: its card names no copy of its field"):
        Floor(tmp_path, {0: 3})


def test_a_solve_with_steps_for_each_sample_has_no_floor(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(3, 3, dtype=torch.float64)
    export(Net(), (x,), tmp_path, form="driven", per_sample=True, dynamic={"x": {0: "n"}})
    with pytest.raises(FloorError, match="steps for each sample"):
        Floor(tmp_path, {0: 3})


def pieces(piece):
    """Every change of an entry of a card's `piece` by which it names what is not there, or too little."""
    for key, value in piece.items():
        if isinstance(value, str):
            yield {key: "nowhere.onnx" if key == "graph" else "nowhere"}
        elif isinstance(value, list) and value:
            yield {key: ["nowhere"] * len(value)}
    yield {"y0": [], "solution": []}
    yield {"y": piece["y"] * 2, "k": piece["k"] * 2, "y0": [], "solution": []}


@pytest.mark.parametrize("form", ["rolled", "driven"])
def test_a_piece_that_names_what_is_not_there_is_the_artifacts_fault(form, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(2, 3, dtype=torch.float64)
    export(Net(), (x,), tmp_path, form=form, samples=1, **FORMS[form])
    original = (tmp_path / "odelet.json").read_text()
    for change in pieces(json.loads(original)["solves"][0]["piece"]):
        if form == "driven" and change.keys() & {"y0", "solution", "times"}:
            continue  # the drive entry has them
        edit_card(tmp_path, lambda card, change=change: card["solves"][0]["piece"].update(change))
        with pytest.raises(ArtifactError, match="`piece` of a solve does not fit its graphs"):
            Floor(tmp_path, {0: 3})
        with pytest.raises(ArtifactError, match="`piece`"):
            bench(tmp_path, seconds=0.01)
        (tmp_path / "odelet.json").write_text(original)
    Floor(tmp_path, {0: 3})
