"""Fit a network to data by any loss. A seed decides the weights, whether the run is interrupted or not.

Every random choice is a function of the seed and of the position in training (epoch or step), never of the history of a
generator: the random states of torch, NumPy and Python are set anew before each step. A run that is resumed from its
last epoch therefore ends with exactly the same weights, also where the loss draws numbers.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from odelet_train.callback import SolveCallback
from odelet_train.watch.settings import Watching

SETTINGS_KEY = "odelet_settings"
# The streams of random numbers of a run, told apart by their seeds.
ORDER, STEP = 0, 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train. Two runs with equal settings, data and versions give equal weights.

    epochs: the number of passes over the training data. seed: of all random choices, from 0 to 2**32 - 1. batch_size:
    samples per step. learning_rate: the peak of the one-cycle schedule of Adam. weight_decay: the share of each weight
    that is taken away at each step, times the learning rate (AdamW). clip: the largest norm of the gradient of a step;
    None for no limit. kinetic, jacobian, second, steer, adjoint: what is changed inside the solves, as in
    `odelet_train.watched`. Raises ValueError for a value out of its range.

    >>> Settings(epochs=2).batch_size
    64
    """

    epochs: int = 40
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-2
    weight_decay: float = 0.0
    clip: float | None = None
    kinetic: float = 0.0
    jacobian: float = 0.0
    second: float = 0.0
    steer: float = 0.0
    adjoint: bool = False

    def __post_init__(self) -> None:
        Watching(**self.watching)  # raises for a value out of its range
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs!r} trains nothing; pass 1 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed!r} is out of range; pass an integer from 0 to 2**32 - 1")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size!r} holds no sample; pass 1 or more")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate!r} must be positive; try 1e-2")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay={self.weight_decay!r} must be 0 or more; try 1e-2")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip!r} must be positive, or None for no limit; try 1.0")

    @property
    def watching(self) -> dict[str, Any]:
        """The arguments of `watched`, by name."""
        return {f.name: getattr(self, f.name) for f in fields(Watching)}


def fit(
    build: Callable[[], nn.Module],
    data: Sequence[Tensor],
    checkpoint: str | Path,
    *,
    loss: Callable[..., Tensor],
    settings: Settings | None = None,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> nn.Module:
    """Train a network, and return it in eval mode.

    build: a function that makes the untrained network; it is called under the seed. data: tensors with equally many
    rows, one row a sample. loss: (network, *tensors of a batch) -> scalar; what it draws from the random states of
    torch, NumPy and Python depends on the seed and the step alone. checkpoint: the file that holds the state of
    training; it is written again after every epoch, and must end in .ckpt. resume: go on from the checkpoint of an
    interrupted run. progress: show a progress bar. callbacks: of Lightning. Training runs on the CPU. The caller's
    random states and determinism switches are restored on return.

    Raises FileNotFoundError when there is nothing to resume, and ValueError when the checkpoint is damaged, was made
    with other settings, or is not named .ckpt, and where a loss or a trained weight is not finite.
    """
    settings = settings or Settings()
    checkpoint = Path(checkpoint)
    if checkpoint.suffix != ".ckpt":  # Lightning would add the suffix, and a later resume would not find the file.
        raise ValueError(f"checkpoint={str(checkpoint)!r} does not end in .ckpt; pass such a file name")
    if resume:
        _check_resumable(checkpoint, settings)
    else:
        checkpoint.unlink(missing_ok=True)  # Otherwise a later resume could pick up an older run.
    with _quiet(), _reproducible(settings.seed):
        task = Task(build(), loss, settings)
        _check_last_batch(task.network, len(data[0]), settings.batch_size)
        trainer = _trainer(settings, checkpoint, progress=progress, callbacks=callbacks)
        trainer.fit(
            task,
            _batches(data, settings),
            ckpt_path=checkpoint if resume else None,
            weights_only=True,
        )
    broken = [name for name, value in task.network.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"training ends with {broken[0]} that is not finite; lower the learning rate, or set clip")
    return task.network.eval()


def _trainer(
    settings: Settings, checkpoint: Path, *, progress: bool, callbacks: Sequence[Callback]
) -> lightning.Trainer:
    """The trainer of a run, which keeps its state in a checkpoint."""
    saved = ModelCheckpoint(
        dirpath=checkpoint.parent,
        filename=checkpoint.stem,
        save_top_k=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    return lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=settings.epochs,
        logger=False,
        callbacks=[
            saved,
            SolveCallback(**settings.watching),
            *([RichProgressBar()] if progress else []),
            *callbacks,
        ],
        default_root_dir=checkpoint.parent,
        enable_model_summary=False,
        enable_progress_bar=progress,
        gradient_clip_val=settings.clip,
    )


class Task(lightning.LightningModule):
    """What Lightning needs to know: the loss, the optimiser, and what a checkpoint records."""

    def __init__(self, network: nn.Module, loss: Callable[..., Tensor], settings: Settings) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.settings = settings

    def training_step(self, batch: Sequence[Tensor], _batch_index: int) -> Tensor:
        """The loss of a batch, a scalar."""
        _set_random_states(_seed(self.settings.seed, STEP, self.global_step))
        loss = self.loss(self.network, *batch)
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} in epoch {self.current_epoch + 1}, step {self.global_step + 1}; look for "
                "NaN in the data, lower the learning rate, or set clip"
            )
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Adam under a one-cycle schedule that spans the whole run."""
        settings = self.settings
        optimizer = torch.optim.AdamW(self.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=settings.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the settings, so that a run with other settings cannot be resumed from this checkpoint."""
        checkpoint[SETTINGS_KEY] = asdict(self.settings)


