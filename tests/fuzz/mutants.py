"""A mutant: an artifact of the corpus with one file changed, made from a seed and a number alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

import onnx

from fuzz.card_mutations import mutated_card
from fuzz.graph_mutations import mutated_graph
from odelet.artifact.card import FORMAT_VERSION, Card, checksum_of
from odelet.artifact.folder import CARD_KEY
from odelet.artifact.seal import BLANK, SEAL_KEY, sealed
from odelet.errors import ArtifactError

CORPUS = Path(__file__).resolve().parents[1] / "whole" / "artifacts-0.1"
# Artifacts of this odelet, of what those of 0.1 do not have.
RECENT = Path(__file__).resolve().parent / "artifacts"
CARD, LONE = "odelet.json", "model.onnx"
# What 0.1 wrote has no checksum of the card, and no digest in a lone graph.
OLD = " of 0.1"


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

    @property
    def may_differ(self) -> bool:
        """Whether other answers are no fault: nothing that it carries can tell that it was changed."""
        unprotected = self.origin.endswith(OLD) and (self.lone or self.what == "card")
        return self.sealed or unprotected or not changed(self)

    def write(self, folder: Path) -> Path:
        """Write the files into an empty folder, and return what is to be loaded."""
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder / LONE if self.lone else folder


@cache
def origins() -> dict[str, dict[str, bytes]]:
    """The files of the artifacts of the corpus, by the name of the artifact; what nobody reads is left out."""
    found = {}
    for card in sorted(CORPUS.glob(f"*/{CARD}")):
        files = {path.name: path.read_bytes() for path in sorted(card.parent.iterdir()) if path.stem != "parity"}
        found[card.parent.name] = _renewed(files)
        found[card.parent.name + OLD] = files
    for card in sorted(RECENT.glob(f"*/{CARD}")):
        found[card.parent.name] = {
            path.name: path.read_bytes() for path in sorted(card.parent.iterdir()) if path.stem != "parity"
        }
    return found


def folder_of(origin: str) -> Path:
    """The folder of an artifact of the corpus."""
    name = origin.removesuffix(OLD)
    return CORPUS / name if (CORPUS / name).is_dir() else RECENT / name


def _renewed(files: dict[str, bytes]) -> dict[str, bytes]:
    """An artifact of 0.1 as this odelet would write it: with a checksum of its card, and a digest in its lone graph."""
    files, card = dict(files), replace(Card.from_json(files[CARD]), format=FORMAT_VERSION)
    files[CARD] = card.to_json().encode()
    for name in [name for name in files if name == LONE]:
        model = onnx.ModelProto.FromString(files[name])
        if CARD_KEY in {prop.key for prop in model.metadata_props}:
            onnx.helper.set_model_props(model, {CARD_KEY: card.short_json(), SEAL_KEY: BLANK})
            files[name] = sealed(model.SerializeToString(), name=name)
    assert seal(files)
    return files


def mutant(seed: int, number: int) -> Mutant:
    """Make a mutant; the same seed and number give the same one."""
    random = Random(f"{seed}:{number}")
    old = random.random() < 0.15
    origin = random.choice([name for name in origins() if name.endswith(OLD) is old])
    files = dict(origins()[origin])
    lone = LONE in files and "bounded" not in origin and random.random() < 0.1
    graphs = [LONE] if lone else [name for name in files if name.endswith(".onnx")]
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
    again = random.random() < 0.8 and (seal_lone(files) if lone else seal(files))
    return Mutant(origin, what, note, again, lone, files)


def seal(files: dict[str, bytes]) -> bool:
    """Make the hashes in a card those of the files, in place; returns whether the card could be read."""
    try:
        card = json.loads(files[CARD])
        for name, entry in card["files"].items():
            entry |= {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
        if card.pop("checksum", None) is not None:
            card["checksum"] = checksum_of(card)
        files[CARD] = json.dumps(card, indent=2).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return True


def seal_lone(files: dict[str, bytes]) -> bool:
    """Make the digest in a lone graph that of its bytes, in place; returns whether it has one and could be read."""
    try:
        model = onnx.ModelProto.FromString(files[LONE])
        places = [prop for prop in model.metadata_props if prop.key == SEAL_KEY]
        if len(places) != 1:
            return False
        places[0].value = BLANK
        files[LONE] = sealed(model.SerializeToString(), name=LONE)
    except (ValueError, ArtifactError):
        return False
    except Exception as error:  # protobuf's own errors have no class that all its versions share
        if "DecodeError" not in type(error).__name__:
            raise
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
