"""A series fed one observation at a time, and a long solve read one segment of its times at a time."""

import numpy as np
import pytest
import torch
from onnx import helper
from support.artifacts import BOOL, affine_card, affine_model, affine_nodes, node, write, write_affine
from support.lowering import Case, inputs, load_captured
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet import ArtifactError, InputError, SolveError, Status
from odelet.engine import user_cache
from odelet.model import measured_threads
from odelet_export import export
from odelet_export.capture.capture import capture
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides


class Cell(nn.Module):
    """An ODE-RNN: the hidden state moves between observations, and jumps at each."""

    def __init__(self):
        super().__init__()
        self.flow, self.cell, self.read = nn.Linear(3, 3), nn.GRUCell(2, 3), nn.Linear(3, 1)

    def forward(self, h, t0, t1, x):
        moved = odeint(lambda t, y: torch.tanh(self.flow(y)), h, torch.stack([t0, t1]), rtol=1e-5, atol=1e-6)[-1]
        h1 = self.cell(x, moved)
        return {"h1": h1, "out": self.read(h1)}


@pytest.fixture(scope="module")
def cell():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Cell().double().eval()


@pytest.mark.parametrize("form", ["adaptive", "driven"])
def test_observations_fed_one_at_a_time_are_torchs_loop(form, cell, tmp_path):
    generator = np.random.default_rng(0)
    times, series = np.cumsum(generator.uniform(0.1, 1, 6)), generator.normal(size=(6, 1, 2))
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    export(cell, (torch.zeros(1, 3).double(), zero, one, torch.ones(1, 2).double()), tmp_path / "out", form=form)
    model = odelet.load(tmp_path / "out")
    state, out = (tensor.name for tensor in model.outputs)
    stream = model.stream(carry={"h": state, "t0": "t1"}, h=np.zeros((1, 3)), t0=np.zeros(()))
    h, t0 = torch.zeros(1, 3).double(), zero
    for time, x in zip(times, series, strict=True):
        t1 = torch.tensor(time)
        with torch.no_grad():
            expected = cell(h, t0, t1, torch.from_numpy(x))
        h, t0 = expected["h1"], t1
        found = stream.solve(t1=np.array(time), x=x)
        assert found.outputs[out] == pytest.approx(expected["out"].numpy(), abs=1e-10)
    assert stream.steps == 6
    with pytest.raises(InputError, match="'h' is carried"):
        stream(h=np.zeros((1, 3)), t1=np.array(9.0), x=series[0])
    with pytest.raises(InputError, match="no input 'z'"):
        model.stream(carry={"z": state})
    with pytest.raises(InputError, match="neither an output"):
        model.stream(carry={"h": "z"}, h=np.zeros((1, 3)))
    with pytest.raises(InputError, match="the input 'h' would keep its first value in all calls; name what it goes on"):
        model.stream(carry={"h": "h"}, h=np.zeros((1, 3)))
    with pytest.raises(InputError, match="the first call needs a value of t0"):
        model.stream(carry={"h": state, "t0": "t1"}, h=np.zeros((1, 3)))


TIMES = np.linspace(0, 2, 9)
PIECES = {"many times": [3, 4, 5, 9], "the start alone": [1, 2, 9], "all at once": [9]}


def pieces(times, ends):
    return np.split(times, ends[:-1])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ends", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "rk4", "implicit_adams"])
def test_the_pieces_of_a_long_solve_are_the_single_call(method, ends, sign, tmp_path):
    model = Case(method=method, form="driven", pair=method != "bosh3").load(tmp_path / "model")
    x, times = inputs("float64", 3), 0.5 + sign * TIMES * (0.25 if method == "implicit_adams" else 1)
    # The steps are longer than the gaps between the times, so that some segments lie inside the last accepted step.
    settings = {"rtol": 1e-2, "atol": 1e-2} if method in ("dopri5", "bosh3") else {}
    whole = model.solve(x, times, **settings)
    stream = model.stream(x=x, **settings)
    found = [stream.solve(t=piece) for piece in pieces(times, ends)]
    for name, expected in whole.outputs.items():
        assert np.array_equal(np.concatenate([solution.outputs[name] for solution in found]), expected)
    assert found[-1].stats == whole.stats
    assert stream.calls == len(ends)


