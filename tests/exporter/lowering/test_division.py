"""Host graphs divided at driven solves and at loops: no graph of loop_free has a loop, the answers are those of the
whole graph, and limits stop between turns."""

import re
from dataclasses import replace

import idioms
import numpy as np
import onnx
import pytest
import torch
import torchdiffeq
from support.artifacts import edit_card
from support.lowering import Case, captured_of, inputs, load_captured
from support.paths import ROOT
from torch import nn

import odelet
from odelet.errors import InputError
from odelet.status import Status
from odelet_export import export
from odelet_export.errors import FormError
from odelet_export.lowering.forms.loop_free import LOOP_FREE
from odelet_export.lowering.profiles import PROFILES, C

GIVEN = [(0.0, 0.5, 1.1), (1.0, 0.3, 0.0, -0.2), (0.5,)]
CASES = {
    "adaptive": Case(method="dopri5", pair=True),
    "float32 times": Case(method="bosh3", dtype="float32"),
    "the end alone": Case(method="tsit5", times=(0.0, 1.0)),
    "fixed": Case(method="rk4", options=(("step_size", 0.1),)),
    "a loop in a branch of a loop": Case(method="implicit_adams", options=(("step_size", 0.1),)),
    "a loop in a loop": Case(method="gl4", options=(("step_size", 0.2),)),
}


def whole(case):
    """The case in the form that has the same loop in one graph."""
    return replace(case, form="adaptive" if case.method in ("dopri5", "bosh3", "tsit5") else "rolled")


