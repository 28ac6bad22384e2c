"""Fit a classifier of small images. A seed decides the weights, whether the run is interrupted or not.

Every random choice is a function of the seed and of the position in training (epoch or step), never of the history of a
generator. A run that is resumed from its last epoch therefore ends with exactly the same weights.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from odelet_models.odenet import digits as odenet_digits
from odelet_train.checkpoint import WeightsCard, save_checkpoint
from odelet_train.data import Split
from odelet_train.data import digits as digits_split

SETTINGS_KEY = "odelet_settings"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train. Two runs with equal settings, data and versions give equal weights.

    epochs: the number of passes over the training images. seed: of all random choices, from 0 to 2**32 - 1. batch_size:
    images per step. learning_rate: the peak of the one-cycle schedule. label_smoothing: the share of the target that is
    spread over all classes, in [0, 1). Raises ValueError for a value out of its range.

    >>> Settings(epochs=2).batch_size
    64
    """

    epochs: int = 40
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-2
    label_smoothing: float = 0.05

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs!r} trains nothing; pass 1 or more")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed!r} is out of range; pass an integer from 0 to 2**32 - 1")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size!r} holds no image; pass 1 or more")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate!r} must be positive; try 1e-2")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing!r} must lie in [0, 1); try 0.05")


def fit(
    build: Callable[[], nn.Module],
    split: Split,
    checkpoint: str | Path,
    *,
    settings: Settings | None = None,
    resume: bool = False,
    progress: bool = True,
) -> nn.Module:
    """Train a classifier on the training part of `split`, and return it in eval mode. The test part is not used.

    build: a function that makes the untrained model, (batch, 64) float32 -> (batch, classes) logits; it is called under
    the seed. checkpoint: the file that holds the state of training; it is written again after every epoch, and must end
    in .ckpt. resume: go on from the checkpoint of an interrupted run. progress: show a progress bar. Training runs on
    the CPU. The caller's random state and determinism switches are restored on return.

    Raises FileNotFoundError when there is nothing to resume, and ValueError when the checkpoint is
    damaged, was made with other settings, or is not named .ckpt.
    """
    settings = settings or Settings()
    checkpoint = Path(checkpoint)
    if checkpoint.suffix != ".ckpt":  # Lightning would add the suffix, and a later resume would not find the file.
        raise ValueError(f"checkpoint={str(checkpoint)!r} does not end in .ckpt; pass such a file name")
    if resume:
        _check_resumable(checkpoint, settings)
    else:
        checkpoint.unlink(missing_ok=True)  # Otherwise a later resume could pick up an older run.
    callbacks: list[Callback] = [
        ModelCheckpoint(
            dirpath=checkpoint.parent,
            filename=checkpoint.stem,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    ]
    if progress:
        callbacks.append(RichProgressBar())
    with _quiet(), _reproducible(settings.seed):
        task = ImageClassifier(build(), settings)
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=settings.epochs,
            logger=False,
            callbacks=callbacks,
            default_root_dir=checkpoint.parent,
            enable_model_summary=False,
            enable_progress_bar=progress,
        )
        trainer.fit(
            task,
            _batches(split, settings),
            ckpt_path=checkpoint if resume else None,
            weights_only=True,
        )
    return task.model.eval()


def accuracy(model: nn.Module, images: ArrayLike, labels: ArrayLike) -> float:
    """The share of images that the model puts into the right class, from 0 to 1.

    images: (samples, features) float32. labels: (samples,) class numbers.

    >>> accuracy(torch.nn.Identity(), torch.eye(4), [0, 1, 2, 0])
    0.75
    """
    with torch.inference_mode():
        predicted = model(torch.as_tensor(images)).argmax(dim=1)
    return (predicted == torch.as_tensor(labels)).double().mean().item()


def train_odenet_digits(
    out: str | Path,
    *,
    settings: Settings | None = None,
    resume: bool = False,
    progress: bool = True,
) -> WeightsCard:
    """Train the ODENet on the 8 x 8 digits, test it once, and write its weights and card to `out`.

    The files are odenet-digits.safetensors and odenet-digits.json, and during training odenet-digits.ckpt, from which
    `resume` goes on. Raises the errors of `fit`.
    """
    settings = settings or Settings()
    split = digits_split()
    checkpoint = Path(out) / "odenet-digits.ckpt"
    model = fit(odenet_digits, split, checkpoint, settings=settings, resume=resume, progress=progress)
    return save_checkpoint(
        model,
        out,
        name="odenet-digits",
        factory="odelet_models.odenet:digits",
        test_accuracy=accuracy(model, split.test_images, split.test_labels),
        settings=asdict(settings),
        split=split,
    )


class ImageClassifier(lightning.LightningModule):
    """What Lightning needs to know: the loss, the optimiser, and what a checkpoint records."""

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings

    def training_step(self, batch: tuple[Tensor, Tensor], _batch_index: int) -> Tensor:
        """The loss of a batch, a scalar. batch: images (batch, 64) float32 and labels (batch,)."""
        images, labels = batch
        images = shift(images, _generator(self.settings.seed, 1, self.global_step))
        loss = nn.functional.cross_entropy(self.model(images), labels, label_smoothing=self.settings.label_smoothing)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Adam under a one-cycle schedule that spans the whole run."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.settings.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.settings.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the settings, so that a run with other settings cannot be resumed from this checkpoint."""
        checkpoint[SETTINGS_KEY] = asdict(self.settings)


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images, each moved by -1, 0 or 1 pixel along both axes; pixels that enter at the edges are empty.

    images: (batch, side * side). The result has the same shape.
    """
    batch, features = images.shape
    side = round(features**0.5)
    padded = nn.functional.pad(images.reshape(batch, side, side), (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (2, batch, 1), generator=generator)
    rows, columns = offsets + torch.arange(side)
    sample = torch.arange(batch)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].reshape(batch, features)


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
        order = torch.randperm(self.size, generator=_generator(self.seed, 0, self.epoch))
        return iter(order.tolist())


def _batches(split: Split, settings: Settings) -> DataLoader[tuple[Tensor, ...]]:
    images, labels = torch.as_tensor(split.train_images), torch.as_tensor(split.train_labels)
    return DataLoader(
        TensorDataset(images, labels),
        batch_size=settings.batch_size,
        sampler=EpochShuffle(len(images), settings.seed),
    )


def _generator(seed: int, stream: int, position: int) -> torch.Generator:
    # With 24 bits for the position, different (seed, stream, position) give different numbers.
    return torch.Generator().manual_seed((seed << 25) + (stream << 24) + position)


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
    """Seed torch and make it deterministic; restore the caller's random state and switches at the end."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Lightning's own switch also sets an environment variable, and leaves both set.
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


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
