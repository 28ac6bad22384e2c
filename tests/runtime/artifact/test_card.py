"""The card: what is written is read back, and anything else is refused with the key and what came."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.artifacts import affine_card, driven_card

from odelet.artifact.card import FORMAT_VERSION, Card, Tensor, checksum_of
from odelet.artifact.file_card import FileEntry
from odelet.artifact.solve_card import SolveCard
from odelet.errors import ArtifactError

FILES = {"model.onnx": FileEntry(sha256="0" * 64, bytes=7)}
CARDS = {"affine": affine_card(files=FILES), "driven": driven_card(parity=None)}


def edited(path, new, card=CARDS["affine"]):
    """The card's JSON with the value at a path replaced; a path that ends in a new key adds it."""
    data = json.loads(card.to_json())
    target = data
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = new
    del data["checksum"]
    return json.dumps({**data, "checksum": checksum_of(data)})


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_what_is_written_is_read_back(card):
    assert Card.from_json(card.to_json()) == card
    assert Card.from_json(card.to_json().encode()) == card


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_the_short_card_lacks_only_files_and_parity(card):
    short = json.loads(card.short_json())
    full = json.loads(card.to_json())
    assert full.keys() - short.keys() == {"files", "parity"}
    assert Card.from_json(card.short_json()) == replace(card, files={}, parity=None)


def test_the_written_keys_are_those_of_the_contract():
    data = json.loads(CARDS["affine"].to_json())
    assert list(data) == [
        *("format", "odelet", "name", "form", "inputs", "outputs", "program", "solves", "assumptions"),
        *("noise", "files", "versions", "parity", "work", "checksum"),
    ]
    assert data["format"] == FORMAT_VERSION
    assert data["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 3]}]
    assert data["program"] == [{"run": "model.onnx"}]
    assert data["solves"][0]["evaluations"] == {"start": 2, "step": 6}
    assert "drive" not in data["solves"][0]
    driven = json.loads(CARDS["driven"].to_json())
    assert driven["program"][1] == {"drive": 0}
    assert driven["solves"][0]["drive"]["field"] == "solve_0_field.onnx"
    assert driven["solves"][0]["settings"] == dict.fromkeys(("rtol", "atol", "max_steps", "max_evals", "deadline"))


REFUSED = [
    (["format"], "1", "card.format is '1'; expected an integer"),
    (["format"], 0, "format is 0"),
    (["name"], 3, "card.name is 3; expected a text"),
    (["colour"], "blue", "card has an unknown key 'colour'; known are format"),
    (["form"], "magic", "form 'magic' is unknown; known are unrolled, rolled"),
    (["form"], "rolled", "form is 'rolled', but solve 0 has 'adaptive'"),
    (["inputs"], {}, r"card.inputs is \{\}; expected a list"),
    (["inputs", 0, "dtype"], "bfloat16", "'x': dtype 'bfloat16' is unknown; known are float16"),
    (["inputs", 0, "shape"], ["batch", 1.5], r"card.inputs\[0\].shape\[1\] is 1.5; expected an integer or"),
    (["inputs", 0, "shape"], [True], r"card.inputs\[0\].shape\[0\] is True; expected an integer or"),
    (["inputs", 0, "shape"], [-1], "'x': -1 in the shape"),
    (["inputs", 0, "shape"], [""], "'x': '' in the shape"),
    (["inputs", 0, "name"], "rtol", "an input is named 'rtol', which is a setting's name"),
    (["inputs", 0, "name"], "", "a tensor has an empty name"),
    (["outputs"], [], "the model has no outputs"),
    (["program"], [], "the program is empty"),
    (["program", 0], {"walk": "x"}, r"card.program\[0\] is .*; expected an object with 'run' or .*'drive'"),
    (["program", 0], {"run": "../model.onnx"}, r"file name '../model.onnx' is not portable"),
    (["program", 0], {"drive": 0}, r"the program drives the solves \[0\]; expected \[\] once each"),
    (["solves", 0, "index"], 4, r"solves\[0\] has index 4"),
    (["solves", 0, "form"], "driven", "solve 0: a drive entry goes with the form driven"),
    (["solves", 0, "form"], "spiral", "solve 0: form 'spiral' is unknown"),
    (["solves", 0, "rtol"], "small", r"card.solves\[0\].rtol is 'small'; expected a number or a list or null"),
    (["solves", 0, "rtol"], -1.0, "solve 0: rtol is -1.0; expected 0 or more"),
    (["solves", 0, "max_steps"], 1.5, r"card.solves\[0\].max_steps is 1.5; expected an integer or null"),
    (["solves", 0, "evaluations"], {"start": 1}, r"card.solves\[0\].evaluations has no 'step'"),
    (["solves", 0, "settings"], {"speed": "v"}, "solve 0: setting 'speed' is unknown; known are rtol"),
    (["solves", 0, "settings"], {"rtol": None}, "settings.rtol is None; expected the name of a graph input"),
    (["solves", 0, "report"], {"colour": "v"}, "solve 0: report 'colour' is unknown; known are steps"),
    (["files", "model.onnx", "bytes"], -3, "a file's size is -3"),
    (["files", "model.onnx", "sha256"], "abc", "sha256 'abc' is not 64 lower-case hex digits"),
    (["files", "model.onnx"], 5, r"card.files\['model.onnx'\] is 5; expected an object"),
    (["files", "/etc/passwd"], {"sha256": "0" * 64, "bytes": 1}, "'/etc/passwd' is not portable"),
    (["files", "a\\b"], {"sha256": "0" * 64, "bytes": 1}, "is not portable"),
    (["versions"], {"torch": 2}, r"card.versions\['torch'\] is 2; expected a text"),
    (["parity"], [1], r"card.parity is \[1\]; expected an object or null"),
]


@pytest.mark.parametrize(("path", "new", "message"), REFUSED)
def test_refused(path, new, message):
    with pytest.raises(ArtifactError, match=message):
        Card.from_json(edited(path, new))


def test_a_missing_key_is_named():
    data = json.loads(CARDS["affine"].to_json())
    del data["outputs"]
    with pytest.raises(ArtifactError, match="card has no 'outputs'"):
        Card.from_json(json.dumps(data))


def test_a_card_without_its_format():
    data = json.loads(CARDS["affine"].to_json())
    del data["format"]
    with pytest.raises(ArtifactError, match="it has no 'format', so it is not a card"):
        Card.from_json(json.dumps(data))


def test_refused_in_a_driven_card():
    card = CARDS["driven"]
    with pytest.raises(ArtifactError, match="settings.rtol is 'rtol'; expected null"):
        Card.from_json(edited(["solves", 0, "settings"], {"rtol": "rtol"}, card))
    with pytest.raises(ArtifactError, match="one solution name for each y0"):
        Card.from_json(edited(["solves", 0, "drive", "solution"], [], card))
    with pytest.raises(ArtifactError, match="a drive entry has both a field and times t, or neither"):
        Card.from_json(edited(["solves", 0, "drive", "field"], None, card))
    without = edited(["solves", 0, "drive", "t"], None, CARDS["driven"])
    with pytest.raises(ArtifactError, match="a drive entry has both a field and times t, or neither"):
        Card.from_json(without)
    with pytest.raises(ArtifactError, match="a drive entry has no y0"):
        Card.from_json(edited(["solves", 0, "drive", "y0"], [], card))
    with pytest.raises(ArtifactError, match="'a/b' is not portable"):
        Card.from_json(edited(["solves", 0, "drive", "field"], "a/b", card))
    with pytest.raises(ArtifactError, match=r"drives the solves \[0, 0\]; expected \[0\] once each"):
        Card.from_json(edited(["program"], [{"drive": 0}, {"drive": 0}], card))


def test_a_newer_format_says_to_upgrade_even_when_its_keys_are_new():
    text = json.dumps({"format": FORMAT_VERSION + 1, "odelet": "9.0", "unheard": []})
    with pytest.raises(ArtifactError, match="newer than this odelet reads .*pip install --upgrade odelet"):
        Card.from_json(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1]", "null", "NaN", '{"format": NaN}', '{"format": 1, "format": 1}'),
        *("[" * 100_000, '{"format": ' + "1" * 5000 + "}", b"\xff\xfe{", '{"name": "\\ud800"}'),
    ],
    ids=range(11),
)
def test_text_that_is_no_card(text):
    with pytest.raises(ArtifactError, match="card"):
        Card.from_json(text)


