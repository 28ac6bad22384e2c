"""Exports the members of a family and calls the artifacts: what `odelet demo` and the page of the zoo show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import odelet
from odelet_export import export
from odelet_models.family import Data, Family, Use
from odelet_train.uses import arrays, export_settings


@dataclass(frozen=True)
class Exhibit:
    """A use of a trained member, exported.

    member, use: the names. folder: of the artifact. error: the largest error of an output against torch in the parity
    report of the export, relative to the largest number of that output. model: the loaded artifact. discrete: whether
    the member solves nothing.
    """

    member: str
    use: str
    folder: Path
    error: float
    model: odelet.Model
    discrete: bool

    @property
    def name(self) -> str:
        """The name of the artifact: the member and the use."""
        return f"{self.member}-{self.use}"

    @property
    def kilobytes(self) -> float:
        """The size of the graphs and weights, in thousands of bytes."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.suffix in (".onnx", ".bin")) / 1e3

    def call(self, *inputs: Tensor) -> Any:
        """The outputs of the artifact, as tensors in the structure in which the member returns them."""
        return _tensors(self.model(*arrays(inputs)))

    def evaluations(self, *inputs: Tensor) -> int | None:
        """How often the artifact evaluates the fields of its solves on these inputs; None where it does not say."""
        stats = self.model.solve(*arrays(inputs)).stats
        return stats.evaluations if stats.solves else None


def exhibits(
    family: Family, out: str | Path, *, announce: Callable[[str], None] = lambda name: None
) -> Iterator[Exhibit]:
    """Export each use of each member of a family to a folder of its own in `out`, and yield the artifacts.

    announce: called with the name of each artifact before its export. Raises ParityError where an artifact does not
    give torch's answers, and FileNotFoundError where a member has no trained weights.
    """
    for member, description in family.members.items():
        network = family.trained(member)
        for name, use in description.uses.items():
            announce(f"{member}-{name}")
            folder = Path(out) / f"{member}-{name}"
            module, inputs = use.module(network).eval(), use.inputs(EXAMPLES)
            exported = export(module, inputs, folder, dynamic=use.dynamic, **export_settings(description, use))
            error = max(output.max_rel for sample in exported.parity.samples for output in sample.outputs)
            model = odelet.load(folder, threads=1)
            yield Exhibit(member, name, folder, error, model, description.discrete)


# The rows of the example that an export traces; every batch is compared with torch at other sizes.
EXAMPLES = 4


def by_torch(family: Family, member: str, use: Use) -> Callable[..., Any]:
    """The torch module of a use of a trained member, called without gradients."""
    module = use.module(family.trained(member)).eval()

    def call(*inputs: Tensor) -> Any:
        with torch.no_grad():
            return module(*inputs)

    return call


def picture(family: Family, calls: Mapping[str, Callable[..., Any]], data: Data, path: Path) -> None:
    """Draw the picture of a family from its artifacts, and write it as a PNG. calls: by the names of the artifacts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    family.draw(figure, calls, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _tensors(value: Any) -> Any:
    """The same structure with tensors in the place of arrays."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # A named tuple takes its parts one by one.
        return type(value)(*map(_tensors, value))
    if isinstance(value, (tuple, list)):
        return type(value)(_tensors(part) for part in value)
    if isinstance(value, dict):
        return {key: _tensors(part) for key, part in value.items()}
    return value
