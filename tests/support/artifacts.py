"""Small artifacts made by hand with onnx, so that tests of the runtime need neither torch nor the exporter."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from odelet.artifact.card import Card, Tensor, checksum_of
from odelet.artifact.file_card import FileEntry
from odelet.artifact.input_cards import AssumptionCard, NoiseCard
from odelet.artifact.program_steps import DriveStep, RunStep
from odelet.artifact.seal import BLANK, SEAL_KEY, sealed
from odelet.artifact.solve_card import SETTINGS as DRIVER_SETTINGS
from odelet.artifact.solve_card import DriveCard, Evaluations, SolveCard

F32, F64, I64, BOOL = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL
SETTINGS = {"rtol": "rtol", "atol": "atol", "max_steps": "max_steps"}
REPORT = {key: f"solve_0.{key}" for key in ("steps", "accepted", "status", "time")}


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def scalar(name, kind, number):
    return helper.make_tensor(name, kind, [], [number])


def node(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def onnx_model(nodes, inputs, outputs, initializers=(), *, card=None, functions=(), domains=("",)):
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(initializers))
    opsets = [helper.make_opsetid(domain, 20 if domain == "" else 1) for domain in domains]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)
    if card is not None:
        helper.set_model_props(model, {"odelet.card": card.short_json(), SEAL_KEY: BLANK})
    return model


def model_bytes(model):
    """The bytes of a model's file, with its digest if it has a place for one."""
    data = model.SerializeToString()
    return sealed(data, name="the model") if SEAL_KEY in {prop.key for prop in model.metadata_props} else data


def edit_card(folder: Path, change):
    """Change the card of an artifact as JSON, by a function of the parsed text, and make its checksum right again."""
    path = folder / "odelet.json"
    data = json.loads(path.read_text())
    del data["checksum"]
    change(data)
    path.write_text(json.dumps({**data, "checksum": checksum_of(data)}))


def affine_card(**changes):
    """The card of y = 2 x + 1, computed as if by an adaptive solve of 5 steps with a report."""
    solve = SolveCard(
        index=0,
        form="adaptive",
        method="dopri5",
        source="affine.py:7",
        rtol=1e-3,
        atol=1e-4,
        max_steps=100,
        evaluations=Evaluations(start=2, step=6),
        settings=SETTINGS,
        report=REPORT,
    )
    card = Card(
        odelet="0.1.0",
        name="Affine",
        form="adaptive",
        inputs=(Tensor(name="x", dtype="float32", shape=("batch", 3)),),
        outputs=(Tensor(name="y", dtype="float32", shape=("batch", 3)),),
        program=(RunStep(run="model.onnx"),),
        solves=(solve,),
        versions={"torch": "2.13.0"},
        parity={"passed": True, "max_abs": 1e-6},
    )
    return replace(card, **changes)


def affine_nodes():
    """The nodes of y = 2 x + 1 and of its report: steps = min(max_steps, 5), accepted one less, time = rtol + atol,
    status 1 below 5 steps."""
    return [
        node("Mul", "x two", "doubled"),
        node("Add", "doubled one", "y"),
        node("Min", "max_steps five", "solve_0.steps"),
        node("Sub", "solve_0.steps int_one", "solve_0.accepted"),
        node("Less", "max_steps five", "short"),
        node("Cast", "short", "solve_0.status", to=I64),
        node("Add", "rtol atol", "solve_0.time"),
    ]


def affine_model(card=None, *, nodes=None, batch="batch", report=True):
    defaults = [value("rtol", F64, []), value("atol", F64, []), value("max_steps", I64, [])]
    outputs = [value("y", F32, [batch, 3])]
    if report:
        outputs += [value(REPORT[key], F64 if key == "time" else I64, []) for key in REPORT]
    return onnx_model(
        nodes or affine_nodes(),
        [value("x", F32, [batch, 3]), *defaults],
        outputs,
        [
            scalar("two", F32, 2.0),
            scalar("one", F32, 1.0),
            scalar("int_one", I64, 1),
            scalar("five", I64, 5),
            scalar("rtol", F64, 1e-3),
            scalar("atol", F64, 1e-4),
            scalar("max_steps", I64, 100),
        ],
        card=card or affine_card(),
    )


