"""`tune`: the cheapest way to solve a model that is exact enough, of what was measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from odelet.errors import InputError
from odelet.loops.adaptive import DEFAULT_MAX_STEPS
from odelet_export.capture.cache import capturing_once
from odelet_export.model.axes import Dynamic
from odelet_export.model.reference import evaluation_mode
from odelet_export.tuning.candidates import candidates, check_rosters
from odelet_export.tuning.data import read_data
from odelet_export.tuning.metric import Metric
from odelet_export.tuning.pareto import write_picture
from odelet_export.tuning.report import write_page
from odelet_export.tuning.result import Tuning
from odelet_export.tuning.search import Tell, TuningSearch


def tune(
    model: Callable[..., Any],
    data: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    target: float,
    budget_ms: float | None = None,
    metric: Callable[[dict[str, Any], dict[str, Any]], Any] | None = None,
    dynamic: Dynamic | None = None,
    methods: Sequence[str] = (),
    forms: Sequence[str] = (),
    steps: Sequence[int] = (),
    tolerances: Sequence[float] = (),
    batch: int = 1,
    samples: int | None = None,
    threads: int = 1,
    max_steps: int = DEFAULT_MAX_STEPS,
    opset: int = 20,
    freeze: Sequence[str] = (),
    seed: int = 0,
    anew: bool = False,
    tell: Tell | None = None,
) -> Tuning:
    """Find the cheapest way to solve a model whose outputs err by at most `target` on the data.

    model: a module, or any callable. data: arrays by name, those of the model's inputs and any that the metric takes;
    without `dynamic`, the first axis of all inputs that are as long as the first one counts samples and is named
    `batch`. out: a folder; what an interrupted run measured there is gone on with. target: the largest error of any
    output of any sample, relative to the largest element of that output in all data. budget_ms: of a call of `batch`
    samples on this machine. metric: of the outputs and of the data's arrays, dicts by name of the same
    samples; told beside the errors. methods, forms, steps, tolerances: to try, instead of the rosters. samples: of the
    data, at most so many. max_steps, opset, freeze: as in `export`. seed: of the order of samples and of random draws.
    anew: forget what is there. tell: called with stage, count done, count, and what is under way.

    Writes tune.json, tune.md, and where matplotlib is installed pareto.png.

    Raises InputError for data that the model does not take, for a folder that holds measurements of something else,
    and where the reference is not good enough for the target; ExportError for a model that cannot be exported. Nothing
    good enough is no error: `Tuning.choice` is then None.
    """
    _check(target, budget_ms, threads)
    check_rosters(methods, forms, steps, tolerances)
    folder = Path(out)
    options = {"max_steps": max_steps, "opset": opset, "freeze": freeze, "seed": seed}
    measure = None if metric is None else _named(metric)
    with capturing_once() as kept, evaluation_mode(model):
        cut = read_data(model, data, dynamic, batch=batch, samples=samples, seed=seed)
        found = TuningSearch(
            model, cut, folder, measure, options, kept, threads=threads, seed=seed, tell=tell or _silent
        )
        found.begin(target, budget_ms, anew=anew)
        plan = candidates(found.solves, methods=methods, forms=forms, steps=steps, tolerances=tolerances)
        tuning = found.run(plan)
    write_picture(tuning)
    write_page(tuning)
    return tuning


def _check(target: float, budget: float | None, threads: int) -> None:
    if not 0 < target < inf:
        raise InputError(f"--target {target!r} must be a positive number")
    if budget is not None and not 0 < budget < inf:
        raise InputError(f"--budget-ms {budget!r} must be a positive number")
    if threads < 1:
        raise InputError(f"--threads {threads!r} must be at least 1")


def _named(metric: Callable[..., Any]) -> Metric:
    return metric if isinstance(metric, Metric) else Metric(getattr(metric, "__name__", "metric"), metric)


def _silent(stage: str, done: int, count: int, what: str) -> None:
    del stage, done, count, what