class EpochShuffle(Sampler[int]):
    """Samples every index once per epoch, in an order that depends only on the seed and the epoch."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch. Lightning calls this before each epoch, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(_seed(self.seed, ORDER, self.epoch))
        return iter(torch.randperm(self.size, generator=generator).tolist())


def _check_last_batch(network: nn.Module, rows: int, batch_size: int) -> None:
    """Raise ValueError where the last batch has one row, which a batch normalization cannot train on."""
    # torch has no public name for the class that all batch normalizations share.
    if min(rows, batch_size) == 1 or rows % batch_size == 1:
        for name, layer in network.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                raise ValueError(
                    f"batch_size={batch_size} leaves one of {rows} rows for the last batch, on which the batch "
                    f"normalization {name!r} cannot train; pass another batch size"
                )


def _batches(data: Sequence[Tensor], settings: Settings) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(
        TensorDataset(*data),
        batch_size=settings.batch_size,
        sampler=EpochShuffle(len(data[0]), settings.seed),
    )


def _seed(seed: int, stream: int, position: int) -> int:
    # With 24 bits for the position, different (seed, stream, position) give different numbers.
    return (seed << 25) + (stream << 24) + position


def _set_random_states(seed: int) -> None:
    # torchsde draws the key of a path from NumPy's state.
    torch.manual_seed(seed)
    np.random.seed([seed % 2**32, seed // 2**32])  # It is this state that others draw from.
    random.seed(seed)


def _check_resumable(checkpoint: Path, settings: Settings) -> None:
    if not checkpoint.is_file():
        raise FileNotFoundError(f"resume=True, but there is no checkpoint {checkpoint}; train without resume first")
    try:
        earlier = torch.load(checkpoint, weights_only=True)[SETTINGS_KEY]
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise ValueError(
            f"{checkpoint} is not a checkpoint of this trainer, or is damaged; delete it, and train without resume"
        ) from error
    if earlier != asdict(settings):
        raise ValueError(
            f"resume=True with {asdict(settings)}, but {checkpoint} was made with {earlier}; "
            "pass the same settings, or train without resume"
        )


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed torch and make it deterministic; restore the caller's random states and switches at the end."""
    states = np.random.get_state(), random.getstate()
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        _set_random_states(seed)
        # Lightning's own switch also sets an environment variable, and leaves both set.
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            np.random.set_state(states[0])
            random.setstate(states[1])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's messages about hardware, tips and workers that load data."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # This warning is about Lightning's own use of torch's pytree.
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
            yield
    finally:
        log.setLevel(level)
