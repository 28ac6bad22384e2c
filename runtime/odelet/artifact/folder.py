"""Reads the files of an artifact and checks everything that docs/artifact.md promises of them.

The law here: no byte reaches ONNX Runtime before its hash, its operator domains and its external data are
known to be what the card says.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from odelet.artifact.card import Card
from odelet.artifact.file_card import FileEntry
from odelet.artifact.hazards import check_hazards
from odelet.artifact.loop_bodies import check_loops
from odelet.artifact.loop_guards import guarded
from odelet.artifact.operators import check_operators
from odelet.artifact.origin import Origin
from odelet.artifact.program_steps import RunStep
from odelet.artifact.proto import ModelFacts, scan
from odelet.artifact.reading import OpenFolder
from odelet.artifact.seal import SEAL_KEY, check_seal
from odelet.artifact.weights import Weights, weights_of
from odelet.errors import ArtifactError, InputError

CARD_FILE = "odelet.json"
CARD_KEY, PART_KEY = "odelet.card", "odelet.part"
SAMPLES_FILE = "samples.npz"

# ONNX Runtime reads no larger graph.
_GRAPH_LIMIT = 2**31
# A folder that is replaced while it is read is read again so many times.
_TRIES = 5


@dataclass(frozen=True)
class GraphBytes:
    """A graph that was read and checked. data: of its file, with guards for its loops. weights: its initializers that
    lie in another file, by name."""

    data: bytes
    weights: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """An artifact whose files are what the card says.

    graphs: each graph, by file name. folder: where the artifact lies, None for a lone file. origin: what loads the
    artifact again.
    """

    card: Card
    graphs: dict[str, GraphBytes]
    folder: Path | None
    origin: Origin


def check(path: str | os.PathLike[str] | Origin) -> Checked:
    """Read an artifact folder, or a lone .onnx file, and check its files; no session is opened.

    path: or the origin of a model that was loaded, for the same artifact. A folder that another one replaces meanwhile
    gives either the old artifact or the new one. Raises ArtifactError saying what is wrong and what to do, and
    InputError for what is no path.
    """
    if isinstance(path, Origin):
        return _check_again(path)
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"path={path!r} must be the path of an artifact's folder, as a str or a Path")
    path = Path(path)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:  # a name that is too long, or a folder around it that may not be entered
        raise ArtifactError(f"{path}: it cannot be opened ({error.strerror or error})") from None
    if is_folder:
        return _check_folder(path)
    if not is_there:
        raise ArtifactError(f"{path}: there is no such folder or file; give the folder that `odelet export` wrote")
    if path.suffix != ".onnx":
        raise ArtifactError(f"{path}: expected an artifact's folder or an .onnx file")
    with OpenFolder(path.parent) as folder:
        data = folder.read(path.name, None, limit=_GRAPH_LIMIT)
    return _check_lone(path, data)


def _check_folder(path: Path) -> Checked:
    for left in reversed(range(_TRIES)):
        with OpenFolder(path) as folder:
            text = b""
            try:
                if not folder.has(CARD_FILE):
                    raise ArtifactError(
                        f"{path}: it has no {CARD_FILE}, so it is not an artifact; give the folder that `odelet "
                        "export` wrote"
                    )
                text = folder.read(CARD_FILE, None)
                return check_files(folder, Card.from_json(text), text=text)
            except ArtifactError:
                if left == 0 or not _changed(folder, text):
                    raise
    raise AssertionError("the last try returns or raises")


def _changed(folder: OpenFolder, text: bytes) -> bool:
    """Whether the folder, or its card, whose text was this, was replaced since it was opened."""
    if folder.replaced():
        return True
    try:
        return text != b"" and folder.read(CARD_FILE, None) != text
    except ArtifactError:
        return False


def check_files(folder: OpenFolder, card: Card, *, text: bytes = b"") -> Checked:
    """Read the files that a card lists, and check them. text: of the card, where the model is to travel.

    Raises ArtifactError for a file that is not what the card says.
    """
    graph_files = Counter(card.graph_files)
    for name, count in graph_files.items():
        if count > 1:
            raise ArtifactError(f"{CARD_FILE}: {name} is used in {count} places; each graph has one")
        if name not in card.files:
            raise ArtifactError(f"{CARD_FILE}: {name} is used, but is not among the files that the card lists")
    contents = {name: folder.read(name, card.files[name]) for name in graph_files}
    facts = {name: scan(data, name=name) for name, data in contents.items()}
    for name, found in facts.items():
        _check_facts(name, found, listed=card.files.keys() - contents.keys())
    locations = {tensor.location for found in facts.values() for tensor in found.weights}
    files = {name: folder.read_weights(name, card.files[name]) for name in sorted(locations)}
    for name, entry in card.files.items():
        if name not in contents and name not in files:
            folder.check(name, entry)
    graphs = {}
    for name, data in contents.items():
        weights = weights_of(name, facts[name].weights, files)
        check_hazards(data, facts[name], weights, name=name)
        graphs[name] = GraphBytes(guarded(data, facts[name], name=name), weights)
    return Checked(card, graphs, folder.path, Origin.of_folder(folder.path, text))


def _check_again(origin: Origin) -> Checked:
    """Check the artifact that a model was loaded from. Raises ArtifactError where it is not there, or is another."""
    if origin.data is not None:
        return _check_lone(Path(origin.path), origin.data)
    advice = "; a model that travels between processes is loaded again from there, so keep the artifact in its place"
    try:
        checked = check(origin.path)
    except ArtifactError as error:
        raise ArtifactError(f"{error}{advice}") from None
    if checked.origin.digest != origin.digest:
        raise ArtifactError(
            f"{origin.path}: another artifact is there now (sha256 {checked.origin.digest[:12]}... where it was "
            f"{origin.digest[:12]}...){advice}, or load it with odelet.load and send that model"
        )
    return checked


def _check_lone(path: Path, data: bytes) -> Checked:
    facts = scan(data, name=path.name)
    text = facts.metadata.get(CARD_KEY)
    if text is None and PART_KEY not in facts.metadata:
        raise ArtifactError(f"{path.name}: it carries no card, so odelet did not write it; use `odelet export`")
    card = None if text is None else Card.from_json(text)
    if card is None or len(card.program) != 1 or not isinstance(card.program[0], RunStep) or card.fallback is not None:
        raise ArtifactError(f"{path.name}: it is one of several graphs of an artifact; load the whole folder")
    if facts.external:
        raise ArtifactError(
            f"{path.name}: it keeps weights in {min(facts.external)!r} beside it, and a lone file is read alone; load "
            "the whole folder, which odelet.json belongs to"
        )
    _check_facts(path.name, facts, listed=set())
    check_hazards(data, facts, {}, name=path.name)
    check_seal(data, facts, name=path.name, needed=card.sealed)
    origin = Origin.of_file(path, data, seal=facts.metadata.get(SEAL_KEY))
    return Checked(card, {card.program[0].run: GraphBytes(guarded(data, facts, name=path.name))}, None, origin)


def _check_facts(name: str, facts: ModelFacts, *, listed: set[str]) -> None:
    check_operators(name, facts)
    check_loops(facts.graph, name=name)
    for location in sorted(facts.external - listed):
        raise ArtifactError(
            f"{name}: it keeps weights in {location!r}, which the card does not list, so it is not followed; "
            "load the whole folder, or export the model again"
        )
    for location in sorted(facts.elsewhere):
        raise ArtifactError(
            f"{name}: it keeps a tensor in {location!r} that is no initializer of the graph itself, so it is not "
            "followed; export the model again"
        )


def read_checked(path: Path, name: str, entry: FileEntry) -> bytes:
    """Return the bytes of a file of a folder, after comparing its size and sha256 with its entry in the card. Raises
    ArtifactError."""
    with OpenFolder(path) as folder:
        return folder.read(name, entry)
