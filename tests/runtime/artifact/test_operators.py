"""Operators that are not on the list, and what is not of numbers, are refused by name before a session is opened."""

import pytest
from onnx import TensorProto, helper
from support.artifacts import BOOL, F32, I64, affine_card, node, onnx_model, scalar, value, write

import odelet
from odelet.artifact import operators
from odelet.artifact.operators import LONGEST_TEXT, OPERATORS
from odelet.engine import session
from odelet.errors import ArtifactError

STRING = TensorProto.STRING
X, Y = value("x", F32, ["batch", 3]), value("y", F32, ["batch", 3])
COPY = node("Identity", "x", "y")


def constant(name, **content):
    return helper.make_node("Constant", [], [name], **content)


def text_tensor():
    return helper.make_tensor("words", STRING, [1], [b"word"])


def inner(*nodes, initializers=(), inputs=()):
    return helper.make_graph(list(nodes), "inner", list(inputs), [value("y", F32, None)], list(initializers))


def branch(*nodes, initializers=()):
    return helper.make_node(
        "If", ["yes"], ["y"], then_branch=inner(*nodes, initializers=initializers), else_branch=inner(COPY)
    )


def loop(*nodes, inputs=()):
    return helper.make_node("Loop", ["count", "", "x"], ["y"], body=inner(*nodes, inputs=inputs))


YES = helper.make_tensor("yes", BOOL, [], [True])

# By name: what the graph holds, and what the message says.
REFUSED_OPERATORS = {
    "strings": [node("StringNormalizer", "x", "y")],
    "regular expressions": [node("RegexFullMatch", "x", "y", pattern="(a+)+$")],
    "words": [node("TfIdfVectorizer", "x", "y")],
    "sequences": [node("SequenceConstruct", "x", "s"), node("SequenceAt", "s zero", "y")],
    "splits into sequences": [node("SplitToSequence", "x", "s"), node("ConcatFromSequence", "s", "y", axis=0)],
    "optional values": [node("Optional", "x", "o"), node("OptionalGetElement", "o", "y")],
    "images": [node("ImageDecoder", "x", "y")],
    **{
        name: [node(name, "x", "y")]
        for name in ("RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout")
    },
    "RandomNormal": [node("RandomNormal", "", "y", shape=[2, 3])],
    "RandomUniform": [node("RandomUniform", "", "y", shape=[2, 3])],
    "unheard of": [node("Steal", "x", "y")],
    "of a branch": [branch(node("RandomNormalLike", "x", "y"))],
    "of a loop": [loop(node("RandomNormalLike", "x", "y"))],
    "of a loop in a branch": [branch(loop(node("RandomNormalLike", "x", "y")))],
    "under another name of the domain": [helper.make_node("Dropout", ["x"], ["y"], domain="ai.onnx")],
}


@pytest.fixture(autouse=True)
def no_session(monkeypatch):
    def opened(*args, **kwargs):
        raise AssertionError("a session was opened")

    monkeypatch.setattr(session.ort, "InferenceSession", opened)


def refusal(folder, model):
    """What loading says of an artifact with this graph; the card has no solve."""
    write(folder, affine_card(solves=()), {"model.onnx": model})
    with pytest.raises(ArtifactError) as raised:
        odelet.load(folder)
    assert str(raised.value).startswith("model.onnx: it ")
    return str(raised.value)


def graph(*nodes, initializers=(), inputs=(X,), outputs=(Y,), **options):
    return onnx_model(nodes, inputs, outputs, initializers, **options)


@pytest.mark.parametrize("nodes", REFUSED_OPERATORS.values(), ids=REFUSED_OPERATORS)
def test_an_operator_that_is_not_on_the_list(nodes, tmp_path):
    deepest = nodes
    while any(n.attribute and n.attribute[0].HasField("g") for n in deepest):
        deepest = [inner for n in deepest for a in n.attribute for inner in a.g.node]
    foreign = sorted({n.op_type for n in deepest} - OPERATORS)
    assert foreign
    assert f"it uses {', '.join(map(repr, foreign))}, which odelet" in refusal(tmp_path, graph(*nodes))


def test_a_domain_of_others_is_named(tmp_path):
    model = graph(branch(helper.make_node("Steal", ["x"], ["y"], domain="com.example")), initializers=[YES])
    assert "the operator 'Steal' of domain 'com.example'" in refusal(tmp_path, model)


def port(name, kind):
    return helper.make_value_info(name, kind)


