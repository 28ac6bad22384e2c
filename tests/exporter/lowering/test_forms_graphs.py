"""The graphs of the forms: their control flow, size, weights and constants, and no trace of the user's machine."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.graphs import CONTROL_FLOW, operators, written
from support.lowering import Case, forms_of, net
from support.paths import ROOT

from odelet_export.lowering.lower import MODEL

TIMES = (0.0, 0.1, 0.5, 1.0)


@pytest.mark.parametrize("options", [(), (("step_size", 0.3),), (("steps", 5),)])
def test_unrolled_graphs_have_no_control_flow(options, tmp_path):
    files = written(Case(method="rk4", form="unrolled", times=TIMES, options=options), tmp_path)
    assert set(files) == {MODEL}
    assert not CONTROL_FLOW & set(operators(files[MODEL].graph))


def test_unrolled_graphs_have_one_copy_of_the_field_for_each_stage(tmp_path):
    for steps in (1, 4):
        files = written(Case(method="rk4", form="unrolled", times=(0.0, 1.0), options=(("steps", steps),)), tmp_path)
        assert operators(files[MODEL].graph).count("Tanh") == 4 * steps


@pytest.mark.parametrize("times", [(0.0, 1.0), TIMES])
def test_rolled_graphs_do_not_grow_with_the_number_of_steps(times, tmp_path):
    nodes, sizes = set(), []
    for steps in (3, 300):
        case = Case(method="rk4", form="rolled", times=times, options=(("steps", steps),))
        graph = written(case, tmp_path / str(steps))[MODEL].graph
        nodes.add(tuple(operators(graph)))
        sizes.append((tmp_path / str(steps) / MODEL).stat().st_size)
    assert len(nodes) == 1
    # The grid itself is a constant of 8 bytes a step.
    assert sizes[1] - sizes[0] <= 297 * 8 + 128


@pytest.mark.parametrize(("method", "form"), [("rk4", "rolled"), ("dopri5", "adaptive")])
def test_loops_have_one_copy_of_the_field_for_each_stage(method, form, tmp_path):
    names = operators(written(Case(method=method, form=form, times=TIMES), tmp_path)[MODEL].graph)
    # An If in the loop chooses the state and slope from which the next step starts.
    expected = ["Loop"] if form == "rolled" else ["Loop", "If"]
    assert [name for name in names if name in CONTROL_FLOW] == expected
    # Before its loop, `adaptive` evaluates the first slope, and another slope for the length of the first step.
    assert names.count("Tanh") == (4 if form == "rolled" else 6 + 2)


def test_driven_graphs_have_no_control_flow(tmp_path):
    for method, stages in (("rk4", 4), ("dopri5", 6)):
        files = written(Case(method=method, form="driven", times=TIMES), tmp_path / method)
        assert not CONTROL_FLOW & {name for model in files.values() for name in operators(model.graph)}
        assert operators(files["solve_0_step.onnx"].graph).count("Tanh") == stages
        assert operators(files["solve_0_field.onnx"].graph).count("Tanh") == 1


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_weights_are_stored_once_however_often_they_are_used(method, tmp_path):
    weights = net("float64", pair=False).state_dict()
    case = Case(method=method, times=(0.0, 1.0), options=() if method == "dopri5" else (("steps", 20),))
    for form in forms_of(case):
        replace(case, form=form).load(tmp_path / form)
        data = [path.read_bytes() for path in (tmp_path / form).iterdir() if path.suffix in (".onnx", ".bin")]
        for name in ("inner.weight", "outer.weight"):
            array = weights[name].numpy()
            stored = [file.count(x.tobytes()) for file in data for x in (array, array.T.copy())]
            # Each graph with a field has its own copy of small weights; large ones are in a file that graphs share.
            graphs = [onnx.load(path, load_external_data=False).graph for path in (tmp_path / form).glob("*.onnx")]
            copies = sum("Tanh" in operators(graph) for graph in graphs) if array.nbytes < 1024 else 1
            assert sum(stored) == copies, (form, name)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_an_artifact_has_no_paths_or_stack_traces_of_the_model(method, tmp_path):
    case = Case(method=method, times=TIMES)
    for form in forms_of(case):
        for model in written(replace(case, form=form), tmp_path / form).values():
            keys = ["odelet.part"] if form in ("driven", "loop_free") else ["odelet.card", "odelet.sha256"]
            assert [entry.key for entry in model.metadata_props] == keys
            assert not re.search("doc_string|stack_trace|pkg\\.", str(model.graph))
        for path in (tmp_path / form).iterdir():
            data = path.read_bytes()
            for word in (str(ROOT), str(Path.home()), "/site-packages/", 'File "'):
                assert word.encode() not in data, (path.name, word)


def test_debug_info_is_kept_on_demand(tmp_path):
    with_debug_info = written(Case(method="rk4", times=TIMES, keep_debug_info=True), tmp_path / "kept")
    assert "stack_trace" in str(with_debug_info[MODEL].graph)
    without_debug_info = written(Case(method="rk4", times=TIMES), tmp_path / "dropped")
    size = [(tmp_path / name / MODEL).stat().st_size for name in ("kept", "dropped")]
    assert size[1] < size[0] / 2
    assert operators(with_debug_info[MODEL].graph) == operators(without_debug_info[MODEL].graph)


@pytest.mark.parametrize("method", ["rk4", "dopri5", "dopri8"])
def test_constants_are_stored_once(method, tmp_path):
    case = Case(method=method, times=TIMES)
    for form in forms_of(case):
        seen = 0
        for name, model in written(replace(case, form=form), tmp_path / form).items():
            stored = [
                (tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes())
                for tensor in model.graph.initializer
                if tensor.name.startswith("odelet.")
            ]
            assert len(stored) == len(set(stored)), (form, name)
            seen += len(stored)
        assert seen > 3


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_graphs_are_standard_onnx(method, tmp_path):
    case = Case(method=method, times=TIMES)
    for form in forms_of(case):
        for model in written(replace(case, form=form), tmp_path / form).values():
            assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
            assert not model.functions
            names = [output for node in model.graph.node for output in node.output]
            assert len(names) == len(set(names))


def test_defaults_of_the_settings_are_those_of_the_model(tmp_path):
    model = written(Case(method="dopri5", form="adaptive", rtol=3e-4, atol=2e-5, max_steps=77), tmp_path)[MODEL]
    defaults = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    inputs = {value.name for value in model.graph.input}
    expected = {"rtol": np.float64(3e-4), "atol": np.float64(2e-5), "max_steps": np.int64(77)}
    for name, value in expected.items():
        assert name in inputs
        assert defaults[name] == value
        assert (defaults[name].dtype, defaults[name].shape) == (value.dtype, ())
