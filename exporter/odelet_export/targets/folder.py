"""Writing an artifact: everything into a hidden folder beside the target, which then takes the target's name.

The law here: what is at the target is a whole artifact at any time, the old one or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from odelet.artifact.card import Card
from odelet.artifact.file_card import FileEntry
from odelet.artifact.folder import CARD_FILE, SAMPLES_FILE
from odelet_export.errors import output_errors
from odelet_export.targets.exchange import put_in_place
from odelet_export.targets.replaceable import check_replaceable, place_aside, place_of
from odelet_export.targets.workplace import workplace


@contextmanager
def staging(out: Path, *, failed: Path, marker: str = CARD_FILE) -> Iterator[Path]:
    """Yield a folder to write into. It becomes `out` if the block ends well, and is removed if the block raises.

    failed: what the folder becomes instead where the block raises an error whose `keep` is true. Where `out` is a link,
    it stays one, and what it links to is replaced. marker: the file by which a folder is known that may be replaced.

    Raises InputError where `out` holds anything but an artifact, or `failed` anything but one that failed, before the
    block and again after it; OutputError where the file system refuses.
    """
    place, aside = place_of(out, marker=marker), place_aside(failed, marker=marker)
    with ExitStack() as stack:
        with output_errors(out):
            stack.enter_context(_parents(place.parent))
            box = stack.enter_context(workplace(place))
            folder = box / out.name
            folder.mkdir()
        try:
            yield folder
        except BaseException as error:
            if getattr(error, "keep", False):
                with output_errors(failed):
                    _put_aside(folder, aside, box)
            raise
        check_replaceable(place, out, marker=marker)
        with output_errors(out):
            put_in_place(folder, place, box)


@contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """Make a folder and those above it, and remove those made that are empty at the end."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def _put_aside(folder: Path, aside: Path, box: Path) -> None:
    try:
        put_in_place(folder, aside, box)
    except OSError as error:
        if error.errno != errno.EXDEV:  # `out` is a link to another disk
            raise
        with workplace(aside) as box_there:
            put_in_place(shutil.copytree(folder, box_there / folder.name), aside, box_there)


def with_files(card: Card, folder: Path, names: Sequence[str]) -> Card:
    """The card with these files of the folder listed too, by size and SHA-256."""
    listed = {name: entry_of(folder / name) for name in names}
    return replace(card, files={**card.files, **listed})


def entry_of(path: Path) -> FileEntry:
    """The size and the SHA-256 of a file."""
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=file.tell())


def write_samples(samples: Sequence[Mapping[str, np.ndarray]], folder: Path) -> list[str]:
    """Write the samples that `odelet verify` runs. Returns the names of the files written, none without samples.

    samples: arrays by name, for each sample.
    """
    if not samples:
        return []
    arrays = {f"{number}/{name}": array for number, sample in enumerate(samples) for name, array in sample.items()}
    with output_errors(Path(folder.name, SAMPLES_FILE)):
        np.savez_compressed(folder / SAMPLES_FILE, allow_pickle=False, **arrays)
    return [SAMPLES_FILE]


def write_card(card: Card, folder: Path) -> None:
    """Write the card. It comes last, as it lists the other files."""
    with output_errors(Path(folder.name, CARD_FILE)):
        (folder / CARD_FILE).write_text(card.to_json(), encoding="utf-8")
