"""A cap on a model's memory: bombs end in an error, what fits runs as without it, and each model has its own cap.

ONNX Runtime registers allocators for the whole process, so that each test is a process of its own: this file as a
program, with the name of a function.
"""

import os
import pickle
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from support.artifacts import (
    BOOL,
    F32,
    I64,
    affine_card,
    driven_card,
    driven_models,
    node,
    onnx_model,
    value,
    write,
    write_affine,
)
from support.paths import ROOT

import odelet
from odelet.artifact.operators import UNCOUNTED
from odelet.engine import memory as memory_of_models
from odelet.errors import ArtifactError, InputError, MemoryLimitError

MB = 2**20
CAP = 100 * MB
X = np.ones((2, 3), np.float32)
HUGE = 700_000_000  # numbers, which are 2.8 GB


def tensor(name, kind, numbers, *, shape=None):
    return helper.make_tensor(name, kind, [len(numbers)] if shape is None else shape, numbers)


def ones(name, shape):
    return node("ConstantOfShape", shape, name, value=tensor("one", F32, [1.0]))


def loop(*body, scanned=0):
    """A Loop of `count` turns over a state s that begins as `start`; s1 is the next state and o an output of a turn."""
    inputs = [value("turn", I64, []), value("go", BOOL, []), value("s", F32, None)]
    outputs = [value("go1", BOOL, []), value("s1", F32, None), *[value("o", F32, None)] * scanned]
    graph = helper.make_graph([node("Identity", "go", "go1"), *body], "body", inputs, outputs)
    return helper.make_node("Loop", ["count", "", "start"], ["b", "all"][: 1 + scanned], body=graph)


MILLION = tensor("start", F32, [1.0] * 250_000)
TURNS = tensor("count", I64, [4000], shape=[])

# By name: nodes that make `b`, and their constants. Each would take gigabytes.
BOMBS = {
    "ConstantOfShape": ([node("ConstantOfShape", "n", "b")], [tensor("n", I64, [HUGE])]),
    "a Loop whose state doubles": (
        [loop(node("Concat", "s s", "s1", axis=0))],
        [tensor("count", I64, [40], shape=[]), tensor("start", F32, [1.0])],
    ),
    "a Loop whose state grows slowly": ([loop(node("Concat", "s start", "s1", axis=0))], [TURNS, MILLION]),
    "a Loop that keeps each turn": (
        [loop(node("Identity", "s", "s1"), node("Exp", "s", "o"), scanned=1)],
        [TURNS, MILLION],
    ),
    "Expand": ([node("Expand", "one n", "b")], [tensor("n", I64, [HUGE]), tensor("one", F32, [1.0])]),
    "Tile": ([node("Tile", "one n", "b")], [tensor("n", I64, [HUGE]), tensor("one", F32, [1.0])]),
    "Pad": ([node("Pad", "one n", "b")], [tensor("n", I64, [0, HUGE]), tensor("one", F32, [1.0])]),
    "Range": (
        [node("Range", "zero n step", "r"), node("Cast", "r", "b", to=F32)],
        [tensor(name, I64, [number], shape=[]) for name, number in (("zero", 0), ("n", HUGE), ("step", 1))],
    ),
    "MatMul": (
        [ones("i", "n"), ones("j", "m"), node("MatMul", "i j", "b")],
        [tensor("n", I64, [30_000, 1]), tensor("m", I64, [1, 30_000])],
    ),
    "broadcasting": (
        [ones("i", "n"), ones("j", "m"), node("Add", "i j", "b")],
        [tensor("n", I64, [30_000, 1]), tensor("m", I64, [1, 30_000])],
    ),
    "many constants that are small enough to be folded": (
        [
            *(
                node("ConstantOfShape", "n", f"c{i}", value=tensor("v", F32, [float(i)]))  # else they would be one
                for i in range(60)
            ),
            node("Max", " ".join(f"c{i}" for i in range(60)), "b"),
        ],
        [tensor("n", I64, [15 * MB])],
    ),
}


