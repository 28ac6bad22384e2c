"""The card and the .onnx files of a lowered model."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from odelet import __version__
from odelet.artifact.call_card import CallCard
from odelet.artifact.card import Card, Tensor
from odelet.artifact.folder import CARD_KEY, PART_KEY
from odelet.artifact.hazards import check_hazards
from odelet.artifact.input_cards import AssumptionCard, NoiseCard
from odelet.artifact.needs_card import NeedsCard
from odelet.artifact.operators import check_operators
from odelet.artifact.program_steps import RunStep
from odelet.artifact.proto import scan
from odelet.artifact.seal import BLANK, SEAL_KEY, sealed
from odelet.artifact.weights import weights_of
from odelet.artifact.work_card import ProductCard
from odelet.engine.versions import OLDEST
from odelet.errors import ArtifactError
from odelet_export.capture.captured import Captured
from odelet_export.capture.noise_inputs import NoiseInput
from odelet_export.errors import output_errors
from odelet_export.graphs.work import largest_by_axes, largest_product
from odelet_export.lowering.lower import LoweredModel
from odelet_export.lowering.sample_axis import place_of
from odelet_export.targets.folder import with_files
from odelet_export.targets.onnx_check import check_graph
from odelet_export.targets.replaceable import WEIGHTS
from odelet_export.targets.weights_file import move_weights
from odelet_intercept.errors import ExportError

# The lowest ONNX Runtime that loads graphs of an opset; of the opsets that are not here, every version that odelet
# accepts does. Measured with benchmarks/engines.py.
_ENGINES = {22: (1, 21), 23: (1, 23)}
# Nodes have metadata from this version of ONNX's file format on.
_IR_WITH_METADATA = 10


def versions(opset: int) -> dict[str, str]:
    """The versions of the packages that an export was made with, and the opset."""
    packages = ("torch", "torchdiffeq", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "numpy")
    return {
        "python": platform.python_version(),
        **{name: version(name).split("+")[0] for name in packages},
        "opset": str(opset),
    }


def ir_version_of(model: ir.Model) -> int:
    """The lowest version of ONNX's file format that a graph needs, and never a higher one than the graph has.

    That is the version that came with the opset, or 10 where the nodes have kept what torch says of them.
    """
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    lowest = onnx.helper.find_min_ir_version_for(opsets)
    if any(node.metadata_props for node in model.graph.all_nodes()):
        lowest = max(lowest, _IR_WITH_METADATA)
    return min(lowest, model.ir_version)


def _needs(graphs: Sequence[ir.Model], opset: int) -> NeedsCard:
    engine = max(OLDEST, _ENGINES.get(opset, OLDEST))
    return NeedsCard(
        onnxruntime=".".join(map(str, engine)), opset=opset, ir=max(ir_version_of(model) for model in graphs)
    )


def card_of(
    lowered: LoweredModel,
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    assumptions: Sequence[AssumptionCard],
    opset: int,
    noise: Sequence[NoiseInput] = (),
    call: CallCard | None = None,
    *,
    samples: str | None = None,
) -> Card:
    """The card of a lowered model, before its files are written. call: the model's own call. samples: the name of the
    axis that counts samples."""
    shapes = {tensor.name: tensor.shape for tensor in inputs}
    axes = {size for tensor in inputs for size in tensor.shape if isinstance(size, str)}
    products = largest_by_axes(lowered.graphs.values(), axes)
    return Card(
        odelet=__version__,
        name=name,
        form=lowered.form,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        program=tuple(lowered.program),
        solves=tuple(lowered.solves),
        assumptions=tuple(assumptions),
        noise=tuple(
            NoiseCard(
                name=x.name,
                distribution=x.draw.distribution,
                source=x.draw.source,
                **_axes(x.name, lowered, shapes[x.name], samples),
            )
            for x in noise
        ),
        versions=versions(opset),
        work=largest_product(lowered.graphs.values()),
        products=tuple(ProductCard(work=work, axes=axes) for axes, work in sorted(products.items())),
        needs=_needs([*lowered.graphs.values()], opset),
        call=call,
    )


def _axes(name: str, lowered: LoweredModel, shape: Sequence[int | str], samples: str | None) -> dict[str, int | None]:
    """The axes of a noise that count samples and steps. samples: the name of the axis that counts samples."""
    motions = [solve.brownian for solve in lowered.solves if solve.brownian is not None]
    if not any(name in motion.inputs for motion in motions):
        return {"sample_axis": place_of(samples, shape)}
    return {"sample_axis": 0} if len(shape) == 1 else {"step_axis": 0, "sample_axis": 1}


def tensor_of(value: ir.Value) -> Tensor:
    """The card entry of an input or output of the host graph."""
    assert value.name is not None and value.dtype is not None and value.shape is not None
    shape = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    return Tensor(name=value.name, dtype=value.dtype.numpy().name, shape=shape)


def host_tensors(captured: Captured) -> tuple[list[Tensor], list[Tensor]]:
    """The card entries of the inputs and outputs of a host graph, without the outputs that check assumptions."""
    graph = captured.model.graph
    guards = {one.output for one in captured.assumptions}
    outputs = [tensor_of(value) for value in graph.outputs if value.name not in guards]
    inputs = [replace(tensor_of(value), size=captured.numbers.get(str(value.name), "")) for value in graph.inputs]
    return inputs, outputs


def write_graphs(lowered: LoweredModel, card: Card, folder: Path) -> Card:
    """Write the graphs and the weights that they share. Returns the card with these files listed.

    A model of one graph carries its card and its digest, so that the .onnx file alone can be loaded. Raises ExportError
    for a graph with an operator that the runtime would refuse and for one that onnx's checker refuses, OutputError
    where a file cannot be written.
    """
    with output_errors(Path(folder.name)):
        return _written(lowered, card, folder)


def _written(lowered: LoweredModel, card: Card, folder: Path) -> Card:
    move_weights(lowered.graphs, folder)
    for name, model in lowered.graphs.items():
        model.producer_name, model.producer_version = "odelet", __version__
        model.domain = "odelet"
        model.ir_version = ir_version_of(model)
        if card.program == (RunStep(run=name),):
            model.metadata_props[CARD_KEY] = card.short_json()
            model.metadata_props[SEAL_KEY] = BLANK
        else:
            model.metadata_props[PART_KEY] = card.name
        ir.save(model, folder / name)
        if SEAL_KEY in model.metadata_props:
            (folder / name).write_bytes(sealed((folder / name).read_bytes(), name=name))
        _check_loadable(folder / name)
        check_graph(folder / name, model)
    files = [WEIGHTS] if (folder / WEIGHTS).exists() else []
    return with_files(card, folder, [*lowered.graphs, *files])


def _check_loadable(file: Path) -> None:
    """Raise ExportError for a graph that the runtime would not load, by the runtime's own check."""
    try:
        data = file.read_bytes()
        facts = scan(data, name=file.name)
        check_operators(file.name, facts)
        shared = {WEIGHTS: np.memmap(file.parent / WEIGHTS, np.uint8, mode="r")} if facts.weights else {}
        check_hazards(data, facts, weights_of(file.name, facts.weights, shared), name=file.name)
    except ArtifactError as error:
        raise ExportError(
            f"the runtime would not load this export: {error}\n  do: write the model with other functions of tensors; "
            "docs/artifact.md says what a graph may use"
        ) from None


def check_unique(names: Sequence[str]) -> None:
    """Raise ExportError where two inputs or outputs of a model have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ExportError(f"two inputs or outputs are named {twice[0]!r}; rename one in the model")
