"""Every bit of a card, flipped: loading refuses the card, or reads one that gives the same answers.

No session is opened for a flipped card: the graphs of an artifact, and with them the ports that cards are checked
against, are opened once.
"""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from support.paths import ROOT

from odelet.artifact import folder as reader
from odelet.artifact.card import Card, checksum_of
from odelet.artifact.folder import check, check_files
from odelet.artifact.proto import scan
from odelet.engine.opening import joined, open_graphs
from odelet.errors import ArtifactError
from odelet.model.runner import Runner

FOLDER = ROOT / "tests" / "whole" / "artifacts-0.1"
ARTIFACTS = sorted(path.parent.name for path in FOLDER.glob("*/odelet.json"))

# What no solve reads: texts and names for people, statistics, and what measurements alone read.
UNREAD = {"odelet", "name", "source", "text", "value", "nested", "versions", "parity", "piece", "work"}
UNREAD |= {"evaluations", "steps"}
# The settings that the card alone gives: another number is another model, which only the checksum can tell.
SETTINGS = {"rtol", "atol", "max_steps"}


class KnownFolder:
    """Stands for an open folder whose files were read and hashed once."""

    def __init__(self, path):
        self.path, self.card = path, check(path).card
        self.files = {name: (path / name).read_bytes() for name in self.card.files}

    def read(self, name, entry):
        if name not in self.files or entry != self.card.files[name]:
            raise ArtifactError(f"{name} is not what the card says")
        return self.files[name]

    check = read

    def read_weights(self, name, entry):
        return np.frombuffer(self.read(name, entry), np.uint8)


@pytest.fixture
def load(request, monkeypatch):
    """A function that loads the text of a card for the files of one artifact; `load.card` is the right card."""
    # The same bytes are scanned for each card.
    monkeypatch.setattr(reader, "scan", cache(lambda data, name: scan(data, name=name)))
    folder, checked = KnownFolder(FOLDER / request.param), check(FOLDER / request.param)
    graphs = open_graphs(checked)

    def load(text):
        card = Card.from_json(text)
        Runner(joined(check_files(folder, card), graphs), device="cpu")
        return card

    # A short card has all keys; of longer texts, every character is treated in one way.
    load.card = replace(checked.card, format=2, name="N", versions={"a": "1"}, parity={"a": 1.5})
    return load


def flipped(text, step):
    """Every text that differs in one bit; of a sha256, only its first digits are changed. step: how far apart."""
    data, hashed = text.encode(), set()
    for found in range(len(text)):
        if text.startswith('"sha256":"', found):
            hashed |= set(range(found + 12, found + 73))
    for bit in range(0, 8 * len(data), step):
        if bit // 8 not in hashed:
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            yield bytes(changed)


def compact(data):
    return json.dumps(data, separators=(",", ":"))


def sealed(data):
    return compact({**data, "checksum": checksum_of(data)})


def as_solves_read(data):
    """A parsed card without what no solve reads, and with any good number in place of a setting."""
    if isinstance(data, list):
        return [as_solves_read(item) for item in data]
    if not isinstance(data, dict):
        return data
    read = {key: as_solves_read(item) for key, item in data.items() if key not in UNREAD}
    for key in SETTINGS & read.keys():
        # In `settings` of a solve the same keys name graph inputs.
        number = read[key]
        read[key] = "a number" if isinstance(number, (int, float)) and 0 <= number < 2**63 else number
    return read


def without_output_axes(read):
    """A card without the names of the outputs' axes, which tell people of sizes; a fallback reads its own axis."""
    outputs = [
        {**x, "shape": [None if isinstance(size, str) else size for size in x["shape"]]} for x in read["outputs"]
    ]
    return {**read, "outputs": outputs}


@pytest.mark.parametrize("load", ARTIFACTS, indirect=True)
class TestEveryBit:
    def check_as_it_is(self, load, step):
        text = load.card.to_json()
        assert load(text) == load.card
        text = compact(json.loads(text))
        loaded = 0
        for bad in flipped(text, step):
            try:
                card = load(bad)
            except ArtifactError:
                continue
            loaded += 1
            assert card == load.card
        # `1e-05` and `1E-05` are one number.
        assert loaded <= 8

    def check_with_its_checksum_made_right(self, load, step):
        right = json.loads(load.card.to_json())
        del right["checksum"]
        expected = without_output_axes(as_solves_read(right))
        tried = loaded = 0
        for bad in flipped(compact(right), step):
            try:
                data = json.loads(bad)
            except ValueError:
                continue
            if not isinstance(data, dict):
                continue
            tried += 1
            try:
                load(sealed(data))
            except ArtifactError:
                continue
            loaded += 1
            assert without_output_axes(as_solves_read(data)) == expected, bad
        assert 0 < loaded < tried / 2

    def test_some(self, load):
        self.check_as_it_is(load, 11)
        self.check_with_its_checksum_made_right(load, 19)

    @pytest.mark.slow
    def test_all(self, load):
        self.check_as_it_is(load, 1)
        self.check_with_its_checksum_made_right(load, 1)
