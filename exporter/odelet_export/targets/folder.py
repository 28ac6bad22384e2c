"""Writing an artifact: everything into a folder beside the target, then one rename."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from odelet.artifact.card import Card, FileEntry
from odelet.errors import InputError

CARD, SAMPLES, WEIGHTS = "odelet.json", "samples.npz", "weights.bin"


@contextmanager
def staging(out: Path, *, failed: Path) -> Iterator[Path]:
    """Yield a folder to write into. It becomes `out` if the block ends well, and is removed if the block raises.

    failed: what the folder becomes instead where the block raises an error whose `keep` is true. Raises InputError
    where `out` exists and holds anything but an artifact.
    """
    if out.exists() and not (out.is_dir() and ((out / CARD).is_file() or not any(out.iterdir()))):
        raise InputError(f"out={str(out)!r} exists and is not an artifact; choose another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    # The folder lies in a new one beside `out`: the rename must stay on one file system, and names must not clash.
    box = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    folder = box / out.name
    folder.mkdir()
    try:
        yield folder
        _replace(folder, out, box)
    except BaseException as error:
        if getattr(error, "keep", False):
            _replace(folder, failed, box)
        raise
    finally:
        shutil.rmtree(box, ignore_errors=True)


def _replace(folder: Path, target: Path, box: Path) -> None:
    if target.exists():
        target.rename(box / "before")
    folder.rename(target)


def with_files(card: Card, folder: Path, names: Sequence[str]) -> Card:
    """The card with these files of the folder listed too, by size and SHA-256."""
    listed = {name: _entry(folder / name) for name in names}
    return replace(card, files={**card.files, **listed})


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def write_samples(samples: Sequence[Mapping[str, np.ndarray]], folder: Path) -> list[str]:
    """Write the samples that `odelet verify` runs. Returns the names of the files written, none without samples.

    samples: arrays by name, for each sample.
    """
    if not samples:
        return []
    arrays = {f"{number}/{name}": array for number, sample in enumerate(samples) for name, array in sample.items()}
    np.savez_compressed(folder / SAMPLES, allow_pickle=False, **arrays)
    return [SAMPLES]


def write_card(card: Card, folder: Path) -> None:
    """Write the card. It comes last, as it lists the other files."""
    (folder / CARD).write_text(card.to_json(), encoding="utf-8")
