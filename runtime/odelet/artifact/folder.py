"""Reads the files of an artifact and checks everything that docs/artifact.md promises of them.

The law here: no byte reaches ONNX Runtime before its hash, its operators and its external data are known
to be what the card says.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from odelet.artifact.card import Card, FileEntry
from odelet.artifact.operators import check_operators
from odelet.artifact.proto import ModelFacts, scan
from odelet.artifact.solve_card import RunStep
from odelet.errors import ArtifactError

CARD_FILE = "odelet.json"
CARD_KEY, PART_KEY = "odelet.card", "odelet.part"
SAMPLES_FILE = "samples.npz"

_CHUNK = 2**20
_CARD_LIMIT = 16 * 2**20


@dataclass(frozen=True)
class Checked:
    """An artifact whose files are what the card says.

    graphs: for each graph, by file name, the source of its session: its bytes, or its path if its weights lie in
    another file. folder: where the artifact lies, None for a lone file.
    """

    card: Card
    graphs: dict[str, bytes | Path]
    folder: Path | None


def check(path: str | os.PathLike[str]) -> Checked:
    """Read an artifact folder, or a lone .onnx file, and check its files; no session is opened.

    Raises ArtifactError saying what is wrong and what to do.
    """
    path = Path(path)
    if path.is_dir():
        return _check_folder(path)
    if not path.exists():
        raise ArtifactError(f"{path}: there is no such folder or file; give the folder that `odelet export` wrote")
    if path.suffix != ".onnx":
        raise ArtifactError(f"{path}: expected an artifact's folder or an .onnx file")
    return _check_lone(path)


def _check_folder(folder: Path) -> Checked:
    if not (folder / CARD_FILE).exists():
        raise ArtifactError(
            f"{folder}: it has no {CARD_FILE}, so it is not an artifact; give the folder that `odelet export` wrote"
        )
    card = Card.from_json(read_checked(folder, CARD_FILE, None))
    graph_files: dict[str, None] = {}
    for program_card in (card, *((card.solved_again,) if card.fallback is not None else ())):
        graph_files |= dict.fromkeys(program_card.run_files)
        for solve in program_card.solves:
            if solve.drive is not None:
                graph_files |= dict.fromkeys(solve.drive.graphs)
    for name in graph_files:
        if name not in card.files:
            raise ArtifactError(f"{CARD_FILE}: {name} is used, but is not among the files that the card lists")
    contents = {name: read_checked(folder, name, card.files[name]) for name in graph_files}
    for name, entry in card.files.items():
        if name not in contents:
            read_checked(folder, name, entry, keep=False)
    graphs: dict[str, bytes | Path] = {}
    for name, data in contents.items():
        facts = scan(data, name=name)
        _check_facts(name, facts, listed=card.files.keys() - contents.keys())
        graphs[name] = folder / name if facts.external else data
    return Checked(card, graphs, folder)


def _check_lone(path: Path) -> Checked:
    data = read_checked(path.parent, path.name, None, limit=None)
    facts = scan(data, name=path.name)
    text = facts.metadata.get(CARD_KEY)
    if text is None and PART_KEY not in facts.metadata:
        raise ArtifactError(f"{path.name}: it carries no card, so odelet did not write it; use `odelet export`")
    card = None if text is None else Card.from_json(text)
    if card is None or len(card.program) != 1 or not isinstance(card.program[0], RunStep) or card.fallback is not None:
        raise ArtifactError(f"{path.name}: it is one of several graphs of an artifact; load the whole folder")
    _check_facts(path.name, facts, listed=set())
    return Checked(card, {card.program[0].run: data}, None)


def _check_facts(name: str, facts: ModelFacts, *, listed: set[str]) -> None:
    check_operators(name, facts)
    for location in sorted(facts.external - listed):
        raise ArtifactError(
            f"{name}: it keeps weights in {location!r}, which the card does not list, so it is not followed; "
            "load the whole folder, or export the model again"
        )


def read_checked(
    folder: Path, name: str, entry: FileEntry | None, *, keep: bool = True, limit: int | None = _CARD_LIMIT
) -> bytes:
    """Return the bytes of a file of the folder, after comparing its size and sha256 with its entry in the card.

    keep: without it, the file is only checked, and the result is b"". limit: the largest size in bytes of a file that
    has no entry. Raises ArtifactError.
    """
    path = folder / name
    try:
        # Path.resolve would meet a circle of links with an error of another kind.
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise ArtifactError(f"{path}: it is a link that leaves the folder; put the file itself there")
        file_stat = path.stat()
        if not stat.S_ISREG(file_stat.st_mode):
            raise ArtifactError(f"{path}: it is not a plain file")
        if entry is not None and file_stat.st_size != entry.bytes:
            raise ArtifactError(
                f"{path}: it has {file_stat.st_size} bytes where the card says {entry.bytes}; it was cut short "
                "or replaced: copy the artifact again"
            )
        if entry is None and limit is not None and file_stat.st_size > limit:
            raise ArtifactError(f"{path}: it has {file_stat.st_size} bytes, too many for a card")
        digest = hashlib.sha256()
        chunks = []
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                if keep:
                    chunks.append(chunk)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: the card lists it, but it is missing; copy the artifact again") from None
    except OSError as error:
        raise ArtifactError(f"{path}: it cannot be read ({error.strerror or error})") from None
    if entry is not None and digest.hexdigest() != entry.sha256:
        raise ArtifactError(
            f"{path}: its sha256 is not the one in the card, so its bytes have changed: copy the artifact again"
        )
    return b"".join(chunks)