def test_constructors_check_as_well():
    with pytest.raises(ArtifactError, match="input names are there twice: x"):
        replace(CARDS["affine"], inputs=CARDS["affine"].inputs * 2)
    with pytest.raises(ArtifactError, match="solve 0: steps is inf"):
        SolveCard(index=0, form="rolled", method="rk4", steps=float("inf"))
    with pytest.raises(ArtifactError, match="it holds something that JSON cannot"):
        replace(CARDS["affine"], parity={"max_abs": float("nan")}).to_json()


def test_whole_numbers_are_read_as_numbers():
    assert Card.from_json(edited(["solves", 0, "rtol"], 1)).solves[0].rtol == 1.0


def test_summary_tells_what_a_person_wants_to_know():
    text = CARDS["affine"].summary()
    for part in ("Affine", "x: float32 [batch, 3]", "dopri5", "affine.py:7", "rtol 0.001", "torch 2.13.0"):
        assert part in text
    assert "can be set: rtol, atol, max_steps" in text
    assert "model.onnx: 7 bytes" in text


def test_a_scalar_prints_with_an_empty_shape():
    assert str(Tensor(name="s", dtype="int64", shape=())) == "int64 []"


PIECES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.just([]))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_change_is_a_card_or_an_artifact_error(data):
    card = json.loads(CARDS[data.draw(st.sampled_from(sorted(CARDS)))].to_json())
    target = card
    while True:
        key = data.draw(st.sampled_from(sorted(target) if isinstance(target, dict) else range(len(target))))
        inner = target[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        target = inner
    target[key] = data.draw(PIECES)
    try:
        Card.from_json(json.dumps(card))
    except ArtifactError as error:
        assert "card" in str(error)
