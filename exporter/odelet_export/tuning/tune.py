"""The function `tune`: it finds the cheapest way to solve a model that is exact enough, by measuring."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

from odelet_export.capture.cache import capturing_once
from odelet_export.model.number_inputs import GivenDynamic
from odelet_export.model.reference import evaluation_mode
from odelet_export.proof.data import read_data
from odelet_export.proof.metric import Metric, MetricFunction
from odelet_export.tuning.candidates import candidates, check_rosters
from odelet_export.tuning.pareto import write_picture
from odelet_export.tuning.report import write_page
from odelet_export.tuning.result import Tuning
from odelet_export.tuning.search import Tell, TuningSearch
from odelet_export.tuning.settings import TuneChanges, TuneSettings


def tune(
    model: Callable[..., Any],
    data: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    metric: MetricFunction | None = None,
    dynamic: GivenDynamic | None = None,
    anew: bool = False,
    tell: Tell | None = None,
    settings: TuneSettings | None = None,
    **changes: Unpack[TuneChanges],
) -> Tuning:
    """Find the cheapest way to solve a model whose outputs err by at most `target` on the data.

    model: a module, or any callable. data: arrays by name: the model's inputs, and any others that the metric takes.
    out: a folder; rows that an interrupted run left there are used again. metric: called with the outputs and with the
    arrays of the data, both dicts by name, for the same samples; its result is reported beside the errors. dynamic: as
    in `export`, also with a label for an input that is a number; without axes, the first axis of every input that is as
    long as the first input's counts samples and is
    named `batch`. anew: whether rows in `out` are discarded. tell: called with a stage, the count of its work done, the
    count of all its work, and the work under way. settings: see `TuneSettings`; changes: some of them as keywords,
    `target` among them where settings are not given.

    Writes tune.json, tune.md and, where matplotlib is installed, pareto.png. Where no candidate is good enough,
    `Tuning.choice` is None.

    Raises InputError for data that the model does not take, for a folder with measurements of something else, and for
    a target below what the reference resolves; FormError for an unknown method or form; ExportError for a model that
    cannot be exported; TypeError for an unknown keyword.

    >>> import numpy as np, tempfile, torch
    >>> from torchdiffeq import odeint
    >>> def decay(x):
    ...     return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0], dtype=x.dtype))[-1]
    >>> tried = {"methods": ["rk4"], "forms": ["unrolled"], "steps": [1, 4], "no_native": True}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tuning = tune(decay, {"x": np.ones((4, 2))}, folder, target=1e-3, **tried)
    >>> str(tuning.choice.candidate)
    'rk4, 4 steps, unrolled'
    """
    settings = TuneSettings.of(**changes) if settings is None else settings.having(**changes)
    check_rosters(settings.tried)
    measure = None if metric is None else _named(metric)
    with capturing_once() as captures, evaluation_mode(model):
        cut = read_data(model, data, dynamic, batch=settings.batch, samples=settings.samples, seed=settings.seed)
        search = TuningSearch(model, cut, Path(out), measure, settings, captures, tell=tell or _silent)
        search.begin(anew=anew)
        tuning = search.run(candidates(search.solves, settings.tried, target=settings.target))
    write_picture(tuning)
    write_page(tuning)
    return tuning


def _named(metric: MetricFunction) -> Metric:
    return metric if isinstance(metric, Metric) else Metric(getattr(metric, "__name__", "metric"), metric)


def _silent(stage: str, done: int, count: int, what: str) -> None:
    del stage, done, count, what
