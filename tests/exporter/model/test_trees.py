"""Arguments and results that hold tensors in dicts, tuples and the like: a name for each tensor."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.command_line import call as command
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet import InputError
from odelet_export import CaptureError, export
from odelet_export.model.trees import Tree, map_tensors, result_leaves, row_leaves, tensors_in
from odelet_export.model.trees import nested as nested_of

State = namedtuple("State", "h c")
TIMES = torch.tensor([0.0, 0.4, 1.0])


@dataclass
class Options:
    rate: torch.Tensor
    name: str


torch.export.register_dataclass(Options)


class Nested(nn.Module):
    """A solve whose start, rate and mask come in containers of all kinds, beside values that are not tensors."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, batch, state, options, parts=(), *, mask=None, bias=None):
        rate = options.rate * parts[1]["gain"]
        start = batch["x"] + state.h[0] * batch["scale"]
        if mask is not None:
            start = torch.where(mask[:, None], start, state.c)
        if bias is not None:
            start = start + bias
        path = odeint(lambda t, y: -rate * y, start, TIMES, method="rk4")
        self.calls += 1
        result = {"last": path[-1], "calls": self.calls, "inner": State(path.mean(0), None), "more": (path[0], [rate])}
        return result


def example(rows, seed):
    torch.manual_seed(seed)
    batch = {"x": torch.randn(rows, 3), "scale": 2.0, "note": None}
    state = State([torch.randn(rows, 3)], torch.randn(rows, 3))
    return batch, state, Options(torch.rand(3), "fast"), (7, {"gain": torch.rand(())}), torch.rand(rows) < 0.5


ROWS = {0: "batch"}
NAMES = ("batch.x", "state.h.0", "state.c", "options.rate", "parts.1.gain", "mask")


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    *args, mask = example(4, 0)
    axes = {"batch.x": ROWS, "state.h.0": ROWS, "state.c": ROWS, "mask": ROWS}
    out = tmp_path_factory.mktemp("nested") / "out"
    exported = export(Nested(), args, out, kwargs={"mask": mask}, dynamic=axes)
    return odelet.load(out), exported


def test_each_tensor_is_a_named_input_or_output(nested):
    model, exported = nested
    assert tuple(tensor.name for tensor in model.inputs) == NAMES
    assert [tensor.name for tensor in model.outputs] == ["last", "inner.h", "more.0", "more.1.0"]
    assert exported.parity.passed
    assert exported.warnings == (
        "the model's output calls (int) is None in the artifact, as it is neither a tensor nor computed from tensors",
    )


