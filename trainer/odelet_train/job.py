"""Trains one network, tests it once, writes its weights with a card, and exports it, as all trainings do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from odelet.errors import InputError
from odelet_intercept.user_code import as_typed, place_of_error
from odelet_models.family import Data, Use
from odelet_train.checkpoint import WeightsCard, save_checkpoint
from odelet_train.device import DeviceCost, exported
from odelet_train.fitting import Settings, fit


@dataclass(frozen=True, kw_only=True)
class Job:
    """A network to train.

    name: the stem of its files. built_by: `module:name` of what builds it. build: makes the untrained network. data:
    divided into a part to train on and a part to test on. loss: (network, *tensors of a batch) -> scalar. metric: the
    name of what `score` returns for the trained network. uses: how devices call it, by name. settings: of training,
    where they are not the defaults.
    """

    name: str
    built_by: str
    build: Callable[[], nn.Module]
    data: Data
    loss: Callable[..., Tensor]
    metric: str
    score: Callable[[nn.Module], float]
    uses: Mapping[str, Use]
    settings: Mapping[str, Any] = field(default_factory=dict)


def perform(
    job: Job,
    out: str | Path,
    *,
    changes: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: bool = True,
    export: Mapping[str, Any] | None = None,
) -> tuple[WeightsCard, dict[str, DeviceCost]]:
    """Train, test once, write the weights and their card to `out`, and export each use.

    changes: settings of training that differ from the job's own. export: settings of the exports, None for none. The
    files are NAME.safetensors and NAME.json, the artifacts the folders NAME-USE, or NAME where there is one use; during
    training there is NAME.ckpt, from which `resume` goes on. Returns the card, and what each artifact costs.

    Raises the errors of `fit` and of `odelet_export.export`, and InputError for a loss that fails on the data.
    """
    settings = Settings(**{**job.settings, **(changes or {})})
    _try(job, settings)
    checkpoint = Path(out) / f"{job.name}.ckpt"
    network = fit(
        job.build, job.data.train, checkpoint, loss=job.loss, settings=settings, resume=resume, progress=progress
    )
    card = save_checkpoint(
        network,
        out,
        name=job.name,
        built_by=job.built_by,
        data=job.data,
        settings=asdict(settings),
        metric=job.metric,
        score=job.score(network),
    )
    costs = {}
    for name, use in job.uses.items() if export is not None else ():
        folder = Path(out) / (job.name if len(job.uses) == 1 else f"{job.name}-{name}")
        settings_of_use = {"dynamic": use.dynamic, **use.settings, **(export or {})}
        costs[name] = exported(use.module(network), use.inputs(4), folder, settings_of_use)
    return card, costs


def _try(job: Job, settings: Settings) -> None:
    """Compute the loss of one batch. Raises InputError where that fails, with the line of the user's code."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = job.build().train()
        batch = [tensor[: settings.batch_size] for tensor in job.data.train]
        try:
            loss = job.loss(network, *batch)
        except Exception as error:
            place = place_of_error(error)
            where = f"{as_typed(place)}: " if place is not None else ""
            shapes = ", ".join(f"{tuple(x.shape)} {x.dtype}" for x in batch)
            raise InputError(f"{where}the loss of a batch ({shapes}) raises {type(error).__name__}: {error}") from error
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise InputError(
            f"the loss of a batch is {loss!r}; it must be a tensor of one number that depends on the weights"
        )
