"""The reader of ONNX bytes: finds every domain and every external file, and survives any bytes."""

import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from support.artifacts import F32, affine_card, affine_model, external_model, node, onnx_model, scalar, value

from odelet.artifact import proto
from odelet.artifact.proto import scan
from odelet.errors import ArtifactError

MODEL = affine_model().SerializeToString()
EXTERNAL = external_model(affine_card()).SerializeToString()
FOREIGN = helper.make_node("Steal", ["x"], ["y"], domain="com.example")


def facts(model):
    return scan(model.SerializeToString(), name="model.onnx")


def domains(model):
    return dict(facts(model).operators)


def plain(nodes, **options):
    return onnx_model(nodes, [value("x", F32, [1])], [value("y", F32, [1])], **options)


def subgraph(*nodes, initializers=()):
    return helper.make_graph(list(nodes), "inner", [], [value("y", F32, [1])], list(initializers))


def branch(graph):
    return helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=subgraph(node("Identity", "x", "y")))


def outside(location):
    tensor = TensorProto(name="w", data_type=F32, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_a_plain_model():
    found = facts(affine_model())
    assert found.operators == {("", name) for name in ("Mul", "Add", "Min", "Sub", "Less", "Cast")}
    assert found.texts == found.extras == {}
    assert found.opsets == {"": 20}
    assert found.external == set()
    assert found.metadata == {"odelet.card": affine_card().short_json(), "odelet.sha256": "0" * 64}
    data = affine_model().SerializeToString()
    assert {key: data[slice(*place)].decode() for key, place in found.places.items()} == found.metadata


def test_domains_of_nodes_of_subgraphs_and_of_functions():
    function = helper.make_function(
        "local", "F", ["x"], ["y"], [branch(subgraph(FOREIGN))], [helper.make_opsetid("", 20)]
    )
    assert domains(plain([FOREIGN])) == {"com.example": "Steal"}
    assert "com.example" in domains(plain([branch(subgraph(FOREIGN))]))
    assert "com.example" in domains(plain([branch(subgraph(branch(subgraph(FOREIGN))))]))
    found = facts(plain([helper.make_node("F", ["x"], ["y"], domain="local")], functions=[function]))
    assert {"local", "com.example"} <= {domain for domain, _ in found.operators}


def test_domains_of_graph_lists_of_attribute_defaults_and_of_training():
    several = helper.make_node("Case", ["x"], ["y"])
    several.attribute.append(helper.make_attribute("graphs", [subgraph(FOREIGN)]))
    assert "com.example" in domains(plain([several]))
    function = helper.make_function("", "F", ["x"], ["y"], [], [])
    function.attribute_proto.append(helper.make_attribute("g", subgraph(FOREIGN)))
    assert "com.example" in domains(plain([], functions=[function]))
    trained = plain([])
    trained.training_info.add().algorithm.CopyFrom(subgraph(FOREIGN))
    assert "com.example" in domains(trained)


def test_a_second_copy_of_the_graph_field_which_protobuf_merges_is_refused():
    data = plain([]).SerializeToString() + plain([FOREIGN]).SerializeToString()
    assert "com.example" in {n.domain for n in onnx.load_from_string(data).graph.node}
    with pytest.raises(ArtifactError, match="it holds 2 graphs"):
        scan(data, name="model.onnx")


def message(number, data):
    """A field of a message that is itself a message."""
    size, count = b"", len(data)
    while count >= 0x80:
        size, count = size + bytes([count & 0x7F | 0x80]), count >> 7
    return bytes([number << 3 | 2]) + size + bytes([count]) + data


@pytest.mark.parametrize("kind", ["graph", "tensor"])
def test_a_second_copy_of_what_an_attribute_holds_is_refused(kind):
    held = subgraph(FOREIGN) if kind == "graph" else scalar("a", F32, 1.0)
    holds = message(6 if kind == "graph" else 5, held.SerializeToString())
    for count in (1, 2):
        attribute = message(1, b"held") + holds * count
        node = message(2, b"y") + message(4, b"Any") + message(5, attribute)
        data = message(7, message(1, node))
        assert [a.name for a in onnx.load_from_string(data).graph.node[0].attribute] == ["held"]
        if count == 1:
            scan(data, name="model.onnx")
            continue
        with pytest.raises(ArtifactError, match="holds 2 graphs or tensors"):
            scan(data, name="model.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "../secret", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_external_data_wherever_it_is(location):
    tensor = outside(location)
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    several = helper.make_node("Case", [], ["y"], values=[scalar("a", F32, 1.0), tensor])
    sparse = helper.make_sparse_tensor(tensor, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [1])
    held = helper.make_node("Constant", [], ["y"], sparse_value=sparse)
    with_sparse = plain([])
    with_sparse.graph.sparse_initializer.append(sparse)
    for model in (
        plain([], initializers=[tensor]),
        plain([constant]),
        plain([several]),
        plain([held]),
        plain([branch(subgraph(constant))]),
        plain([branch(subgraph(initializers=[tensor]))]),
        with_sparse,
    ):
        assert facts(model).external == {location}


def test_external_data_that_names_no_file():
    tensor = TensorProto(name="w", data_type=F32, dims=[1], data_location=TensorProto.EXTERNAL)
    with pytest.raises(ArtifactError, match="in another file that is not named"):
        facts(plain([], initializers=[tensor]))


def nested(depth):
    graph = subgraph(FOREIGN)
    for _ in range(depth - 1):
        graph = subgraph(branch(graph))
    return plain([branch(graph)])


def test_depth_is_limited(monkeypatch):
    # Python's protobuf itself cannot make a model as deep as the limit.
    monkeypatch.setattr(proto, "MAX_DEPTH", 5)
    assert "com.example" in domains(nested(5))
    with pytest.raises(ArtifactError, match="nest deeper than 5"):
        facts(nested(6))


def test_no_depth_is_too_much_for_the_stack():
    data = b""
    for _ in range(5000):
        for number in (6, 5, 1):  # graph in attribute in node in graph
            data = bytes([number << 3 | 2]) + length(len(data)) + data
    with pytest.raises(ArtifactError, match=f"nest deeper than {proto.MAX_DEPTH}"):
        scan(b"\x3a" + length(len(data)) + data, name="model.onnx")


def length(size):
    digits = []
    while size >= 0x80:
        digits.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*digits, size])