def test_flat_nested_and_positional_calls_give_the_answers_of_torch(nested):
    model, _ = nested
    batch, state, options, parts, mask = example(5, 1)
    with torch.no_grad():
        expected = Nested()(batch, state, options, parts, mask=mask)
    x, h, c, mask = batch["x"].numpy(), state.h[0].numpy(), state.c.numpy(), mask.numpy()
    rate, gain = options.rate.numpy(), parts[1]["gain"].numpy()
    nested_parts = {"1": {"gain": gain}}
    calls = [
        model(x, h, c, rate, gain, mask),
        model(**dict(zip(NAMES, (x, h, c, rate, gain, mask), strict=True))),
        model(batch={"x": x}, state=State([h], c), options={"rate": rate}, parts=nested_parts, mask=mask),
        model({"x": x}, State((h,), c), {"rate": rate}, gain.item(), mask=mask),
        model(x, {"h": [h], "c": c}, **{"options.rate": rate.tolist(), "parts.1": {"gain": gain}}, mask=mask),
    ]
    for result in calls:
        assert list(result) == list(expected)
        assert (result["calls"], result["inner"].c, type(result["inner"]).__name__) == (None, None, "State")
        np.testing.assert_allclose(result["last"], expected["last"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result["inner"].h, expected["inner"].h, rtol=1e-5, atol=1e-6)
        (first, [given]), (expected_first, [expected_given]) = result["more"], expected["more"]
        np.testing.assert_array_equal(first, expected_first)
        np.testing.assert_array_equal(given, expected_given)


def test_a_stream_carries_a_tensor_inside_a_container(nested):
    model, _ = nested
    batch, state, options, parts, mask = example(5, 2)
    x, h, c = batch["x"].numpy(), [state.h[0].numpy()], state.c.numpy()
    others = {"state": {"h": h, "c": c}, "mask": mask.numpy(), "parts": {"1": {"gain": parts[1]["gain"].numpy()}}}
    stream = model.stream(carry={"batch.x": "last"}, batch={"x": x}, options={"rate": options.rate.numpy()})
    once = stream(**others)["last"]
    twice = stream(**others)["last"]
    alone = model({"x": once}, options={"rate": options.rate.numpy()}, **others)["last"]
    np.testing.assert_array_equal(twice, alone)


X = np.zeros((2, 3), np.float32)
WRONG = {
    "kept": (
        {"batch": {"x": X, "scale": 3.0}},
        "'batch.scale' is 3.0, and was 2.0 when the model was exported; it was no tensor",
    ),
    "array": ({"batch": X}, "'batch' is a ndarray; expected a dict, tuple, list or dataclass with batch.x"),
    "depth": ({"state": {"h": X}}, "'state.h' is a ndarray; expected a dict, .* with state.h.0"),
    "twice": ({"batch": {"x": X}, "batch.x": X}, "input 'batch.x' came twice, in 'batch' and by its own name"),
    "unknown": ({"bias": X}, "there is no input 'bias'; the inputs are batch.x"),
    "missing": ({"batch": {"x": X}}, "missing input 'state.h.0', 'state.c'"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_arguments_that_do_not_fit_are_refused_by_name(nested, given, message):
    with pytest.raises(InputError, match=message):
        nested[0](**given)


@dataclass
class Unknown:
    rate: torch.Tensor


def test_a_dataclass_that_torch_does_not_know_is_refused(tmp_path):
    with pytest.raises(
        CaptureError, match=r"'options' is a Unknown with the tensor 'rate'.*register_dataclass\(Unknown"
    ):
        export(lambda options: options.rate, (Unknown(torch.ones(2)),), tmp_path / "out")


def test_a_result_without_a_tensor_is_refused(tmp_path):
    def model(x):
        odeint(lambda t, y: -y, x, TIMES)
        return None, {"count": 3}

    with pytest.raises(CaptureError, match="without a tensor in it .output_0 is a NoneType, output_1.count is a int"):
        export(model, (torch.ones(2),), tmp_path / "out")


MODEL = """
import torch
from torchdiffeq import odeint


class Model(torch.nn.Module):
    def forward(self, batch, parts, mask=None):
        path = odeint(lambda t, y: -y, batch["x"] + parts[0], torch.linspace(0, 1, 3), method="rk4")
        return {"z": (path[-1], None)}
"""


def test_the_command_line_exports_and_runs_nested_inputs(tmp_path, capsys):
    (tmp_path / "net.py").write_text(MODEL)
    target, out = f"{tmp_path / 'net.py'}:Model", tmp_path / "out"
    inputs = ["--input", "batch.x=float32[batch,3]", "--input", "parts.0=float32[batch,3]"]
    code, _, err = command(capsys, "export", target, *inputs, "-o", out)
    assert code == 0, err
    x = np.ones((2, 3), np.float32)
    np.savez(tmp_path / "in.npz", **{"batch.x": x, "parts.0": x})
    code, _, err = command(capsys, "run", out, "--input", tmp_path / "in.npz", "--output", tmp_path / "y.npz")
    assert code == 0, err
    np.testing.assert_allclose(np.load(tmp_path / "y.npz")["z.0"], 2 * np.exp(-1.0) * x, rtol=1e-3)
    code, _, err = command(capsys, "export", target, *inputs[:2], "--input", "parts.1=float32[batch,3]", "-o", out)
    assert (code, "the parts 1 of the input 'parts' make no tuple; 'parts.0' lacks" in err) == (2, True)


def test_a_tree_can_be_rebuilt_with_other_leaves():
    tree = Tree(["batch", "parts"], [{"x": 1, "h": [2]}, (3, None)])
    assert [name for name, _ in tree.leaves] == ["batch.x", "batch.h.0", "parts.0", "parts.1"]
    assert tree.rebuilt([4, 5, 6, None]) == [{"x": 4, "h": [5]}, (6, None)]


def test_results_of_all_kinds_have_named_leaves():
    assert result_leaves(7) == [("output", 7)]
    assert result_leaves((7, [8])) == [("output_0", 7), ("output_1.0", 8)]
    assert result_leaves({"a": State(7, {"b": 8})}) == [("a.h", 7), ("a.c.b", 8)]
    assert result_leaves(Unknown(7)) == [("rate", 7)]
    assert result_leaves({"size": torch.ones(2, 3).shape}) == [("size.0", 2), ("size.1", 3)]


def test_tensors_and_rows_are_found_in_containers():
    x, y = torch.zeros(1), torch.ones(1)
    doubled = map_tensors(lambda z: 2 * z, {"a": (x, 3), "b": [y]})
    assert doubled == {"a": (torch.zeros(1), 3), "b": [torch.full((1,), 2.0)]}
    tensors = tensors_in({"a": (x, 3), "b": [y]})
    assert (tensors[0] is x, tensors[1] is y, len(tensors)) == (True, True, 2)
    assert row_leaves([1, (2, [3, "four"]), ()]) == [1, 2, 3, "four"]
    assert row_leaves(1) == [1]


def test_names_with_dots_make_containers():
    assert nested_of({"a.x": 1, "b.1": 3, "b.0": 2, "c": 4}) == {"a": {"x": 1}, "b": (2, 3), "c": 4}
    with pytest.raises(InputError, match="'a' and 'a.x' exclude each other"):
        nested_of({"a": 1, "a.x": 2})
    with pytest.raises(InputError, match=r"the parts 1 of the input 'b' make no tuple; 'b.0' lacks"):
        nested_of({"b.1": 1})
