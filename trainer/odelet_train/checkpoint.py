"""Trained weights on disk: a safetensors file, and a JSON card that says where they come from."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor, nn

from odelet_train.data import Split

# what the numbers of a trained weight depend on
VERSIONED = ("torch", "torchdiffeq", "lightning", "scikit-learn", "numpy")


@dataclass(frozen=True)
class WeightsCard:
    """What is known of trained weights.

    name: stem of both files; factory: module:function that builds the untrained model;
    sha256: of the weights file; parameters: how many numbers it holds; test_accuracy: share of the
    test part classified rightly, from 0 to 1; split: sizes and digest of the data;
    settings: how it was trained; versions: of the packages at work.
    """

    name: str
    factory: str
    weights: str
    sha256: str
    parameters: int
    test_accuracy: float
    split: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]


def save_checkpoint(
    model: nn.Module,
    out: str | Path,
    *,
    name: str,
    factory: str,
    test_accuracy: float,
    settings: dict[str, Any],
    split: Split,
) -> WeightsCard:
    """Write `out`/`name`.safetensors and `out`/`name`.json; return the card.

    The arguments are fields of `Card`. Files of the same name are replaced.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    weights = out / f"{name}.safetensors"
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    weights.write_bytes(save(state))
    card = WeightsCard(
        name=name,
        factory=factory,
        weights=weights.name,
        sha256=_digest(weights),
        parameters=sum(value.numel() for value in state.values()),
        test_accuracy=test_accuracy,
        split={
            "train": len(split.train_labels),
            "test": len(split.test_labels),
            "sha256": split.digest(),
        },
        settings=settings,
        versions=_versions(),
    )
    (out / f"{name}.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    return card


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], WeightsCard]:
    """Read weights and their card; `path` is the .json file.

    Returns the tensors by name, as `load_state_dict` takes them. Raises FileNotFoundError when
    either file is absent, and ValueError when the card is unreadable or does not fit the weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r} is not a file; pass the .json card of trained weights")
    try:
        card = WeightsCard(**json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(
            f"path={str(path)!r} is not a card of trained weights ({error}); pass the .json file that training wrote"
        ) from error
    weights = path.parent / Path(card.weights).name  # a card names a neighbour, never another folder
    if not weights.is_file():
        raise FileNotFoundError(f"{path} names {weights.name}, which is not beside it; keep the two together")
    if (found := _digest(weights)) != card.sha256:
        raise ValueError(
            f"{weights} has sha256 {found}, but its card says {card.sha256}; "
            "one of the two was changed: train again, or restore both"
        )
    return load(weights.read_bytes()), card


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in VERSIONED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
