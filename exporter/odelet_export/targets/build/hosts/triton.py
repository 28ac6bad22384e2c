"""The target `triton`: a model repository of NVIDIA's Triton server, whose backend for ONNX runs the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx_ir as ir

from odelet import __version__
from odelet.artifact.folder import CARD_KEY, Checked, check
from odelet.artifact.samples import Sample, samples_of
from odelet.artifact.seal import SEAL_KEY
from odelet.engine.session import Graph, Port, open_session
from odelet_export.lowering.profiles import GENERAL, TRITON
from odelet_export.targets.build.built import Built, Tested
from odelet_export.targets.build.hosts.batch import BatchFirst, batch_first
from odelet_export.targets.build.hosts.checks import as_it_is, run_samples
from odelet_export.targets.build.hosts.fitting import fitted, lone
from odelet_export.targets.onnx_check import check_graph

# The most samples that Triton joins; a user may write another number into config.pbtxt.
MOST_SAMPLES = 64
GRAPH, CONFIG = "1/model.onnx", "config.pbtxt"
_TYPES = {"bool": "TYPE_BOOL", "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64"}
_TYPES |= {f"{kind}{bits}": f"TYPE_{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}


def writer(checked: Checked, name: str, samples: list[Sample]) -> Callable[[Path], Built]:
    """A function that writes the model repository into a folder. name: of the model's folder in it. samples: the
    artifact's samples.

    Raises BuildError for an artifact of several graphs, before anything is written.
    """
    assert checked.folder is not None, "a build takes a folder"
    batch = batch_first(checked.card)
    batched = isinstance(batch, BatchFirst)
    # Triton takes no optional input, and no number without an axis, where it joins samples.
    built = fitted(checked.card, checked.folder, TRITON if batched else GENERAL)
    _, model = lone(built, "triton")
    if isinstance(batch, BatchFirst):
        batch.change(model)
        notes = [f"Triton joins up to {MOST_SAMPLES} samples of several requests; max_batch_size in {CONFIG} says so"]
        if any(solve.chooses_steps and not solve.per_sample for solve in built.card.solves):
            notes.append("samples that are joined share their steps; export with per_sample to give each its own")
    else:
        notes = [f"no dynamic batching: {batch}"]
    shapes = {tensor.name: tensor.shape for tensor in built.card.outputs}
    for value in model.graph.outputs:
        if not batched and value.name in shapes:
            value.shape = ir.Shape(shapes[value.name])

    def write(folder: Path) -> Built:
        (folder / name / "1").mkdir(parents=True)
        for key in (CARD_KEY, SEAL_KEY):
            model.metadata_props.pop(key, None)  # they are of the artifact's graph
        model.producer_name, model.producer_version = "odelet", __version__
        file = folder / name / GRAPH
        ir.save(model, file)
        check_graph(file, model)
        text = config_text(name, Graph.of(GRAPH, open_session(file)), batched=batched)
        (folder / name / CONFIG).write_text(text, encoding="utf-8")
        return Built(name, (f"{name}/{CONFIG}", f"{name}/{GRAPH}"), samples=len(samples), notes=tuple(notes))

    return write


def tested(folder: Path, built: Built, artifact: Path) -> Tested:
    """Run the samples of the artifact by the graph in the repository. The server itself is not run."""
    card = check(artifact).card
    batch = batch_first(card)
    seen = batch.seen if isinstance(batch, BatchFirst) else as_it_is
    return run_samples(folder / built.name / GRAPH, card, samples_of(card, artifact), seen=seen)


def config_text(name: str, graph: Graph, *, batched: bool) -> str:
    """The config.pbtxt of a graph. batched: whether the first axis of every input and output counts samples.

    The sizes are those that ONNX Runtime says of the graph, as Triton compares them with these.
    """
    inputs = [_entry(*named, batched=batched) for named in graph.inputs.items()]
    inputs += [_entry(*named, batched=batched, optional=True) for named in graph.defaults.items()]
    outputs = [_entry(*named, batched=batched) for named in graph.outputs.items()]
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {MOST_SAMPLES if batched else 0}"]
    lines += [line for kind, entries in (("input", inputs), ("output", outputs)) for line in _listed(kind, entries)]
    lines += ["dynamic_batching { }"] if batched else []
    return "\n".join(lines) + "\n"


def _listed(kind: str, entries: Sequence[str]) -> list[str]:
    return [f"{kind} [", ",\n".join(entries), "]"]


def _entry(name: str, port: Port, *, batched: bool, optional: bool = False) -> str:
    """The entry of an input or output. Triton adds the axis of samples itself, where it joins them."""
    sizes = [-1 if size is None else size for size in port.shape][batched:]
    lines = [f'name: "{name}"', f"data_type: {_TYPES[port.dtype]}"]
    # Triton has no arrays without axes: one number goes as an array of one, and is reshaped where samples are joined.
    lines.append(f"dims: [ {', '.join(map(str, sizes)) if sizes else 1} ]")
    lines += ["reshape: { shape: [ ] }"] if batched and not sizes else []
    lines += ["optional: true"] if optional else []
    return "  {\n" + "".join(f"    {line}\n" for line in lines) + "  }"
