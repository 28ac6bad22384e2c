"""The work of `odelet train`: from text to a job, and from its results to text."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from odelet.errors import InputError
from odelet_train.device import read_settings
from odelet_train.job import Job, perform
from odelet_train.zoo import job_of


def train(
    target: str,
    out: Path,
    *,
    data: str | None,
    loss: str | None,
    held_out: float,
    changes: dict[str, Any],
    resume: bool,
    export: str | None,
    progress: bool,
) -> list[str]:
    """Train what the text names, and return what there is to say of it, line by line.

    Raises InputError for text that names nothing, and the errors of `perform`.
    """
    settings = None if export is None else read_settings(export)
    chosen: AbstractContextManager[Job]
    if ":" in target:
        from odelet_train.given import job_given

        chosen = job_given(target, data, loss, held_out=held_out)
    else:
        for name, value in (("--data", data), ("--loss", loss)):
            if value is not None:
                raise InputError(f"{name} {value}: a member of the zoo has its own; leave it out, or name MODULE:CLASS")
        chosen = nullcontext(job_of(target))
    with chosen as job:
        card, costs = perform(job, out, changes=changes, resume=resume, progress=progress, export=settings)
    lines = [f"{card.metric} {card.score:.4g} on {card.data['test']} test samples; wrote {out / card.weights}"]
    return lines + [str(cost) for cost in costs.values()]
