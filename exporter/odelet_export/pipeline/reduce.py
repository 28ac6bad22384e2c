"""Stores the weights of a proved artifact in fewer bits, and measures how far its answers then are from torch's.

The law here: an artifact is proved with its weights as they are first, so that what is measured afterwards is the error
of the weights alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from odelet.artifact.card import Card
from odelet.model.loading import load
from odelet.numerics.backend import NumpyArray
from odelet_export.calibration.calibrated import Calibrated
from odelet_export.errors import FormError
from odelet_export.graphs.stored_weights import FEWEST, store_weights
from odelet_export.lowering.lower import LoweredModel
from odelet_export.lowering.profiles import PROFILES
from odelet_export.pipeline.prove import Prover
from odelet_export.pipeline.settings import ExportSettings
from odelet_export.pipeline.weights_settings import WeightsSettings
from odelet_export.proof.data import Data, read_data, scaled_error
from odelet_export.proof.metric import Metric
from odelet_export.proof.reduced import MetricValues, ReducedErrors
from odelet_export.proof.report import Report
from odelet_export.targets.onnx_files import write_graphs

# An output of zeros may differ by this much.
_ATOL = 1e-6
# So many samples of the data are one call, where the sizes of the model's inputs may change.
_BATCH = 64


def check_reducible(settings: ExportSettings) -> None:
    """Raise FormError where the profile of an export has no weights in fewer bits."""
    profile, storage = PROFILES[settings.profile], settings.storage
    if storage.reduced and not profile.onnxruntime:
        raise FormError(
            f"weights={storage.weights!r} and the profile {profile.name}, for {profile.about}, do not go together: its "
            "engine is not ONNX Runtime; leave one of them out"
        )


def reduced(
    prover: Prover, card: Card, lowered: LoweredModel, calibrated: Calibrated | None, proved: Report
) -> tuple[Card, Report]:
    """Store the weights of an artifact that gives torch's answers in fewer bits. Returns its card, and the report of
    its comparison with torch.

    lowered: its graphs, which change. proved: the report of the comparison before. Raises FormError for a model without
    a weight to store, and InputError for data that do not fit.
    """
    ready, folder = prover.ready, prover.folder
    storage = ready.settings.storage
    assert storage.max_error is not None
    data = _data(prover, storage)
    done = store_weights(lowered.graphs, storage.weights)
    if not done.weights:
        raise FormError(
            f"weights={storage.weights!r}: the model has no weight of two axes and {FEWEST} numbers in a product, a "
            "convolution or a table, which are those that are stored in fewer bits; leave weights (--weights-as) out"
        )
    card = _written_again(lowered, replace(card, weights=storage.weights, files={}), folder)
    judge = replace(ready.judge, tolerance=(storage.max_error, _ATOL), reduced=True)
    report = replace(prover, ready=replace(ready, judge=judge)).report(card, calibrated)
    errors = ReducedErrors(
        *(storage.weights, storage.max_error, done.weights, done.products, done.before, done.after, proved.max_rel)
    )
    if data is not None and report.passed:
        errors = _on_data(errors, prover, data, storage)
    return card, replace(report, reduced=errors)


def _written_again(lowered: LoweredModel, card: Card, folder: Path) -> Card:
    """Write the graphs in the place of those that are there, whose file of weights is read meanwhile."""
    new = folder / "again"
    new.mkdir()
    card = write_graphs(lowered, card, new)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    for path in list(new.iterdir()):
        shutil.move(path, folder / path.name)
    new.rmdir()
    return card


def _data(prover: Prover, storage: WeightsSettings) -> Data | None:
    if storage.data is None:
        return None
    ready = prover.ready
    callee, dynamic = ready.judge.callee, ready.dynamic
    axes = {name: dict(labels) for name, labels in dynamic.items()}
    return read_data(callee.model, storage.data, axes, batch=1, samples=None, seed=0)


def _on_data(errors: ReducedErrors, prover: Prover, data: Data, storage: WeightsSettings) -> ReducedErrors:
    """The errors with those on the user's data, and the metric."""
    ready = prover.ready
    model, judge = load(prover.folder), ready.judge
    axes = [x.shape.index(data.label) if data.label in x.shape else None for x in model.outputs]
    theirs: list[list[NumpyArray]] = []
    ours: list[list[NumpyArray]] = []
    together = 1 if data.label is None else min(_BATCH, data.calls)
    for number in range(0, data.calls, together):
        arrays = data.call(number, min(together, data.calls - number))
        tensors = [torch.from_numpy(arrays[name].copy()) for name in judge.callee.names]
        sample = judge.solved_alone(judge.sample(number, tensors))
        noise = {x.name: sample.noise[x.draw.index].numpy() for x in judge.noise}
        solution = model.solve(*(({**arrays, **noise})[x.name] for x in model.inputs)).raise_if_failed()
        theirs.append(list(sample.expected))
        ours.append([solution.outputs[x.name] for x in model.outputs])
    scales = [max(float(np.max(np.abs(x), initial=0.0)) for x in each) for each in zip(*theirs, strict=True)]
    names = [x.name for x in model.outputs]
    worst = {
        name: max(
            float(scaled_error([one[i]], [other[i]], [scales[i] or 1.0], [axes[i]]).max())
            for one, other in zip(ours, theirs, strict=True)
        )
        for i, name in enumerate(names)
    }
    metric = None
    if storage.metric is not None:
        of = Metric(getattr(storage.metric, "__name__", "metric"), storage.metric)
        given = data.arrays(data.calls)
        values = [of(_joined(names, axes, outputs), given) for outputs in (theirs, ours)]
        metric = MetricValues(of.name, values[0], values[1], storage.max_change)
    return replace(errors, samples=data.samples, errors=worst, metric=metric)


def _joined(names: list[str], axes: list[int | None], outputs: list[list[NumpyArray]]) -> Mapping[str, NumpyArray]:
    return {
        name: np.concatenate([call[i] for call in outputs], axes[i] or 0)
        if axes[i] is not None or len(outputs) > 1
        else outputs[0][i]
        for i, name in enumerate(names)
    }
