"""Weights that lie in a file beside their graphs: those of a large graph in each form, and how they are written."""

import hashlib
import tracemalloc

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torchdiffeq import odeint

import odelet
from odelet.errors import ArtifactError
from odelet_export import export, tune
from odelet_export.targets import weights_file
from odelet_export.targets.weights_file import GRAPH_BYTES, move_weights

# For each form, the method of the solve and what the export needs besides.
FORMS = {
    "unrolled": ("rk4", {}),
    "rolled": ("rk4", {}),
    "adaptive": ("dopri5", {}),
    "driven": ("dopri5", {}),
    "bounded": ("dopri5", {"calibration": {"x": np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)}}),
}


class Tied(torch.nn.Module):
    """A field whose two layers have one matrix, and a third that is its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = (torch.nn.Linear(5, 5) for _ in range(3))
        self.wide = torch.nn.Parameter(torch.randn(5, 60))
        self.second.weight = self.first.weight

    def forward(self, t, y):
        return torch.tanh(self.last(self.second(torch.tanh(self.first(y))))) + (y @ self.wide @ self.wide.T) / 100


class Model(torch.nn.Module):
    def __init__(self, method):
        super().__init__()
        self.field, self.method = Tied(), method

    def forward(self, x):
        options = {"step_size": 0.25} if self.method == "rk4" else {}
        return odeint(self.field, x, torch.tensor([0.0, 1.0]), method=self.method, options=options)[-1]


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.field = Tied()

    def forward(self, x):
        return self.field(None, x)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(weights_file, "GRAPH_BYTES", 1024)


def exported(out, form):
    method, more = FORMS.get(form, (None, {}))
    model = Plain() if form == "plain" else Model(method)
    example = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    return model, export(model, (example,), out, form=form, dynamic={"x": {0: "batch"}}, samples=1, **more)


@pytest.mark.parametrize("form", [*FORMS, "plain"])
def test_large_weights_of_each_form_are_outside(form, small, tmp_path):
    model, done = exported(tmp_path / "out", form)
    graphs = [path for path in (tmp_path / "out").glob("*.onnx")]
    assert (tmp_path / "out" / "weights.bin").stat().st_size >= 5 * 60 * 4
    assert "weights.bin" in done.card.files
    for path in graphs:
        inside = onnx.load(path, load_external_data=False).graph.initializer
        assert not [t.name for t in inside if len(t.raw_data) >= weights_file.SHARED_BYTES]
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(2)) / 4
    with torch.no_grad():
        wanted = model(x).numpy()
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(x.numpy()), wanted, rtol=1e-4, atol=1e-5)
    assert odelet.verify(tmp_path / "out").passed
    said = [warning for warning in done.warnings if "weights.bin" in warning]
    if form == "driven":
        assert not said  # none of its graphs can be loaded alone, whatever its size
        return
    assert "model.onnx alone cannot be loaded, so keep the folder whole" in said[0] and "\n" not in said[0]
    with pytest.raises(ArtifactError, match=r"model.onnx: it keeps weights in 'weights.bin' beside it.*whole folder"):
        odelet.load(tmp_path / "out" / "model.onnx")


def test_small_weights_stay_in_the_graph(tmp_path):
    model, done = exported(tmp_path / "out", "plain")
    assert "weights.bin" not in done.card.files and not (tmp_path / "out" / "weights.bin").exists()
    assert not [warning for warning in done.warnings if "weights.bin" in warning]
    x = torch.ones(3, 5)
    with torch.no_grad():
        wanted = model(x).numpy()
    np.testing.assert_allclose(odelet.load(tmp_path / "out" / "model.onnx")(x.numpy()), wanted, rtol=1e-4, atol=1e-5)


def test_the_limit_leaves_room_in_a_message_of_protobuf():
    assert GRAPH_BYTES <= 2**30  # of less than 2**31 bytes, nodes and small tensors included


@pytest.mark.slow
def test_a_search_writes_them_again_and_again(small, short_timings, tmp_path):
    data = {"x": np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)}
    limits = {"methods": ["rk4"], "forms": ["rolled", "driven"], "steps": [2, 4], "no_native": True}
    found = tune(Model("rk4"), data, tmp_path, target=1e-2, **limits)
    assert len(found.rows) >= 4 and all(row.worst < 1 for row in found.rows)


def graph_of(**tensors):
    """A graph that holds these arrays as initializers."""
    values = []
    for name, array in tensors.items():
        tensor = ir.tensor(array, name=name)
        values.append(ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor))
    return ir.Model(ir.Graph([], [], nodes=[], initializers=values, opset_imports={"": 20}), ir_version=10)


def outside(model):
    return {
        name: v.const_value
        for name, v in model.graph.initializers.items()
        if isinstance(v.const_value, ir.ExternalTensor)
    }


ARRAYS = {
    "rows": np.arange(600, dtype=np.float32).reshape(20, 30),
    "columns": np.arange(600, dtype=np.float32).reshape(20, 30).T,
    "strided": np.arange(4000, dtype=np.int64)[::3],
    "axes": np.arange(1200, dtype=np.float64).reshape(3, 20, 20).transpose(2, 0, 1),
    "bools": np.arange(1500) % 3 == 0,
    "halves": np.arange(900, dtype=np.float16),
    "brains": np.arange(900).astype(ml_dtypes.bfloat16),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("piece", [64, 2**26])
def test_bytes_are_those_of_the_tensor(name, piece, small, monkeypatch, tmp_path):
    monkeypatch.setattr(weights_file, "_PIECE", piece)
    model = graph_of(first=ARRAYS["rows"] + 1, it=ARRAYS[name])
    move_weights({"model.onnx": model}, tmp_path)
    assert set(outside(model)) == {"first", "it"}
    for tensor, array in zip(outside(model).values(), (ARRAYS["rows"] + 1, ARRAYS[name]), strict=True):
        assert tensor.offset % 4096 == 0
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_equal_weights_are_written_once(small, tmp_path):
    same, other = np.ones((20, 30), np.float32), np.ones((20, 30), np.float32)
    other[-1, -1] = 2  # it begins as the others do
    models = {"a.onnx": graph_of(x=same, y=same.copy()), "b.onnx": graph_of(z=same.T.copy().T, w=other)}
    move_weights(models, tmp_path)
    offsets = {name: tensor.offset for model in models.values() for name, tensor in outside(model).items()}
    assert offsets["x"] == offsets["y"] == offsets["z"] != offsets["w"]


def test_only_shared_weights_of_small_graphs_are_outside(tmp_path):
    same, other = np.ones((20, 30), np.float32), np.zeros((20, 30), np.float32)
    models = {"a.onnx": graph_of(x=same), "b.onnx": graph_of(z=same.copy(), w=other)}
    move_weights(models, tmp_path)
    assert [set(outside(model)) for model in models.values()] == [{"x"}, {"z"}]


def test_no_second_copy_is_in_memory(small, monkeypatch, tmp_path):
    monkeypatch.setattr(weights_file, "_PIECE", 2**18)
    big = np.random.default_rng(0).normal(size=(1000, 2000)).astype(np.float32)
    models = {"a.onnx": graph_of(x=big, t=big.T), "b.onnx": graph_of(y=big, s=big.T)}
    tracemalloc.start()
    move_weights(models, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < big.nbytes / 8
    written = (tmp_path / "weights.bin").read_bytes()[: big.nbytes]
    assert hashlib.sha256(written).digest() == hashlib.sha256(big.tobytes()).digest()
