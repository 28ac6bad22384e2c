"""Exports of the workloads for timing. They are always made again, so that no old artifact is measured."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from record import OUT
from solved import Array
from workloads import WORKLOADS

import odelet
from odelet_export import build, export
from odelet_export.commands.floor import Floor
from odelet_export.targets.build.built import Built

# torch.export gives this warning about its own use of torch's pytree.
warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\)", FutureWarning)


@dataclass(frozen=True)
class Exported:
    """An exported workload. folder: the folder of the artifact. form: the form of its solve."""

    folder: Path
    form: str

    def load(self, *, threads: int = 1) -> odelet.Model:
        """The artifact as a model that runs on this number of threads."""
        return odelet.load(self.folder, threads=threads)


def exported(name: str, form: str, **changes: Any) -> Exported:
    """Export a workload for all its batches. changes: arguments of `export` besides those of the workload."""
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    folder = OUT / f"{name}-{form}"
    example = torch.from_numpy(workload.inputs(3 if workload.open else workload.batches[0]))
    dynamic = {"x": {0: "batch"}} if workload.open else None
    options = {**workload.forms.get(form, {}), **changes}
    export(workload.build(), (example,), folder, form=form, dynamic=dynamic, samples=1, **options)
    return Exported(folder, form)


def native_code(
    model: torch.nn.Module, inputs: tuple[torch.Tensor, ...], folder: Path, **options: Any
) -> tuple[odelet.Model, Built]:
    """A model in native code for inputs of these sizes, and the files of its library. options: arguments of `export`.

    Raises ExportError where no library can be built of the model.
    """
    export(model, inputs, folder / "c", profile="c", samples=1, **options)
    built = build(folder / "c", "native", folder / "library").built
    return odelet.load(folder / "c", engine="native", library=folder / "library"), built


def floor_call(artifact: Exported, x: Array, *, threads: int = 1) -> tuple[Any, Any]:
    """A function that runs the floor of a solve of `x`, and the statistics of the solve."""
    solution = artifact.load(threads=threads).solve(x)
    solution.raise_if_failed()
    floor = Floor(artifact.folder, {s.index: s.evaluations for s in solution.stats.solves}, threads=threads)
    feeds = floor.feeds({"x": x})
    return lambda: floor.session.run(None, feeds), solution.stats