def test_metadata_that_is_there_twice():
    model = plain([])
    for text in ("one", "two"):
        model.metadata_props.add(key="odelet.card", value=text)
    with pytest.raises(ArtifactError, match="'odelet.card' is there twice"):
        facts(model)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no graph"),
        (b"not a model", "not a readable ONNX file"),
        (b"\x00\x00", "bad field"),
        (b"\x3a\x05ab", "says 5 bytes, 2 are left"),
        (b"\x3a" + b"\xff" * 11, "bad number"),
        (b"\x3b", "unknown field type 3"),
        (b"\x09abc", "cut short"),
        (b"\x72\x03\x0a\x01\xff", "not UTF-8"),
        (b"\xf8\xff\xff\xff\xff\x01\x00", "bad field"),
    ],
)
def test_malformed(data, message):
    with pytest.raises(ArtifactError, match=message) as raised:
        scan(data, name="part.onnx")
    assert str(raised.value).startswith("part.onnx is not a readable ONNX file")


def test_fixed_width_fields_are_skipped():
    graph = helper.make_node("Elu", ["x"], ["y"], alpha=1.0)
    assert domains(plain([graph])) == {"": "Elu"}
    scan(b"\x09" + b"\x00" * 8 + MODEL, name="model.onnx")


def survives(data):
    try:
        scan(data, name="model.onnx")
    except ArtifactError as error:
        assert "model.onnx" in str(error)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
@example(b"\x3a\x02\x0a\x00")
def test_random_bytes(data):
    survives(data)


@pytest.mark.parametrize("data", [MODEL, EXTERNAL], ids=["plain", "external"])
def test_every_truncation(data):
    for size in range(0, len(data), 3):
        survives(data[:size])


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.sampled_from([MODEL, EXTERNAL]), st.data())
def test_changed_bytes(data, draw):
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        changed[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    survives(bytes(changed))
