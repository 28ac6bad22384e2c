"""Trained weights on disk: a safetensors file, and a JSON card that says where the weights come from."""

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

from odelet_models.family import Data

# The packages whose versions the numbers of trained weights depend on.
VERSIONED = ("torch", "torchdiffeq", "lightning", "scikit-learn", "numpy")


@dataclass(frozen=True)
class WeightsCard:
    """The card of trained weights: where they come from, and how good they are.

    name: the stem of both files. built_by: the `module:function` or class that builds the untrained network. weights:
    the name of the weights file, which lies beside the card. sha256: the digest of the weights file, in hex.
    parameters: how many numbers the file holds. metric, score: what was measured on the test part, and the result;
    None where nothing was. data: the numbers of samples, and the digest of the data. settings: the fields of `Settings`
    at training. versions: the versions of the packages that took part, by name.
    """

    name: str
    built_by: str
    weights: str
    sha256: str
    parameters: int
    metric: str | None
    score: float | None
    data: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]


def save_checkpoint(
    network: nn.Module,
    out: str | Path,
    *,
    name: str,
    built_by: str,
    data: Data,
    settings: dict[str, Any],
    metric: str | None = None,
    score: float | None = None,
) -> WeightsCard:
    """Write `out`/`name`.safetensors and `out`/`name`.json, and return the card.

    The other arguments are fields of `WeightsCard`. Files of the same name are replaced.

    >>> import tempfile, torch
    >>> from odelet_models.family import Data
    >>> data = Data(train=(torch.zeros(4, 64),), test=(torch.zeros(1, 64),))
    >>> out = tempfile.mkdtemp()
    >>> card = save_checkpoint(nn.Linear(64, 10), out, name="linear", built_by="mine:linear", data=data, settings={})
    >>> card.parameters
    650
    >>> sorted(load_checkpoint(f"{out}/linear.json")[0])
    ['bias', 'weight']
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    weights = out / f"{name}.safetensors"
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    weights.write_bytes(save(state))
    card = WeightsCard(
        name=name,
        built_by=built_by,
        weights=weights.name,
        sha256=_digest(weights),
        parameters=sum(value.numel() for value in state.values()),
        metric=metric,
        score=score,
        data={"train": data.rows[0], "test": data.rows[1], "sha256": data.digest()},
        settings=settings,
        versions=_versions(),
    )
    (out / f"{name}.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    return card


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], WeightsCard]:
    """The weights and their card. path: the .json file that `save_checkpoint` wrote.

    The weights are tensors by name, as `load_state_dict` takes them. Raises FileNotFoundError when either file is
    absent, and ValueError when the card is unreadable or does not fit the weights. `save_checkpoint` has an example.
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
    weights = path.parent / Path(card.weights).name  # A card names a file beside it, never one in another folder.
    if not weights.is_file():
        raise FileNotFoundError(f"{path} names {weights.name}, which is not beside it; keep the two together")
    if (digest := _digest(weights)) != card.sha256:
        raise ValueError(
            f"{weights} has sha256 {digest}, but its card says {card.sha256}; "
            "one of the two was changed: train again, or restore both"
        )
    return load(weights.read_bytes()), card


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in VERSIONED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