def test_a_stream_keeps_what_it_was_given(tmp_path):
    """The caller's own arrays may change between two calls."""
    model, x = Case(method="dopri5", form="driven").load(tmp_path / "model"), inputs("float64", 2)
    whole = model(x, TIMES)
    stream = model.stream(x=x)
    first = stream(t=TIMES[:4])
    x *= 5
    assert np.array_equal(np.concatenate([first, stream(t=TIMES[4:])]), whole)
    assert np.array_equal(first, whole[:4])


def test_a_long_solve_runs_on_the_threads_that_calls_have_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(user_cache, "cache_root", lambda: tmp_path / "cache")
    monkeypatch.setattr(measured_threads, "cores", lambda: 2)
    monkeypatch.setattr(measured_threads, "_timed", lambda runner, values, settings: 1.0 / runner.artifact.threads)
    one, x = Case(method="dopri5", form="driven").load(tmp_path / "model"), inputs("float64", 3)
    expected = one(x, TIMES)

    def solved(model):
        stream = model.stream(x=x)
        found = np.concatenate([stream(t=piece) for piece in pieces(TIMES, [3, 9])])
        return stream, found

    model = odelet.load(tmp_path / "model", threads="measured")
    stream, found = solved(model)
    assert stream._guard is model._runner.artifact.guard and np.array_equal(found, expected)
    model(x, TIMES[:4])
    assert model.threads == 2
    stream, found = solved(model)
    assert stream._guard._threads == 2 and np.array_equal(found, odelet.load(tmp_path / "model", threads=2)(x, TIMES))


def test_times_that_turn_back_are_refused_and_the_stream_stays_where_it_was(tmp_path):
    model, x = Case(method="dopri5", form="driven").load(tmp_path / "model"), inputs("float64", 2)
    stream = model.stream(x=x)
    parts = [stream(t=TIMES[:3])]
    for wrong in (TIMES[2:5], TIMES[1::-1], [0.7, 0.6], [], [np.nan], [np.inf]):
        with pytest.raises(
            InputError, match=r"t must be .* strictly increasing times, beyond 0\.5, where the last call"
        ):
            stream(t=np.array(wrong))
    with pytest.raises(InputError, match="'x' was given to stream"):
        stream(t=TIMES[3:], x=x)
    with pytest.raises(InputError, match="missing input 't'"):
        stream()
    parts.append(stream(t=TIMES[3:]))
    assert np.array_equal(np.concatenate(parts), model(x, TIMES))
    with pytest.raises(InputError, match="finite, strictly monotone times; got"):
        model.stream(x=x)(t=np.array([0.0, 1.0, 0.5]))


def test_a_solve_that_failed_cannot_go_on(tmp_path):
    model, x = Case(method="dopri5", form="driven").load(tmp_path / "model"), inputs("float64", 2)
    stream = model.stream(x=x, max_steps=3, rtol=1e-9)
    assert stream.solve(t=np.array([0.0, 1e-6])).status is Status.OK
    with pytest.raises(SolveError, match="the step limit was reached"):
        stream(t=TIMES[1:])
    with pytest.raises(InputError, match=r"has ended \(STEP_LIMIT: .*begin another with model.stream"):
        stream(t=np.array([3.0]))
    with pytest.raises(InputError, match="deadline=3 cannot be set for a stream"):
        model.stream(x=x, deadline=3)
    endless = model.stream(x=x * np.nan)
    assert endless.solve(t=TIMES[:1]).status is Status.NOT_FINITE
    limited = model.stream(x=x, max_evals=20)
    stopped, whole = limited.solve(t=TIMES), model.solve(x, TIMES, max_evals=20)
    assert stopped.status is whole.status is Status.EVALUATION_LIMIT
    assert all(np.array_equal(stopped.outputs[name], value) for name, value in whole.outputs.items())