def bomb(folder, nodes, constants):
    """An artifact that adds the sum of `b` to its input."""
    x, y = value("x", F32, ["batch", 3]), value("y", F32, ["batch", 3])
    nodes = [*nodes, node("ReduceSum", "b", "sum", keepdims=0), node("Add", "x sum", "y")]
    card = affine_card(solves=())
    return write(folder, card, {"model.onnx": onnx_model(nodes, [x], [y], constants, card=card)})


def grown(folder):
    """An artifact whose y has n rows of 256 kB, which it computes by way of a copy."""
    card = affine_card(
        solves=(),
        inputs=(odelet.artifact.card.Tensor(name="n", dtype="int64", shape=(1,)),),
        outputs=(odelet.artifact.card.Tensor(name="y", dtype="float32", shape=("rows", 65536)),),
    )
    nodes = [
        node("Concat", "n width", "shape", axis=0),
        node("ConstantOfShape", "shape", "zeros"),
        node("Cos", "zeros", "y"),
    ]
    ports = [value("n", I64, [1])], [value("y", F32, ["rows", 65536])]
    return write(folder, card, {"model.onnx": onnx_model(nodes, *ports, [tensor("width", I64, [65536])], card=card)})


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refused(call, *args, **named):
    with pytest.raises(MemoryLimitError) as raised:
        call(*args, **named)
    return str(raised.value)


def rows(count):
    return np.array([count], np.int64)


def bombs_end_in_an_error(folder):
    before = peak()
    for number, (name, parts) in enumerate(BOMBS.items()):
        model = odelet.load(bomb(folder / str(number), *parts), memory=CAP)
        for _ in range(2):
            assert f"need more than memory={CAP} bytes" in refused(model, X), name
        assert peak() < before + 2 * CAP, name
    good = odelet.load(write_affine(folder / "good"), memory=CAP)
    np.testing.assert_array_equal(good(X), 2 * X + 1)


def a_bomb_in_a_driven_solve_ends_in_an_error(folder):
    models = driven_models()
    step = models["solve_0_step.onnx"].graph
    step.node[0].output[0] = "y1_"
    step.node.extend(
        [node("ConstantOfShape", "n", "b"), node("ReduceSum", "b", "sum", keepdims=0), node("Add", "y1_ sum", "y1")]
    )
    step.initializer.append(tensor("n", I64, [HUGE]))
    model = odelet.load(write(folder / "driven", driven_card(), models), memory=CAP)
    assert "solve_0_step.onnx: these inputs" in refused(model, X)
    assert "solve_0_step.onnx: these inputs" in refused(model.solve, X)


def what_fits_runs_whatever_ran_before(folder):
    """Calls of other sizes leave memory in pieces, and results that a caller keeps do not count."""
    model = odelet.load(grown(folder / "grown"), memory=CAP)
    kept = []
    for count in (40, 1, 160, 7, 199, 100, 401, 199, 400, 190, 1):
        if count > 200:  # two arrays of more than 50 MB
            refused(model, rows(count))
            continue
        kept.append(model(rows(count)))
        assert kept[-1].shape == (count, 65536)
        assert (kept[-1][::50, ::1000] == 1).all()
    assert sum(array.nbytes for array in kept) > 2 * CAP