NUMBERS = helper.make_tensor_type_proto(F32, None)
SPARSE = helper.make_sparse_tensor(
    helper.make_tensor("v", F32, [1], [1.0]), helper.make_tensor("i", I64, [1], [0]), [10**9]
)


def with_function():
    function = helper.make_function(
        "", "Add", ["a", "b"], ["c"], [node("Mul", "a b", "c")], [helper.make_opsetid("", 20)]
    )
    return graph(node("Add", "x x", "y"), functions=[function])


def with_training():
    model = graph(COPY)
    model.training_info.add().algorithm.CopyFrom(inner(COPY))
    return model


def with_sparse_initializer():
    model = graph(node("Add", "x v", "y"))
    model.graph.sparse_initializer.append(SPARSE)
    return model


EXTRAS = [
    ("a tensor of strings", lambda: graph(COPY, initializers=[text_tensor()])),
    ("a tensor of strings", lambda: graph(branch(COPY, initializers=[text_tensor()]))),
    ("a tensor of strings", lambda: graph(constant("words", value=text_tensor()), COPY)),
    ("a tensor of strings", lambda: graph(constant("words", value_string=b"word"), COPY)),
    ("a tensor of strings", lambda: graph(constant("words", value_strings=[b"a", b"b"]), COPY)),
    ("a cast to strings", lambda: graph(node("Cast", "x", "words", to=STRING), COPY)),
    ("an input or output of strings", lambda: graph(COPY, inputs=[X, value("words", STRING, [1])])),
    ("an input or output of strings", lambda: graph(COPY, outputs=[Y, value("words", STRING, [1])])),
    ("an input or output of strings", lambda: graph(loop(COPY, inputs=[value("words", STRING, [1])]))),
    (
        "an input or output that is no tensor",
        lambda: graph(COPY, inputs=[X, port("many", helper.make_sequence_type_proto(NUMBERS))]),
    ),
    (
        "an input or output that is no tensor",
        lambda: graph(COPY, inputs=[X, port("many", helper.make_map_type_proto(I64, NUMBERS))]),
    ),
    (
        "an input or output that is no tensor",
        lambda: graph(COPY, outputs=[Y, port("maybe", helper.make_optional_type_proto(NUMBERS))]),
    ),
    (
        "an input or output that is no tensor",
        lambda: graph(COPY, inputs=[X, port("few", helper.make_sparse_tensor_type_proto(F32, [3]))]),
    ),
    ("a type as an attribute", lambda: graph(node("Identity", "x", "y", type=NUMBERS))),
    ("a sparse tensor", with_sparse_initializer),
    ("a sparse tensor", lambda: graph(constant("few", sparse_value=SPARSE), COPY)),
    ("a function of its own", with_function),
    ("a graph for training", with_training),
]


@pytest.mark.parametrize(("kind", "build"), EXTRAS)
def test_what_is_not_of_numbers(kind, build, tmp_path):
    assert refusal(tmp_path, build()).startswith(f"model.onnx: it has {kind} (")


def test_the_length_of_texts(tmp_path):
    def einsum(size):
        return graph(node("Einsum", "x", "y", equation="ab->ab".ljust(size)), initializers=[scalar("one", F32, 1.0)])

    operators.check_operators("model.onnx", operators_of(einsum(LONGEST_TEXT)))
    for model in (einsum(LONGEST_TEXT + 1), einsum(20_000), graph(branch(*einsum(20_000).graph.node))):
        with pytest.raises(ArtifactError, match=r"'equation' of 'Einsum' is a text of [\d,]+ bytes, of which 512"):
            operators.check_operators("model.onnx", operators_of(model))
    lists = graph(node("GRU", "x x x", "y", activations=["Tanh"] * 200, hidden_size=3))
    with pytest.raises(ArtifactError, match="'activations' of 'GRU' is a text of 800 bytes"):
        operators.check_operators("model.onnx", operators_of(lists))


def operators_of(model):
    return odelet.artifact.proto.scan(model.SerializeToString(), name="model.onnx")


def test_names_from_a_graph_do_not_reach_a_terminal_as_they_are(tmp_path):
    said = refusal(tmp_path, graph(node("\x1b]0;owned\x07" * 20, "x", "y")))
    assert said.isprintable()
    assert len(said) < 400


def test_the_list_is_sorted_and_in_one_place():
    names = operators._LIST.split()
    assert names == sorted(set(names))
    assert {"Loop", "If", "MatMul"} <= OPERATORS