class Decoded(nn.Module):
    """A solve between an encoder and a decoder; flags say which of the two read the times."""

    def __init__(self, kind):
        super().__init__()
        self.encode, self.flow, self.decode = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 1)
        self.kind = kind

    def forward(self, x, shift, t):
        times, y0 = t, self.encode(x)
        if self.kind == "computed":
            times = t * 2
        if self.kind == "before":
            y0 = y0 * t[0]
        options = {"step_size": 0.5} if self.kind == "step_size" else {}
        method = "rk4" if self.kind == "step_size" else "dopri5"
        solved = odeint(
            lambda time, y: torch.tanh(self.flow(y)) * (t.mean() if self.kind == "field" else 1),
            y0,
            times,
            method=method,
            options=options,
        )
        if self.kind == "two":
            solved = odeint(lambda time, y: -y, solved[-1], times)
        return self.decode(solved) + shift


REFUSED = {
    "computed": "computes its times inside the model",
    "before": "which runs before it, reads the times 't'",
    "field": "the times 't'",
    "two": "this model has 2 solves",
    "step_size": "places its steps over the whole range",
}


@pytest.mark.parametrize("kind", ["plain", *REFUSED])
def test_what_a_stream_takes_and_what_it_refuses(kind, tmp_path):
    example = torch.ones(1, 2), torch.zeros(1), torch.linspace(0, 1, 3)
    captured = capture(Callee(Decoded(kind), example, {}), {"t": {0: "times"}}, Overrides(), opset=20)
    model = load_captured(captured, "driven", tmp_path)
    x, shift, t = (tensor.numpy() for tensor in example)
    if kind != "plain":
        with pytest.raises(InputError, match=REFUSED[kind]):
            model.stream(x=x)
        return
    stream = model.stream(x=x)
    found = np.concatenate([stream(t=t[:2], shift=shift), stream(t=t[2:], shift=shift + 1) - 1])
    assert found == pytest.approx(model(x, shift, t), abs=1e-6)
    with pytest.raises(InputError, match="begins with a value of x"):
        model.stream(shift=shift)
    with pytest.raises(InputError, match="no input 'z'"):
        model.stream(x=x, z=1)
    with pytest.raises(InputError, match="'t' holds the times"):
        model.stream(x=x, t=t)


def test_other_forms_refuse_a_solve_that_goes_on(tmp_path):
    model = Case(method="dopri5", form="adaptive").load(tmp_path / "model")
    with pytest.raises(InputError, match="has the form 'adaptive'.*export the model with the form 'driven'"):
        model.stream(x=inputs("float64"))


@pytest.mark.parametrize("carry", ["x", [("x", "y")], 5])
def test_carry_is_a_dict(tmp_path, carry):
    model = odelet.load(write_affine(tmp_path))
    with pytest.raises(InputError, match="must be a dict of an input's name"):
        model.stream(carry=carry, x=np.ones((1, 3), np.float32))


def test_a_carried_output_that_is_not_what_the_card_says_is_the_fault_of_the_artifact(tmp_path):
    """The graph drops two columns of three, and nobody knows how many before it runs."""
    nodes = affine_nodes()
    nodes[1] = node("Add", "doubled one", "wide")
    nodes.insert(2, node("Compress", "wide kept", "y", axis=1))
    model = affine_model(nodes=nodes)
    model.graph.initializer.append(helper.make_tensor("kept", BOOL, [3], [True, False, False]))
    model.graph.output[0].type.tensor_type.shape.dim[1].Clear()
    stream = odelet.load(write(tmp_path, affine_card(), {"model.onnx": model})).stream(
        carry={"x": "y"}, x=np.ones((1, 3), np.float32)
    )
    with pytest.raises(
        ArtifactError, match=r"the output 'y' is float32 \[1, 1\], and the card says float32 \[batch, 3\]"
    ):
        stream()