def operators(folder):
    """The operators of all graphs of a folder, those of subgraphs included."""

    def within(graph):
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    yield from within(attribute.g)

    graphs = [onnx.load(path, load_external_data=False).graph for path in folder.glob("*.onnx")]
    return {operator for graph in graphs for operator in within(graph)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_answers_are_those_of_the_whole_graph_to_the_last_bit(case, tmp_path):
    parts = replace(case, form=LOOP_FREE.name).load(tmp_path / "parts")
    one = whole(case).load(tmp_path / "one")
    assert not operators(tmp_path / "parts") & {"Loop", "Scan"}
    assert operators(tmp_path / "one") & {"Loop", "Scan"}
    for batch, times in [(1, GIVEN[0]), (3, GIVEN[1]), (2, GIVEN[2])]:
        x = inputs(case.dtype, batch, seed=batch)
        arguments = (x,) if case.times is not None else (x, np.array(times, case.dtype))
        ours, theirs = parts.solve(*arguments), one.solve(*arguments)
        for name, output in theirs.outputs.items():
            np.testing.assert_array_equal(ours.outputs[name], output)
        (mine,), (other,) = ours.stats.solves, theirs.stats.solves
        assert replace(mine, form=other.form) == other


@pytest.fixture(scope="module")
def falling(tmp_path_factory):
    return replace(CASES["adaptive"], form=LOOP_FREE.name).load(tmp_path_factory.mktemp("falling"))


TIMES = np.linspace(0, 8, 5)


def test_a_limit_of_evaluations_stops_between_turns(falling):
    x = inputs("float64", 2)
    full = falling.solve(x, TIMES).stats.solves[0]
    assert full.evaluations == 2 + 6 * full.steps
    cut = falling.solve(x, TIMES, max_evals=50)
    stats = cut.stats.solves[0]
    assert (cut.status, stats.steps, stats.evaluations) == (Status.EVALUATION_LIMIT, 8, 50)
    assert 0 < stats.time < 8
    assert falling.solve(x, TIMES, max_evals=full.evaluations).status is Status.OK


def test_a_deadline_leaves_what_the_solve_has_so_far(falling):
    cut = falling.solve(inputs("float64", 2), TIMES, deadline=1e-9)
    rows = next(iter(cut.outputs.values()))
    assert cut.status is Status.DEADLINE
    np.testing.assert_array_equal(rows[0], inputs("float64", 2))
    assert np.isnan(rows[1:]).all()


def test_settings_of_a_call_reach_the_turns(falling):
    x = inputs("float64", 2)
    loose, tight = (falling.solve(x, TIMES, rtol=tolerance).stats.solves[0].steps for tolerance in (1e-3, 1e-8))
    assert loose < tight
    assert falling.solve(x, TIMES, max_steps=3).status is Status.STEP_LIMIT


class Decay(nn.Module):
    def __init__(self, *times, **settings):
        super().__init__()
        self.register_buffer("times", torch.tensor(times))
        self.settings = settings

    def forward(self, x):
        return torchdiffeq.odeint(lambda t, y: -y * torch.sin(3 * t + y), x, self.times, **self.settings)


MODELS = {
    "many times": Decay(0.0, 0.1, 0.15, 1.0, 2.0, method="dopri5"),
    "backwards": Decay(1.0, 0.7, 0.1, 0.0, method="bosh3"),
    "jumps": Decay(0.0, 0.5, 1.0, method="dopri5", options={"jump_t": torch.tensor([0.4])}),
    "the end alone": Decay(0.0, 2.0, method="dopri8"),
    "fixed": Decay(0.0, 0.5, 1.0, method="rk4", options={"step_size": 0.01}),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_profile_c_has_arrays_of_fixed_sizes_and_the_same_answers(name, tmp_path):
    model, x = MODELS[name], torch.rand(2, 3)
    captured = captured_of(model, x)
    fixed = load_captured(captured, LOOP_FREE.name, tmp_path / "c", profile=C)
    free = load_captured(captured, LOOP_FREE.name, tmp_path / "any")
    for path in (tmp_path / "c").glob("*.onnx"):
        graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
        for value in (*graph.input, *graph.output):
            assert all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim), (path.name, value.name)
    for seed in range(3):
        y = np.random.default_rng(seed).normal(size=(2, 3)).astype(np.float32)
        ours, theirs = fixed.solve(y), free.solve(y)
        for key, output in theirs.outputs.items():
            np.testing.assert_array_equal(ours.outputs[key], output)
        assert ours.stats.solves[0].steps == theirs.stats.solves[0].steps
        assert ours.stats.solves[0].accepted == theirs.stats.solves[0].accepted


def test_an_event_is_found_without_a_loop(tmp_path):
    class Falling(nn.Module):
        def forward(self, x):
            state = (x[:, 0].sum(), x[:, 1].sum())
            return torchdiffeq.odeint_event(
                lambda t, y: (y[1], -9.81 * torch.ones_like(y[1])),
                state,
                torch.tensor(0.0),
                event_fn=lambda t, y: y[0],
                method="dopri5",
            )[0]

    x = torch.tensor([[10.0, 1.0]])
    result = export(Falling(), (x,), tmp_path / "out", profile=C.name, samples=1)
    assert result.parity.passed
    assert not operators(tmp_path / "out") & {"Loop", "Scan"}
    height, speed = 4.0, 2.0
    time = odelet.load(tmp_path / "out")(np.array([[height, speed]], np.float32))
    assert float(time) == pytest.approx((speed + np.sqrt(speed**2 + 2 * 9.81 * height)) / 9.81, rel=1e-4)


def test_a_profile_refuses_what_it_has_not(tmp_path):
    model, x = MODELS["many times"], torch.rand(2, 3)
    with pytest.raises(InputError, match="dynamic names axes of 'x', and the profile c is for C code"):
        export(model, (x,), tmp_path / "out", profile=C.name, dynamic={"x": {0: "batch"}})
    with pytest.raises(FormError, match="cannot be adaptive, as the profile c has no loops"):
        export(model, (x,), tmp_path / "out", profile=C.name, form="adaptive")
    with pytest.raises(FormError, match="profile='metal' is not one of " + ", ".join(PROFILES)):
        export(model, (x,), tmp_path / "out", profile="metal")
    assert not list(tmp_path.iterdir())


def test_the_driver_in_the_documentation_gives_the_answers_of_the_runtime(tmp_path):
    text = (ROOT / "docs" / "artifact.md").read_text(encoding="utf-8")
    code = re.search(r"This is a whole driver:\n\n```python\n(.*?)```", text, re.S)
    driver = {}
    exec(code[1], driver)
    for name in ("adaptive", "a loop in a branch of a loop"):
        model = replace(CASES[name], form=LOOP_FREE.name).load(tmp_path / name)
        x = inputs("float64", 3)
        ours = driver["solve"](tmp_path / name, {"x": x, "t": TIMES})
        for key, output in model.solve(x, TIMES).outputs.items():
            np.testing.assert_array_equal(ours[key], output)


# Loops of every kind: of a fixed point, of an SDE, of a solve inside another, of a search, of samples on their own.
KINDS = [
    "deep_equilibrium",
    "sde_beside_others_ode_and_mark",
    "solve_inside_a_solve_until_now",
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [name for name, _ in idioms.cases() if name in KINDS])
def test_loops_of_every_kind_are_taken_out(kind, tmp_path):
    torch.manual_seed(0)
    case = dict(idioms.cases())[kind]()
    settings = {"kwargs": case.kwargs, "dynamic": case.dynamic, "samples": 1, "form": LOOP_FREE.name}
    assert export(case.model, case.args, tmp_path / "out", **settings).parity.passed
    assert not operators(tmp_path / "out") & {"Loop", "Scan"}
    assert operators(tmp_path / "out")


def test_samples_with_steps_of_their_own_need_no_loop(tmp_path):
    x = torch.rand(3, 2)
    captured = captured_of(MODELS["many times"], x, per_sample=True, dynamic={"x": {0: "batch"}})
    parts = load_captured(captured, LOOP_FREE.name, tmp_path / "parts")
    one = load_captured(captured, "adaptive", tmp_path / "one")
    assert not operators(tmp_path / "parts") & {"Loop", "Scan"}
    y = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    ours, theirs = parts.solve(y), one.solve(y)
    np.testing.assert_array_equal(*(next(iter(one.outputs.values())) for one in (ours, theirs)))
    assert ours.stats.solves[0].samples == theirs.stats.solves[0].samples


def test_a_loop_is_of_a_solve_that_is_there(tmp_path):
    replace(CASES["fixed"], form=LOOP_FREE.name).load(tmp_path)
    for solve in (-1, 7):
        edit_card(tmp_path, lambda card, solve=solve: card["program"][1].update(solve=solve))
        with pytest.raises(odelet.ArtifactError, match=f"takes steps of the solve {solve}, which is not there"):
            odelet.load(tmp_path)


class FromAStored(nn.Module):
    """Two solves, one after the other, from a stored state that the host graph also reads."""

    def __init__(self):
        super().__init__()
        self.register_buffer("start", torch.tensor([[0.3, -0.4]]))

    def forward(self, t):
        until = t * (1 + self.start.sum() ** 2)
        first = torchdiffeq.odeint(lambda t, y: -y, self.start, until, method="dopri5")
        second = torchdiffeq.odeint(lambda t, y: torch.sin(y), first[-1] + self.start, t, method="bosh3")
        return second, self.start * 2, t.sum()


def test_a_stored_state_is_read_by_solves_and_by_the_host(tmp_path):
    captured, times = captured_of(FromAStored(), torch.linspace(0, 1, 3)), np.array([0.0, 0.4, 2.5], np.float32)
    expected = FromAStored()(torch.from_numpy(times))
    for form in ("driven", LOOP_FREE.name):
        model = load_captured(captured, form, tmp_path / form)
        for ours, theirs in zip(model.solve(times).outputs.values(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
    program = odelet.load(tmp_path / "driven").card.program
    assert [getattr(step, "run", None) or step.drive for step in program] == ["segment_0.onnx", 0, "segment_1.onnx", 1]


def test_the_card_says_which_turns_are_steps_and_where_their_time_is(tmp_path):
    for name, known in (("adaptive", (None, None)), ("the end alone", (0.0, 1.0))):
        program = replace(CASES[name], form=LOOP_FREE.name).load(tmp_path / name).card.program
        (loop,) = [step for step in program if getattr(step, "solve", None) is not None]
        assert (loop.all_turns, loop.clock.start, loop.clock.end) == (False, *known)
        assert loop.clock.time in [one.turn for one in loop.carried]
    program = replace(CASES["fixed"], form=LOOP_FREE.name).load(tmp_path / "fixed").card.program
    assert [(step.all_turns, step.clock) for step in program if getattr(step, "solve", None) == 0] == [(True, None)]
