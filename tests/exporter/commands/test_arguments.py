"""The export command reads the example call, the model and its weights before it exports."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from odelet.errors import InputError
from odelet_export.commands.arguments import read_example, read_target
from odelet_export.commands.target import loaded
from odelet_export.commands.weights import load_weights
from odelet_export.model.call_arguments import call_arguments, check_runs


class TestExample:
    def read(self, *inputs, file=None, seed=0):
        return read_example(inputs, file, seed=seed)

    def test_names_are_dynamic_axes_of_one_size(self):
        example = self.read("x=float32[batch,64]", "y=float64[batch, 2, other]", "z=float32[]")
        shapes = {name: array.shape for name, array in example.arrays.items()}
        assert shapes == {"x": (3, 64), "y": (3, 2, 5), "z": ()}
        assert example.dynamic == {"x": {0: "batch"}, "y": {0: "batch", 2: "other"}}
        assert [array.dtype for array in example.arrays.values()] == [np.float32, np.float64, np.float32]

    def test_a_size_given_once_holds_everywhere(self):
        example = self.read("x=float32[n]", "y=float32[n=8]")
        assert example.arrays["x"].shape == example.arrays["y"].shape == (8,)
        assert example.dynamic == {"x": {0: "n"}, "y": {0: "n"}}

    def test_a_number_is_one_of_python_with_a_label(self, tmp_path):
        example = self.read("x=float32[batch,2]", "n_timesteps=int:10", "options.scale = float:-1.5e0")
        assert example.numbers == {"n_timesteps": 10, "options.scale": -1.5}
        assert example.dynamic == {
            "x": {0: "batch"},
            "n_timesteps": "n_timesteps",
            "options.scale": "options_scale",
        }
        assert list(example.arrays) == ["x"]
        np.savez(tmp_path / "example.npz", x=np.zeros((2, 2)), n=np.array(7))
        example = self.read("n=int", file=tmp_path / "example.npz")
        assert (example.numbers, list(example.arrays)) == ({"n": 7}, ["x"])

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            (["n=int"], "names no number; write one"),
            (["n=int:1.5"], "'1.5' is no int"),
            (["n=float:much"], "'much' is no float"),
            (["n=int:3", "n=float32[]:1"], "names 'n' twice"),
        ],
    )
    def test_a_number_that_cannot_be_read_is_refused(self, inputs, message):
        with pytest.raises(InputError, match=message):
            self.read(*inputs)

    def test_the_seed_decides_the_values(self):
        first, again, other = (self.read("x=float32[5]", seed=seed).arrays["x"] for seed in (0, 0, 1))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert (first < 0).any()

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("x=float64[5]:linspace(0,-1)", [0, -0.25, -0.5, -0.75, -1]),
            ("x=float32[2]:0.5", [0.5, 0.5]),
            ("x=int32[2]:-3", [-3, -3]),
            ("x=bool[2]:1", [True, True]),
            ("x=int64[2]:4..4", [4, 4]),
            ("x=float32[]:1e-3", np.float32(1e-3)),
        ],
    )
    def test_values_after_a_colon_fill_the_array(self, text, expected):
        array = self.read(text).arrays["x"]
        assert str(array.dtype) == text.split("=")[1].split("[")[0]
        np.testing.assert_array_equal(array, expected)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "uint8", "int64"])
    def test_a_range_bounds_the_values(self, dtype):
        array = self.read(f"x={dtype}[200]:2..9").arrays["x"]
        assert 2 <= array.min() < array.max() <= 9
        assert array.dtype == dtype

    def test_a_drawn_bool_takes_both_values(self):
        assert set(self.read("x=bool[50]").arrays["x"].tolist()) == {True, False}

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ((), "the model needs inputs: describe each with --input"),
            (("x",), "not of the form NAME=DTYPE"),
            (("x=float32",), "a scalar has no axes"),
            (("1x=float32[]",), "not of the form"),
            (("x=float31[2]",), "'float31' is not one of float16"),
            (("x=[2]",), "names no dtype"),
            (("x=float32[0]",), "'0' is not an axis"),
            (("x=float32[2,]",), "'' is not an axis"),
            (("x=float32[-1]",), "'-1' is not an axis"),
            (("x=float32[n=]",), "'n=' is not an axis"),
            (("x=float32[_]",), "'_' keeps a size of --example"),
            (("x=float32[2]", "x=float32[3]"), "names 'x' twice"),
            (("x=float32[n=2]", "y=float32[n=3]"), "'n' is 3 here and 2 elsewhere"),
            (("x=int64[2]",), r'whole numbers need a range, such as "x=int64\[2\]:0..9"'),
            (("x=float32[2]:9..0",), "the range ends before it begins"),
            (("x=uint8[2]:0..256",), "256 is not an uint8"),
            (("x=int64[2]:0.5",), "0.5 is not an int64"),
            (("x=bool[2]:0..1",), "a bool has no range"),
            (("x=int64[2]:linspace(0,1)",), "linspace fills one axis of floats"),
            (("x=float32[2,2]:linspace(0,1)",), "linspace fills one axis"),
            (("x=float32[2]:linspace(1,1)",), "two different ends"),
            (("x=float32[2]:normal",), "'normal' is not LOW..HIGH"),
        ],
    )
    def test_a_description_that_cannot_be_read_is_refused(self, texts, message):
        with pytest.raises(InputError, match=message):
            self.read(*texts)


class TestExampleFile:
    @pytest.fixture
    def file(self, tmp_path):
        np.savez(tmp_path / "example.npz", x=np.ones((4, 2)), n=np.arange(3))
        return tmp_path / "example.npz"

    def test_a_file_needs_no_input_beside_it(self, file):
        example = read_example((), file, seed=0)
        assert {name: (array.shape, str(array.dtype)) for name, array in example.arrays.items()} == {
            "x": ((4, 2), "float64"),
            "n": ((3,), "int64"),
        }
        assert example.dynamic == {}

    def test_an_input_names_its_axes_and_converts_it(self, file):
        example = read_example(["x=float32[batch,_]", "n=[n=3]"], file, seed=0)
        assert example.arrays["x"].dtype == np.float32
        assert example.dynamic == {"x": {0: "batch"}, "n": {0: "n"}}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("y=[2]", "holds no 'y', only x, n"),
            ("x=[batch]", r"does not fit .*'x' is \[4, 2\]"),
            ("x=[batch,3]", "does not fit"),
            ("x=[batch=5,_]", "does not fit"),
            ("x=[batch,_]:0..1", "gives the values"),
        ],
    )
    def test_an_input_that_does_not_fit_the_file_is_refused(self, file, text, message):
        with pytest.raises(InputError, match=message):
            read_example([text], file, seed=0)

    def test_a_file_without_arrays_of_a_known_dtype_is_refused(self, tmp_path):
        np.savez(tmp_path / "words.npz", x=np.array(["a"]))
        np.savez(tmp_path / "empty.npz")
        with pytest.raises(InputError, match="member 'x': it holds <U1; expected numbers"):
            read_example((), tmp_path / "words.npz", seed=0)
        with pytest.raises(InputError, match="it holds no arrays"):
            read_example((), tmp_path / "empty.npz", seed=0)


SOURCE = """
from torch import nn
import beside

