"""What a model was exported to assume is checked in each call, before anything wrong is returned."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from support.artifacts import (
    BOOL,
    F32,
    POSITIVE,
    affine_card,
    driven_card,
    driven_models,
    node,
    onnx_model,
    positive_nodes,
    value,
    write,
    write_affine,
    write_guarded,
)

import odelet
from odelet.artifact.card import Card
from odelet.errors import ArtifactError, AssumptionError, InputError

X = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
TOLD = (
    r"'if \(x > 0\).all\(\):' \(encoder.py:12\) is True, .* for the values of x that came now it is not True. "
    "Export the model again"
)


def test_inputs_that_an_assumption_holds_for_and_others(tmp_path):
    model = odelet.load(write_guarded(tmp_path))
    np.testing.assert_array_equal(model(X), 2 * X + 1)
    for call in (model, model.solve):
        with pytest.raises(InputError, match=TOLD) as caught:
            call(-X, rtol=1e-2)
        assert caught.value.assumption == POSITIVE
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_lone_file_is_guarded_too_and_says_so(tmp_path):
    (tmp_path / "lone.onnx").write_bytes((write_guarded(tmp_path / "a") / "model.onnx").read_bytes())
    model = odelet.load(tmp_path / "lone.onnx")
    assert "encoder.py:12: 'if (x > 0).all():' is True, from x" in model.card.summary()
    np.testing.assert_array_equal(model(X), 2 * X + 1)
    with pytest.raises(AssumptionError, match=TOLD):
        model(-X)


def test_a_series_goes_on_from_before_the_inputs_that_were_refused(tmp_path):
    stream = odelet.load(write_guarded(tmp_path)).stream(carry={"x": "y"}, x=X)
    stream()
    np.testing.assert_array_equal(stream(), 2 * (2 * X + 1) + 1)
    with pytest.raises(AssumptionError, match=TOLD):
        odelet.load(tmp_path).stream(carry={"x": "y"}, x=-X)()


@pytest.mark.parametrize("file", ["segment_0.onnx", "segment_1.onnx"])
def test_a_segment_of_a_driven_model_is_guarded(tmp_path, file):
    models = driven_models()
    graph = models[file].graph
    graph.node.extend(positive_nodes("x" if file == "segment_0.onnx" else "y"))
    graph.output.append(value(POSITIVE.output, BOOL, []))
    model = odelet.load(write(tmp_path, driven_card(assumptions=(POSITIVE,)), models))
    assert np.isfinite(model(X)).all()
    with pytest.raises(AssumptionError, match=TOLD):
        model(-X)


def test_a_graph_without_the_output_of_an_assumption(tmp_path):
    write_affine(tmp_path, affine_card(assumptions=(POSITIVE,)))
    with pytest.raises(ArtifactError, match="output 'assumption_0' is given by no graph"):
        odelet.load(tmp_path)


def test_an_output_that_cannot_tell_of_an_assumption(tmp_path):
    card = affine_card(solves=(), assumptions=(replace(POSITIVE, output="negative"),))
    shape = ["batch", 3]
    outputs = [value("y", F32, shape), value("negative", BOOL, shape)]
    nodes = [positive_nodes()[1], node("Less", "x zero", "negative"), node("Neg", "x", "y")]
    write(tmp_path, card, {"model.onnx": onnx_model(nodes, [value("x", F32, shape)], outputs, card=card)})
    with pytest.raises(ArtifactError, match=r"'negative' is bool \[\?, 3\]; expected a bool scalar"):
        odelet.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ("z",)}, r"assumptions\[0\] depends on 'z', which is no input"),
        ({"output": "y"}, r"assumptions\[0\] has the output 'y', which is one of the model's"),
    ],
)
def test_a_card_whose_assumptions_make_no_sense(change, message):
    with pytest.raises(ArtifactError, match=message):
        affine_card(assumptions=(replace(POSITIVE, **change),))


def test_the_card_is_read_back_with_its_assumptions():
    card = affine_card(assumptions=(POSITIVE,))
    assert Card.from_json(card.to_json()) == card
    assert Card.from_json(card.short_json()).assumptions == (POSITIVE,)
