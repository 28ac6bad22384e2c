"""Writing an artifact: everything into a folder beside the target, then one rename."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from odelet import __version__
from odelet.artifact import CARD_KEY, PART_KEY
from odelet.card import Card, FileEntry, RunStep, Tensor
from odelet.errors import InputError
from odelet.input_cards import AssumptionCard, NoiseCard
from odelet_export.errors import ExportError
from odelet_export.lower import LoweredModel
from odelet_export.noise_inputs import NoiseInput
from odelet_export.work import largest_product

CARD, SAMPLES, WEIGHTS = "odelet.json", "samples.npz", "weights.bin"
# Smaller tensors stay in each graph: a reference to the shared file costs as much.
_SHARED_BYTES = 1024


@contextmanager
def staging(out: Path, *, failed: Path) -> Iterator[Path]:
    """A folder to write into, that becomes `out` when all went well and is removed when not.

    A folder that holds something other than an artifact is never replaced: InputError.
    """
    if out.exists() and not (out.is_dir() and ((out / CARD).is_file() or not any(out.iterdir()))):
        raise InputError(f"out={str(out)!r} exists and is not an artifact; choose another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own around it: the rename must stay on one file system, and names must not clash.
    box = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    folder = box / out.name
    folder.mkdir()
    try:
        yield folder
        _replace(folder, out, box)
    except BaseException as error:
        if getattr(error, "keep", False):
            _replace(folder, failed, box)
        raise
    finally:
        shutil.rmtree(box, ignore_errors=True)


def _replace(folder: Path, target: Path, box: Path) -> None:
    if target.exists():
        target.rename(box / "before")
    folder.rename(target)


def versions(opset: int) -> dict[str, str]:
    """What an export was made with."""
    packages = ("torch", "torchdiffeq", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "numpy")
    return {
        "python": platform.python_version(),
        **{name: version(name).split("+")[0] for name in packages},
        "opset": str(opset),
    }


def card_of(
    lowered: LoweredModel,
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    assumptions: Sequence[AssumptionCard],
    opset: int,
    noise: Sequence[NoiseInput] = (),
) -> Card:
    """The card of a lowered model, before its files are written."""
    return Card(
        odelet=__version__,
        name=name,
        form=lowered.form,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        program=tuple(lowered.program),
        solves=tuple(lowered.solves),
        assumptions=tuple(assumptions),
        noise=tuple(NoiseCard(name=x.name, distribution=x.draw.distribution, source=x.draw.source) for x in noise),
        versions=versions(opset),
        work=largest_product(lowered.graphs.values()),
    )


def tensor_of(value: ir.Value) -> Tensor:
    """An input or output of the host graph, for the card."""
    assert value.name is not None and value.dtype is not None and value.shape is not None
    shape = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    return Tensor(name=value.name, dtype=value.dtype.numpy().name, shape=shape)


def write_graphs(lowered: LoweredModel, card: Card, folder: Path) -> Card:
    """Write the graphs and what they share; return the card with these files listed."""
    _share_weights(lowered.graphs, folder)
    for name, model in lowered.graphs.items():
        model.producer_name, model.producer_version = "odelet", __version__
        model.domain = "odelet"
        if card.program == (RunStep(run=name),):
            model.metadata_props[CARD_KEY] = card.short_json()
        else:
            model.metadata_props[PART_KEY] = card.name
        ir.save(model, folder / name)
        onnx.checker.check_model(str(folder / name), full_check=True)
    files = [WEIGHTS] if (folder / WEIGHTS).exists() else []
    return with_files(card, folder, [*lowered.graphs, *files])


def with_files(card: Card, folder: Path, names: Sequence[str]) -> Card:
    """The card with more files listed, by size and hash."""
    listed = {name: _entry(folder / name) for name in names}
    return replace(card, files={**card.files, **listed})


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def _share_weights(graphs: Mapping[str, ir.Model], folder: Path) -> None:
    """Move weights that several graphs hold into one file."""
    if len(graphs) < 2:
        return
    found: dict[bytes, list[ir.Value]] = {}
    for model in graphs.values():
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= _SHARED_BYTES and tensor.dtype != ir.DataType.STRING:
                key = hashlib.sha256(tensor.tobytes()).digest() + repr((tensor.dtype, tensor.shape)).encode()
                found.setdefault(key, []).append(value)
    shared = {key: values for key, values in found.items() if len(values) > 1}
    if not shared:
        return
    offset = 0
    with (folder / WEIGHTS).open("wb") as file:
        for values in shared.values():
            tensor = values[0].const_value
            assert tensor is not None
            data = tensor.tobytes()
            file.write(data)
            for value in values:
                value.const_value = ir.ExternalTensor(
                    WEIGHTS,
                    offset,
                    len(data),
                    tensor.dtype,
                    shape=ir.Shape(tensor.numpy().shape),
                    name=str(value.name),
                    base_dir=folder,
                )
            # Page alignment lets a runtime map the file instead of copying it.
            padding = -len(data) % 4096
            file.write(bytes(padding))
            offset += len(data) + padding


def write_samples(samples: Sequence[Mapping[str, np.ndarray]], folder: Path) -> list[str]:
    """Write the samples that `odelet verify` runs; returns the names of the files written."""
    if not samples:
        return []
    arrays = {f"{number}/{name}": array for number, sample in enumerate(samples) for name, array in sample.items()}
    np.savez_compressed(folder / SAMPLES, allow_pickle=False, **arrays)
    return [SAMPLES]


def write_card(card: Card, folder: Path) -> None:
    """Write the card, last of all."""
    (folder / CARD).write_text(card.to_json(), encoding="utf-8")


def check_unique(names: Sequence[str]) -> None:
    """Raise ExportError when two inputs or outputs have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ExportError(f"two inputs or outputs are named {twice[0]!r}; rename one in the model")
