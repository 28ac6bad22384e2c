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
# Smaller tensors stay in each graph: a reference to the shared file costs as much.
_SHARED_BYTES = 1024


@contextmanager
def staging(out: Path, *, failed: Path) -> Iterator[Path]:
    """A folder to write into, that becomes `out` when all went well and is removed when not.

    A folder that holds something other than an artifact is never replaced: InputError.
    """
    if out.exists() and not (out.is_dir() and ((out / CARD).is_file() or not any(out.iterdir()))):
        raise InputError(f"out={str(out)!r} exists and is not an artifact; choose another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own around it: the rename must stay on one file system, and names must not clash.
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
    """The card with more files listed, by size and hash."""
    listed = {name: _entry(folder / name) for name in names}
    return replace(card, files={**card.files, **listed})


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def write_samples(samples: Sequence[Mapping[str, np.ndarray]], folder: Path) -> list[str]:
    """Write the samples that `odelet verify` runs; returns the names of the files written."""
    if not samples:
        return []
    arrays = {f"{number}/{name}": array for number, sample in enumerate(samples) for name, array in sample.items()}
    np.savez_compressed(folder / SAMPLES, allow_pickle=False, **arrays)
    return [SAMPLES]


def write_card(card: Card, folder: Path) -> None:
    """Write the card, last of all."""
    (folder / CARD).write_text(card.to_json(), encoding="utf-8")