def affine_samples():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    wide = np.ones((4, 3), np.float32)
    allowed = {f"{k}/allowed/y": np.float64(1e-5) for k in (0, 1)}
    return {"0/in/x": x, "0/out/y": 2 * x + 1, "1/in/x": wide, "1/out/y": 2 * wide + 1, **allowed}


def write(folder: Path, card: Card, models: dict, samples: dict | None = None, blobs: dict | None = None):
    """Write the files of an artifact, and its card with an entry for each file. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        (folder / name).write_bytes(model_bytes(model))
    for name, data in (blobs or {}).items():
        (folder / name).write_bytes(data)
    if samples is not None:
        with (folder / "samples.npz").open("wb") as file:
            np.savez(file, **samples)
    return write_card(folder, card)


def write_card(folder: Path, card: Card):
    """Write the card with an entry for each file of the folder. Returns the folder."""
    files = {
        path.name: FileEntry(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != "odelet.json" and path.is_file()
    }
    (folder / "odelet.json").write_text(replace(card, files=files).to_json())
    return folder


def write_affine(folder: Path, card: Card | None = None, **model_options):
    card = card or affine_card()
    return write(folder, card, {"model.onnx": affine_model(card, **model_options)}, affine_samples())


def write_pair(folder: Path):
    """Write total = a + b * factor, mask = not flag: four inputs, two with an axis in common, two outputs, no solve."""
    card = Card(
        odelet="0.1.0",
        name="Pair",
        form="unrolled",
        inputs=(
            Tensor(name="a", dtype="float32", shape=("n", 2)),
            Tensor(name="b", dtype="float32", shape=("n", 1)),
            Tensor(name="factor", dtype="float32", shape=()),
            Tensor(name="flag", dtype="bool", shape=("m",)),
        ),
        outputs=(
            Tensor(name="total", dtype="float32", shape=("n", 2)),
            Tensor(name="mask", dtype="bool", shape=("m",)),
        ),
        program=(RunStep(run="model.onnx"),),
        parity={"passed": True},
    )
    model = onnx_model(
        [node("Mul", "b factor", "p"), node("Add", "a p", "total"), node("Not", "flag", "mask")],
        [
            value("a", F32, ["n", 2]),
            value("b", F32, ["n", 1]),
            value("factor", F32, []),
            value("flag", BOOL, ["m"]),
        ],
        [value("total", F32, ["n", 2]), value("mask", BOOL, ["m"])],
        card=card,
    )
    samples = {
        "0/in/a": np.ones((4, 2), np.float32),
        "0/in/b": np.full((4, 1), 2, np.float32),
        "0/in/factor": np.array(3, np.float32),
        "0/in/flag": np.array([True, False]),
        "0/out/total": np.full((4, 2), 7, np.float32),
        "0/out/mask": np.array([False, True]),
        "0/allowed/total": np.float64(0),
        "0/allowed/mask": np.float64(0),
    }
    return write(folder, card, {"model.onnx": model}, samples)


def driven_card(**changes):
    """The card of two segments with a driven solve between; its field and step graphs have the right ports only."""
    names = DriveCard(
        field="solve_0_field.onnx",
        step="solve_0_step.onnx",
        t="solve_0.t",
        y0=("solve_0.y0.0",),
        solution=("solve_0.y.0",),
        captured=("context",),
        options={"first_step": 0.25},
    )
    solve = SolveCard(
        index=0,
        form="driven",
        method="dopri5",
        source="driven.py:3",
        rtol=1e-3,
        atol=1e-4,
        settings=dict.fromkeys(DRIVER_SETTINGS),
        drive=names,
    )
    card = Card(
        odelet="0.1.0",
        name="Driven",
        form="driven",
        inputs=(Tensor(name="x", dtype="float32", shape=("batch", 3)),),
        outputs=(Tensor(name="y", dtype="float32", shape=("batch", 3)),),
        program=(RunStep(run="segment_0.onnx"), DriveStep(drive=0), RunStep(run="segment_1.onnx")),
        solves=(solve,),
    )
    return replace(card, **changes)


def driven_models():
    row, number = [1, "n"], []
    captured = value("context", F32, ["batch", 3])
    first = onnx_model(
        [
            node("Identity", "x", "solve_0.y0.0"),
            node("Neg", "x", "context"),
            node("Constant", "", "solve_0.t", value=helper.make_tensor("t", F64, [2], [0.0, 1.0])),
        ],
        [value("x", F32, ["batch", 3])],
        [value("solve_0.y0.0", F32, ["batch", 3]), captured, value("solve_0.t", F64, [2])],
    )
    last = onnx_model(
        [node("Gather", "solve_0.y.0 last", "y")],
        [value("solve_0.y.0", F32, ["times", "batch", 3])],
        [value("y", F32, ["batch", 3])],
        [scalar("last", I64, -1)],
    )
    field = onnx_model(
        [node("Identity", "y", "k")],
        [value("t", F32, number), value("y", F32, row), captured],
        [value("k", F32, row)],
    )
    scalars = [value(name, F64, number) for name in ("t", "t1", "h", "rtol", "atol")]
    step = onnx_model(
        [
            node("Add", "y k", "y1"),
            node("Identity", "k", "k1"),
            node("Identity", "y", "mid"),
            node("Mul", "h rtol", "ratio"),
        ],
        [*scalars, value("y", F32, row), value("k", F32, row), captured],
        [*(value(name, F32, row) for name in ("y1", "k1", "mid")), value("ratio", F64, number)],
    )
    return {
        "segment_0.onnx": first,
        "segment_1.onnx": last,
        "solve_0_field.onnx": field,
        "solve_0_step.onnx": step,
    }


POSITIVE = AssumptionCard(
    output="assumption_0", source="encoder.py:12", text="if (x > 0).all():", value="True", inputs=("x",)
)


def positive_nodes(source="x"):
    """The nodes of assumption_0: whether all elements of a value are above 0."""
    return [
        node("ReduceMin", source, "lowest", keepdims=0),
        node("Constant", "", "zero", value=helper.make_tensor("zero", F32, [], [0.0])),
        node("Greater", "lowest zero", POSITIVE.output),
    ]


def write_guarded(folder: Path):
    """Write the affine model with the assumption that x is positive."""
    card = affine_card(assumptions=(POSITIVE,))
    model = affine_model(card, nodes=[*affine_nodes(), *positive_nodes()])
    model.graph.output.append(value(POSITIVE.output, BOOL, []))
    return write(folder, card, {"model.onnx": model})


def write_noisy(folder: Path, *, second=("2*batch",), sample_axis=0):
    """Write y = x + noise_0, u = noise_1, the latter uniform. second: the shape of noise_1 in the card, and sample_axis
    its axis of samples."""
    shape = ["batch", 3]
    card = Card(
        odelet="0.1.0",
        name="Noisy",
        form="unrolled",
        inputs=(
            Tensor(name="x", dtype="float32", shape=("batch", 3)),
            Tensor(name="noise_0", dtype="float32", shape=("batch", 3)),
            Tensor(name="noise_1", dtype="float64", shape=second),
        ),
        outputs=(
            Tensor(name="y", dtype="float32", shape=("batch", 3)),
            Tensor(name="u", dtype="float64", shape=second),
        ),
        program=(RunStep(run="model.onnx"),),
        noise=(
            NoiseCard(name="noise_0", distribution="normal", source="noisy.py:3", sample_axis=0),
            NoiseCard(name="noise_1", distribution="uniform", source="noisy.py:4", sample_axis=sample_axis),
        ),
    )
    model = onnx_model(
        [node("Add", "x noise_0", "y"), node("Identity", "noise_1", "u")],
        [value("x", F32, shape), value("noise_0", F32, shape), value("noise_1", F64, [None] * len(second))],
        [value("y", F32, shape), value("u", F64, [None] * len(second))],
        card=card,
    )
    return write(folder, card, {"model.onnx": model})


def outside(name, shape, *, kind=F32, **where):
    """A tensor whose numbers lie in another file. where: the keys of its place, as texts."""
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, text in {"location": "weights.bin", "offset": "0", **where}.items():
        tensor.external_data.add(key=key, value=text)
    return tensor


def external_model(card, *, location="weights.bin"):
    """y = x + w, with w in a file beside the graph."""
    weight = outside("w", [3], location=location, length="12")
    return onnx_model(
        [node("Add", "x w", "y")],
        [value("x", F32, ["batch", 3])],
        [value("y", F32, ["batch", 3])],
        [weight],
        card=card,
    )