def each_model_has_its_own_cap(folder):
    path = grown(folder / "grown")
    small, large, free = (odelet.load(path, memory=memory) for memory in (CAP // 20, CAP, None))
    for _ in range(2):
        refused(small, rows(40))
        assert large(rows(40)).shape == free(rows(40)).shape == (40, 65536)
        refused(large, rows(250))
        assert free(rows(250)).shape == (250, 65536)
        assert small(rows(5)).shape == (5, 65536)


def sessions_of_others_are_not_capped(folder):
    """A session that takes the allocator of the process takes none of ours after a model was loaded."""
    ort = memory_of_models.ort
    odelet.load(write_affine(folder / "good"), memory=MB)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    session = ort.InferenceSession((grown(folder / "grown") / "model.onnx").read_bytes(), options)
    assert session.run(None, {"n": rows(100)})[0].shape == (100, 65536)


def models_load_at_once_with_their_own_caps(folder):
    path, found = grown(folder / "grown"), {}
    ort = memory_of_models.ort
    opened = ort.InferenceSession

    def open_late(*args, **options):
        time.sleep(0.005)  # for the other threads to do what they may
        return opened(*args, **options)

    ort.InferenceSession = open_late

    def load_and_call(index):
        model = odelet.load(path, memory=(5 if index % 2 else 300) * MB)
        try:
            found[index] = model(rows(20)).shape
        except MemoryLimitError as error:
            found[index] = error.memory

    threads = [threading.Thread(target=load_and_call, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: 5 * MB if index % 2 else (20, 65536) for index in range(12)}


def artifacts_of_every_form_verify(folder):
    for card in sorted((ROOT / "tests" / "whole" / "artifacts-0.1").glob("*/odelet.json")):
        assert odelet.verify(odelet.load(card.parent, memory=CAP)).passed, card.parent.name


def the_memory_goes_with_the_model(folder):
    path = grown(folder / "grown")
    sizes = []
    for _ in range(5):
        odelet.load(path, memory=CAP)(rows(150))
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert max(sizes) < sizes[0] + CAP, sizes


CASES = (
    bombs_end_in_an_error,
    a_bomb_in_a_driven_solve_ends_in_an_error,
    what_fits_runs_whatever_ran_before,
    each_model_has_its_own_cap,
    sessions_of_others_are_not_capped,
    models_load_at_once_with_their_own_caps,
    artifacts_of_every_form_verify,
    the_memory_goes_with_the_model,
)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it reads the size of a process as Linux tells it")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_in_a_process_of_its_own(case):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, __file__, case.__name__], env=environment, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""  # ONNX Runtime logs what fails in red, if one lets it


@pytest.mark.parametrize("operator", UNCOUNTED)
def test_an_operator_whose_memory_nothing_counts(operator, tmp_path):
    """NonZero of 80 MB, with 40 axes, takes 26 GB that the cap does not see."""
    nodes = [node("If", "yes", "b", then_branch=branch(operator), else_branch=branch("Neg"))]
    folder = bomb(tmp_path, nodes, [tensor("yes", BOOL, [True], shape=[]), tensor("k", F32, [1.0])])
    with pytest.raises(MemoryLimitError, match=f"model.onnx: it uses {operator}, .* load it without memory"):
        odelet.load(folder, memory=CAP)


def branch(operator):
    return helper.make_graph([node(operator, "k", "c")], "branch", [], [value("c", F32, None)])


@pytest.mark.parametrize("memory", [0, -1, MB - 1, True, 1.5e9, "1GB", 2**80])
def test_caps_that_make_no_sense(memory, tmp_path):
    with pytest.raises(InputError, match=r"memory=.* must be a whole number of bytes, from 1,048,576"):
        odelet.load(write_affine(tmp_path), memory=memory)


def test_only_the_cpu_has_a_cap(tmp_path, monkeypatch):
    monkeypatch.setattr("odelet.engine.opening.check_device", lambda device, threads: None)
    with pytest.raises(InputError, match="only memory of the CPU can be capped; leave it out for device='cuda'"):
        odelet.load(write_affine(tmp_path), device="cuda", memory=MB)


def test_engines_that_cannot(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_of_models.ort, "__version__", "1.22.1")
    with pytest.raises(InputError, match=r"onnxruntime 1\.22\.1 cannot cap .* upgrade it to 1\.23"):
        odelet.load(write_affine(tmp_path), memory=MB)


def test_the_error_is_an_artifact_error_and_survives_pickling():
    error = pickle.loads(pickle.dumps(MemoryLimitError("too large", MB)))
    assert isinstance(error, ArtifactError)
    assert (str(error), error.memory) == ("too large", MB)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        globals()[sys.argv[1]](Path(temporary))
