"""Fit a classifier of small images; one seed gives one set of weights, interrupted or not.

Every random choice is a function of the seed and of where training stands (epoch or step), never of
a generator's history. A run resumed from its last epoch therefore ends with the very same weights.
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


@dataclass(frozen=True)
class Settings:
    """How to train. Two runs with equal settings, data and versions give equal weights.

    epochs: passes over the training images; learning_rate: the peak of the one-cycle schedule;
    label_smoothing: share of the target spread over all classes, in [0, 1).
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
    """Train a classifier on the training part of `split`; the test part is not looked at.

    build: makes the untrained model, (batch, 64) float32 -> (batch, classes) logits; it runs under
    the seed. checkpoint: file that holds the state of training, rewritten after every epoch. With
    resume, training goes on from it. Trains on the CPU and returns the model in eval mode. The
    caller's random state and determinism switches are as before on return.

    Raises FileNotFoundError when there is nothing to resume, and ValueError when the checkpoint is
    damaged, was made with other settings, or is not named .ckpt.
    """
    settings = settings or Settings()
    checkpoint = Path(checkpoint)
    if checkpoint.suffix != ".ckpt":  # Lightning would add the suffix, and resume not find the file
        raise ValueError(f"checkpoint={str(checkpoint)!r} does not end in .ckpt; pass such a file name")
    if resume:
        _check_resumable(checkpoint, settings)
    else:
        checkpoint.unlink(missing_ok=True)  # or a later resume could pick up an older run
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
    """Return the share of images that the model puts into the right class, from 0 to 1.

    images: (samples, features) float32; labels: (samples,) class numbers.
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

    Writes odenet-digits.safetensors and odenet-digits.json, and while training odenet-digits.ckpt,
    from which `resume` continues. Errors are those of `fit`.
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
        """batch: images (batch, 64) float32 and labels (batch,). Returns the loss, a scalar."""
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
        """Record the settings, so that a resumed run can be refused other ones."""
        checkpoint[SETTINGS_KEY] = asdict(self.settings)


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by -1, 0 or 1 pixel along both axes; empty paper comes in at the edges.

    images: (batch, side * side). Returns the same shape.
    """
    batch, features = images.shape
    side = round(features**0.5)
    padded = nn.functional.pad(images.reshape(batch, side, side), (1, 1, 1, 1))
    offsets = torch.randint(0, 3, (2, batch, 1), generator=generator)
    rows, columns = offsets + torch.arange(side)
    sample = torch.arange(batch)[:, None, None]
    return padded[sample, rows[:, :, None], columns[:, None, :]].reshape(batch, features)


class EpochShuffle(Sampler[int]):
    """Every index once, in an order that depends on the seed and the epoch only."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Lightning calls this before each epoch, after a resume as well."""
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
    # 24 bits of position keep the numbers of distinct (seed, stream, position) apart
    return torch.Generator().manual_seed((seed << 25) + (stream << 24) + position)


def _check_resumable(checkpoint: Path, settings: Settings) -> None:
    if not checkpoint.is_file():
        raise FileNotFoundError(f"resume=True, but there is no checkpoint {checkpoint}; train without resume first")
    try:
        found = torch.load(checkpoint, weights_only=True)[SETTINGS_KEY]
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise ValueError(
            f"{checkpoint} is not a checkpoint of this trainer, or is damaged; delete it, and train without resume"
        ) from error
    if found != asdict(settings):
        raise ValueError(
            f"resume=True with {asdict(settings)}, but {checkpoint} was made with {found}; "
            "pass the same settings, or train without resume"
        )


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed torch and let the caller's random state and determinism switches survive."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # not by Lightning's switch, which also sets an environment variable and leaves both set
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says about hardware, tips and data loading workers."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Lightning's own use of torch's pytree
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
            yield
    finally:
        log.setLevel(level)
