"""What a solve inside a graph says of itself.

The law here: what the graph does not say, the card does, or nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from odelet.artifact.solve_card import SolveCard
from odelet.loops.stats import SampleStats, SolveStats, status_of
from odelet.numerics.backend import NumpyArray
from odelet.status import Status


def reported_stats(solve: SolveCard, values: Mapping[str, NumpyArray]) -> SolveStats:
    """What a solve did: the values that its graph gave, by name, completed by what the card knows."""
    if solve.per_sample:
        said = {key: values[name] for key, name in solve.report.items()}
        samples = SampleStats.of(said["status"], said.get("time"), said["steps"], said["accepted"])
        rounds = max(samples.steps, default=0)
        known = solve.evaluations
        calls = None if known is None else known.start + known.step * rounds
        return SolveStats.of_samples(
            samples, index=solve.index, method=solve.method, form=solve.form, evaluations=calls, source=solve.source
        )
    told = {key: values[name].item() for key, name in solve.report.items() if key != "error_ratio"}
    ratios = values[solve.report["error_ratio"]] if "error_ratio" in solve.report else None
    steps = told.get("steps", solve.steps)
    # Only the form with error control inside the graph can reject a step.
    accepted = told.get("accepted", steps if solve.form != "adaptive" else None)
    evaluations = told.get("evaluations")
    if steps is not None and solve.evaluations is not None:
        evaluations = solve.evaluations.start + solve.evaluations.step * steps
    status = status_of(told.get("status", 0))
    if ratios is not None and status is Status.OK and not (ratios <= 1).all():
        status = Status.OUT_OF_TOLERANCE if np.isfinite(ratios).all() else Status.NOT_FINITE
    return SolveStats(
        index=solve.index,
        method=solve.method,
        form=solve.form,
        steps=steps,
        accepted=accepted,
        rejected=None if steps is None or accepted is None else steps - accepted,
        evaluations=evaluations,
        status=status,
        time=told.get("time"),
        source=solve.source,
        unconverged=told.get("unconverged"),
        nested=solve.nested,
        error_ratio=None if ratios is None else tuple(ratios.tolist()),
    )