ready = nn.Linear(2, beside.WIDTH)
number = 3

class Net(nn.Linear):
    def __init__(self, width=5):
        super().__init__(2, width)

def build():
    import later
    return Net(later.WIDTH)

def needs(width, depth):
    return Net(width)

def nothing():
    return None

def breaks():
    return {}["key"]

def leaves():
    raise SystemExit(1)
"""


class TestTarget:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "beside.py").write_text("WIDTH = 4")
        (tmp_path / "later.py").write_text("WIDTH = 6")
        (tmp_path / "net.py").write_text(SOURCE)
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "inner.py").write_text("from net import Net")
        yield tmp_path
        for name in ("net", "beside", "later", "package", "package.inner", "odelet_target_json"):
            sys.modules.pop(name, None)

    def load(self, text):
        with loaded(read_target(text)) as model:
            return model

    @pytest.mark.parametrize(
        ("text", "width"),
        [("net.py:ready", 4), ("net.py:Net", 5), ("net.py:build", 6), ("./net.py:build", 6), ("package.inner:Net", 5)],
    )
    def test_a_target_may_be_a_module_a_class_or_a_function(self, folder, text, width):
        before = list(sys.path)
        assert self.load(text).out_features == width
        assert sys.path == before

    def test_a_file_in_another_folder_finds_its_neighbours(self, folder, monkeypatch):
        (folder / "elsewhere").mkdir()
        monkeypatch.chdir(folder / "elsewhere")
        assert self.load(f"{folder / 'net.py'}:build").out_features == 6

    def test_a_file_may_have_the_name_of_a_loaded_module(self, folder):
        (folder / "json.py").write_text(SOURCE)
        assert self.load("json.py:Net").out_features == 5

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("net.py", "'net.py' is not the name of a model; write FILE.py:NAME"),
            ("net.py:", "is not the name of a model"),
            ("net.py:a b", "is not the name of a model"),
            ("gone.py:Net", "gone.py: there is no such file"),
            ("package:Net", "package has no 'Net'"),
            ("./package:Net", "package: it is not a Python file"),
            ("no.such:Net", "there is no module 'no' in this folder or among the installed packages"),
            ("package.gone:Net", "there is no module 'package.gone'"),
            ("net.py:Gone", "net.py has no 'Gone'; it has ready, Net, build"),
            ("net.py:number", "net.py:number is a int; it must be a torch.nn.Module"),
            ("net.py:needs", r"it needs width, depth\); name a function that can, such as: def build"),
            ("net.py:nothing", "net.py:nothing returned a NoneType; it must return a torch.nn.Module"),
            ("net.py:breaks", "net.py, line 23: KeyError: 'key'"),
            ("net.py:leaves", "net.py, line 26: SystemExit: 1"),
        ],
    )
    def test_a_target_that_is_not_a_model_is_refused(self, folder, text, message):
        with pytest.raises(InputError, match=message):
            self.load(text)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("import beside\nimport surely_not_installed", "broken.py, line 2: No module named 'surely_not_installed'"),
            ("from torch import surely_not_there", "broken.py, line 1: ImportError: cannot import name"),
            ("x = 1\ny = (", "broken.py, line 2: SyntaxError"),
            ("import torch\ntorch.zeros(-1)", "broken.py, line 2: RuntimeError"),
        ],
    )
    @pytest.mark.parametrize("text", ["broken.py:build", "broken:build"])
    def test_an_error_in_the_file_is_reported_with_its_line(self, folder, source, message, text):
        (folder / "broken.py").write_text(source)
        with pytest.raises(InputError, match=f"^{message}"):
            self.load(text)
        assert "broken" not in sys.modules


class Call(nn.Module):
    def forward(self, first, /, x, scale=1.0, *, t):
        return first + x * scale + t


class Anything(nn.Module):
    def forward(self, x, **more):
        return x


class TestCall:
    arrays = {name: np.ones(2, np.float32) for name in ("t", "x", "first")}

    def test_arguments_come_in_the_order_of_the_signature(self):
        args, kwargs = call_arguments(Call(), self.arrays)
        assert len(args) == 1
        assert list(kwargs) == ["x", "t"]
        assert Call()(*args, **kwargs).tolist() == [3.0, 3.0]

    def test_any_input_name_fits_a_model_with_keyword_arguments(self):
        args, kwargs = call_arguments(Anything(), self.arrays)
        assert (args, list(kwargs)) == ((), ["x", "t", "first"])

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (("first", "x", "t", "z"), "--input z: forward of Call takes first, x, scale, t"),
            (("first", "x"), "forward of Call needs 't' too"),
        ],
    )
    def test_unknown_and_missing_inputs_are_refused(self, names, message):
        with pytest.raises(InputError, match=message):
            call_arguments(Call(), {name: np.ones(1) for name in names})

    def test_a_model_that_fails_on_its_example_is_refused(self):
        check_runs(Call(), [torch.ones(2)], {"x": torch.ones(2), "t": torch.ones(2)})
        with pytest.raises(InputError, match=r"its example \(float32 \[2\], x float32 \[3\], .*line \d+: RuntimeError"):
            check_runs(Call(), [torch.ones(2)], {"x": torch.ones(3), "t": torch.ones(2)})


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2)
        self.b = self.a


class TestWeights:
    @pytest.fixture
    def state(self):
        return {"weight": torch.full((3, 2), 7.0), "bias": torch.zeros(3)}

    @pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
    def test_a_state_dict_is_loaded(self, tmp_path, state, name):
        save = save_file if name.endswith("safetensors") else torch.save
        save(state, tmp_path / name)
        model = nn.Linear(2, 3)
        load_weights(model, tmp_path / name)
        assert (model.weight == 7).all()

    def test_a_state_dict_inside_a_checkpoint_is_loaded(self, tmp_path, state):
        torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pt")
        model = nn.Linear(2, 3)
        load_weights(model, tmp_path / "w.pt")
        assert (model.weight == 7).all()

    def test_tied_weights_need_to_be_in_the_file_only_once(self, tmp_path):
        save_file({"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2)}, tmp_path / "w.safetensors")
        model = Tied()
        load_weights(model, tmp_path / "w.safetensors")
        assert (model.b.weight == 1).all()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda state: state.pop("bias"), "does not fit Linear: it lacks 'bias'"),
            (lambda state: state.update(extra=torch.ones(1)), "does not fit Linear: the model has no 'extra'"),
            (
                lambda state: state.update({f"x{i}": torch.ones(1) for i in range(5)}),
                "the model has no 'x0', 'x1', 'x2' and 2 more",
            ),
            (
                lambda state: state.update(weight=torch.ones(2, 3)),
                r"weight is \[2, 3\] there and \[3, 2\] in the model",
            ),
        ],
    )
    def test_weights_of_another_model_are_refused(self, tmp_path, state, change, message):
        change(state)
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(InputError, match=message):
            load_weights(nn.Linear(2, 3), tmp_path / "w.safetensors")

    @pytest.mark.parametrize(
        ("saved", "message"),
        [
            (nn.Linear(2, 3), "it holds more than tensors, and loading that could run code"),
            ([torch.ones(1)], "it holds a list; save model.state_dict"),
            ({"model": {"weight": torch.ones(1)}}, "it holds a dict of dict; save model.state_dict"),
        ],
    )
    def test_a_file_without_a_state_dict_is_refused(self, tmp_path, saved, message):
        torch.save(saved, tmp_path / "w.pt")
        with pytest.raises(InputError, match=message):
            load_weights(nn.Linear(2, 3), tmp_path / "w.pt")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("gone.pt", "there is no such file"),
            ("w.bin", "its ending must be .safetensors, .pt or .pth"),
            ("w.pt", "it is not a file that torch.save wrote"),
            ("cut.pth", "it cannot be read"),
            ("w.safetensors", "it is not a readable .safetensors file"),
        ],
    )
    def test_weight_files_that_cannot_be_read_are_refused(self, tmp_path, name, message):
        for file in ("w.bin", "w.pt", "w.safetensors"):
            (tmp_path / file).write_bytes(b"not weights")
        torch.save({"weight": torch.ones(3, 2)}, tmp_path / "whole.pth")
        (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-40])
        with pytest.raises(InputError, match=message):
            load_weights(nn.Linear(2, 3), tmp_path / name)
