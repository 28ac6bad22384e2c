"""A mutant: an artifact of the corpus with one file changed, made from a seed and a number alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import onnx

from fuzz.card_mutations import mutated_card
from fuzz.graph_mutations import mutated_graph

CORPUS = Path(__file__).resolve().parents[1] / "whole" / "artifacts-0.1"
CARD = "odelet.json"


@dataclass(frozen=True)
class Mutant:
    """A mutated artifact.

    origin: the artifact that it was made from. what: the file that was changed, "card", "graph" or "other". note: what
    was done. sealed: whether the hashes were made right again. lone: whether the .onnx file is loaded without its
    folder. files: contents by name.
    """

    origin: str
    what: str
    note: str
    sealed: bool
    lone: bool
    files: Mapping[str, bytes]

    def __str__(self) -> str:
        kind = f"{'lone ' if self.lone else ''}{'sealed ' if self.sealed else ''}{self.what}"
        return f"{self.origin}, {kind}: {self.note}"

    def write(self, folder: Path) -> Path:
        """Write the files into an empty folder, and return what is to be loaded."""
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder / "model.onnx" if self.lone else folder


@cache
def origins() -> dict[str, dict[str, bytes]]:
    """The files of the artifacts of the corpus, by the name of the artifact; what nobody reads is left out."""
    folders = sorted(path.parent for path in CORPUS.glob(f"*/{CARD}"))
    return {
        folder.name: {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.stem != "parity"}
        for folder in folders
    }


def mutant(seed: int, number: int) -> Mutant:
    """Make a mutant; the same seed and number give the same one."""
    random = Random(f"{seed}:{number}")
    origin = random.choice([*origins()])
    files = dict(origins()[origin])
    lone = "model.onnx" in files and origin != "bounded" and random.random() < 0.1
    graphs = ["model.onnx"] if lone else [name for name in files if name.endswith(".onnx")]
    kind = random.random()
    if lone or kind < 0.55:
        name = random.choice(graphs)
        note, files[name] = mutated_graph(files[name], random)
        what, note = "graph", f"{name}: {note}"
    elif kind < 0.95:
        what = "card"
        note, files[CARD] = mutated_card(files[CARD], random)
    else:
        name = random.choice([name for name in files if not name.endswith((".onnx", ".json"))])
        what, data, at = "other", files[name], random.randrange(len(files[name]))
        cut = random.random() < 0.3
        files[name] = data[:at] if cut else data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        note = f"{name}: {'cut at' if cut else 'bit of'} {at}"
    sealed = not lone and random.random() < 0.8 and seal(files)
    return Mutant(origin, what, note, sealed, lone, files)


def seal(files: dict[str, bytes]) -> bool:
    """Make the hashes in a card those of the files, in place; returns whether the card could be read."""
    try:
        card = json.loads(files[CARD])
        for name, entry in card["files"].items():
            entry |= {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
        files[CARD] = json.dumps(card, indent=2).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return True


def changed(one: Mutant) -> bool:
    """Whether a mutant says anything else than its origin; a file may be written in other words."""
    before = origins()[one.origin]
    for name, data in one.files.items():
        if data != before[name]:
            try:
                read = json.loads if name == CARD else onnx.ModelProto.FromString
                if read(data) != read(before[name]):
                    return True
            except Exception:  # it cannot be read, so it is another one
                return True
    return False
