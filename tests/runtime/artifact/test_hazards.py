"""No value of an input ends the process: nodes by which one could are refused before ONNX Runtime sees them."""

import subprocess
import sys

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.artifacts import BOOL, F32, F64, I64, node, onnx_model, value
from support.guarded import guarded, stored, tables

from odelet.artifact.hazards import check_hazards
from odelet.artifact.operators import check_operators
from odelet.artifact.proto import scan
from odelet.artifact.weights import Weight
from odelet.errors import ArtifactError

WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
KINDS = {name: TensorProto.DataType.Value(name.upper()) for name in WHOLE}
UNSAFE = "divides whole numbers by one that may be 0 or -1, which could end the process"


def check(nodes, *, inputs=(), outputs=(), constants=(), weights=None, opset=20):
    model = onnx_model(nodes, inputs, outputs, constants)
    model.opset_import[0].version = opset
    data = model.SerializeToString()
    check_hazards(data, scan(data, name="m.onnx"), weights or {}, name="m.onnx")
    return data


def refused(*args, match=UNSAFE, **kwargs):
    with pytest.raises(ArtifactError, match=match):
        check(*args, **kwargs)


def of(kind, *names):
    return [value(name, kind, ["n"]) for name in names]


def graph(name, nodes, outputs, inputs=(), constants=()):
    ports = ([value(one, *about) for one, about in group.items()] for group in (dict(inputs), dict(outputs)))
    return helper.make_graph(nodes, name, *ports, list(constants))


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_a_division_by_what_comes_of_inputs_is_refused(operator, dtype):
    refused([node(operator, "a b", "c")], inputs=of(KINDS[dtype], "a", "b"))
    refused([node(operator, "k b", "c")], inputs=of(KINDS[dtype], "b"), constants=[stored("k", 7, KINDS[dtype])])


@pytest.mark.parametrize("kind", [F32, F64, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_floats_are_divided_as_they_are(kind):
    check([node("Div", "a b", "c")], inputs=of(kind, "a", "b"))


@pytest.mark.parametrize("dtype", WHOLE)
def test_a_known_divisor(dtype):
    kind = KINDS[dtype]
    for numbers in (3, [3], [2, 5, 100]):
        for constant in (stored("k", numbers, kind), numpy_helper.from_array(np.array(numbers, dtype), "k")):
            check([node("Div", "a k", "c")], inputs=of(kind, "a"), constants=[constant])
    refused([node("Div", "a k", "c")], inputs=of(kind, "a"), constants=[stored("k", [2, 0], kind)])
    if dtype in ("int32", "int64"):
        refused([node("Div", "a k", "c")], inputs=of(kind, "a"), constants=[stored("k", [2, -1], kind)])
    elif dtype[0] == "i":
        check([node("Div", "a k", "c")], inputs=of(kind, "a"), constants=[stored("k", [2, -1], kind)])


def test_a_default_of_an_input_is_no_known_divisor():
    refused([node("Div", "a b", "c")], inputs=of(I64, "a", "b"), constants=[stored("b", 3)])


@pytest.mark.parametrize(("said", "good"), [({"value_int": 3}, True), ({"value_ints": [2, 0]}, False)])
def test_a_divisor_that_a_node_makes(said, good):
    chain = [
        helper.make_node("Constant", [], ["k"], **said),
        *(node("Reshape", "k s", "r"), node("Identity", "r", "i"), node("Div", "a i", "c")),
    ]
    (check if good else refused)(chain, inputs=of(I64, "a"), constants=[stored("s", [-1])])


def test_a_divisor_that_lies_in_another_file():
    tensor = helper.make_tensor("k", I64, [2], [1, 1])
    del tensor.int64_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    nodes = [node("Div", "a k", "c")]
    check(nodes, inputs=of(I64, "a"), constants=[tensor], weights={"k": Weight(I64, np.array([3, 4]))})
    refused(nodes, inputs=of(I64, "a"), constants=[tensor], weights={"k": Weight(I64, np.array([3, 0]))})
    refused(nodes, inputs=of(I64, "a"), constants=[tensor])


TO_WHOLE = {
    "Cast": [node("Cast", "x", "w", to=I64), node("Div", "w w", "c")],
    "CastLike": [node("Shape", "x", "s"), node("CastLike", "x s", "w"), node("Mod", "w w", "c")],
    "Shape": [node("Shape", "x", "w"), node("Div", "w w", "c")],
    "Size": [node("Size", "x", "w"), node("Mod", "w w", "c")],
    "ArgMax": [node("ArgMax", "x", "w"), node("Div", "w w", "c")],
    "the places of TopK": [node("Shape", "x", "s"), node("TopK", "x s", "v w"), node("Div", "w w", "c")],
    "a chain": [
        *(node("Shape", "x", "s"), node("Gather", "s s", "g"), node("Unsqueeze", "g s", "u")),
        *(node("Concat", "u u", "k", axis=0), node("ReduceSum", "k", "w"), node("Sub", "w w", "z")),
        node("Div", "z z", "c"),
    ],
    "Where": [node("Shape", "x", "s"), node("Equal", "s s", "e"), node("Where", "e s s", "w"), node("Div", "w w", "c")],
    "ConstantOfShape": [
        node("Shape", "x", "s"),
        helper.make_node("ConstantOfShape", ["s"], ["w"], value=stored("v", [0])),
        node("Div", "s w", "c"),
    ],
    "a value that nothing makes": [node("Div", "nowhere nowhere", "c")],
    "a value that is made of itself": [node("Neg", "b", "a"), node("Neg", "a", "b"), node("Div", "a b", "c")],
    "a value that is made twice": [node("Neg", "x", "a"), node("Shape", "x", "a"), node("Div", "a a", "c")],
}


@pytest.mark.parametrize("nodes", TO_WHOLE.values(), ids=TO_WHOLE)
def test_whole_numbers_that_come_of_floats(nodes):
    refused(nodes, inputs=of(F32, "x"))


def test_floats_that_come_of_whole_numbers():
    nodes = [
        *(node("Shape", "i", "s"), node("Cast", "s", "f", to=F32), node("ReduceSum", "f", "r")),
        *(node("Equal", "s s", "e"), node("Where", "e f r", "w"), node("Div", "w f", "c")),
        *(node("ConstantOfShape", "s", "z"), node("Div", "c z", "d"), node("CastLike", "i d", "j")),
        node("Div", "j d", "k"),
    ]
    check(nodes, inputs=of(I64, "i"))


def in_body(operator, divides, kind, *, shadow=()):
    """A graph in whose body `a` and `b` are divided. shadow: nodes in front of it, outside."""
    about = (kind, ["n"])
    yes = helper.make_node("Constant", [], ["yes"], value=stored("v", True, BOOL))
    one = helper.make_node("Constant", [], ["one"], value=stored("v", 1))
    if operator == "If":
        other = graph("else", [node("Identity", "a", "other")], {"other": about})
        branch = graph("then", divides("a", "b", "c"), {"c": about})
        outer = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=other)
    elif operator == "Loop":
        inputs = {"i": (I64, []), "go": (BOOL, []), "u": about, "v": about}
        outputs = {"on": (BOOL, []), "c": about, "w": about}
        nodes = [node("Identity", "go", "on"), *divides("u", "v", "c"), node("Identity", "v", "w")]
        body = graph("body", nodes, outputs, inputs)
        outer = helper.make_node("Loop", ["one", "yes", "a", "b"], ["y", "z"], body=body)
    else:
        scalar = (kind, [])
        outputs, inputs = {"w": scalar, "c": scalar}, {"u": scalar, "v": scalar}
        body = graph("body", [*divides("v", "u", "c"), node("Identity", "u", "w")], outputs, inputs)
        outer = helper.make_node("Scan", ["start", "a"], ["z", "y"], body=body, num_scan_inputs=1)
        shadow = [*shadow, node("ReduceMax", "b", "start", keepdims=0)]
    return [*shadow, yes, one, outer]


def plain(a, b, c):
    return [node("Div", f"{a} {b}", c)]


@pytest.mark.parametrize("operator", ["If", "Loop", "Scan"])
def test_a_division_in_a_body(operator):
    refused(in_body(operator, plain, I64), inputs=of(I64, "a", "b"))
    check(in_body(operator, plain, F32), inputs=of(F32, "a", "b"))
    nodes = in_body(operator, lambda *names: guarded("Div", *names), I64)
    data = check(nodes, inputs=of(I64, "a", "b"), outputs=[value("y", I64, ["n"])], constants=tables())
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    low = np.iinfo(np.int64).min
    got = session.run(None, {"a": np.array([low, 7]), "b": np.array([-1, -1])})[0]
    assert got.ravel().tolist() == [low, -7]


@pytest.mark.parametrize("operator", ["If", "Loop", "Scan"])
def test_the_type_of_what_a_body_gives(operator):
    """The results of the bodies are divided outside; the body's own division is one of floats, or guarded."""
    for kind, good in ((F32, True), (I64, False)):
        divides = plain if good else lambda *names: guarded("Div", *names)
        nodes = [*in_body(operator, divides, kind), node("Div", "y y", "d")]
        (check if good else refused)(nodes, inputs=of(kind, "a", "b"), constants=[] if good else tables())


def test_a_body_sees_its_own_values_first_even_those_made_later():
    """Outside, `w` is a float; in the body it is an integer, which is made after the division in the file."""
    late = [node("Div", "w w", "c"), node("Shape", "a", "w")]
    outside = [node("Identity", "a", "w")]
    refused(in_body("If", lambda a, b, c: late, I64, shadow=outside), inputs=of(F32, "a", "b"))


def test_a_function_is_refused_whatever_it_divides():
    inner = helper.make_function(
        "", "Halve", ["a", "b"], ["c"], [node("Div", "a b", "c")], [helper.make_opsetid("", 20)]
    )
    model = onnx_model([node("Halve", "a b", "c")], of(I64, "a", "b"), of(I64, "c"), functions=[inner])
    with pytest.raises(ArtifactError, match="Halve"):
        check_operators("m.onnx", scan(model.SerializeToString(), name="m.onnx"))


def change(nodes, output, **parts):
    """The nodes with another one in place of that which makes an output."""
    index = next(k for k, one in enumerate(nodes) if one.output[0] == output)
    old = nodes[index]
    new = helper.make_node(
        parts.pop("operator", old.op_type), parts.pop("inputs", " ".join(old.input)).split(), [output], **parts
    )
    return [*nodes[:index], new, *nodes[index + 1 :]]


GUARDED = guarded("Div", "a", "b", "c")
LOOKS_GUARDED = {
    "another number is compared with 0": change(GUARDED, "is_zero", inputs="a zero"),
    "another number is compared with -1": change(GUARDED, "is_minus_one", inputs="a minus_one"),
    "it is compared with 1": change(GUARDED, "is_zero", inputs="b second"),
    "less in place of equal": change(GUARDED, "is_zero", operator="Less"),
    "the choices are exchanged": change(GUARDED, "sure_place", inputs="is_zero place beyond"),
    "0 is looked up in the table": change(GUARDED, "sure_place", inputs="is_zero first place"),
    "-1 is looked up as others are": change(GUARDED, "place", inputs="is_minus_one first first"),
    "others are looked up as -1 is": change(GUARDED, "place", inputs="is_minus_one second second"),
    "the condition is an input": change(GUARDED, "sure_place", inputs="g beyond place"),
    "the table is an input": change(GUARDED, "factor", inputs="a sure_place"),
    "the place is an input": change(GUARDED, "factor", inputs="factors a"),
    "the product is a sum": change(GUARDED, "safe", operator="Add"),
    "another number is multiplied": change(GUARDED, "safe", inputs="a factor"),
    "the factor is not that": change(GUARDED, "safe", inputs="b b"),
    "the divisor is not the product": change(GUARDED, "c", inputs="turned b"),
    "the divisor is the factor of another": change(GUARDED, "c", inputs="safe turned"),
    "it is cast to a narrow type and back": [
        *change(GUARDED, "c", inputs="turned narrow_then_wide")[:-1],
        node("Cast", "safe", "narrow", to=TensorProto.INT8),
        node("Cast", "narrow", "narrow_then_wide", to=I64),
        node("Div", "turned narrow_then_wide", "c"),
    ],
    "it is cast to a narrow type": [
        *GUARDED[:-1],
        *(node("Cast", "safe", "n", to=TensorProto.INT8), node("Cast", "turned", "t", to=TensorProto.INT8)),
        node("Div", "t n", "c"),
    ],
    "another axis": change(GUARDED, "factor", axis=1),
    "ScatterElements in place of Gather": change(GUARDED, "factor", operator="GatherElements"),
}


@pytest.mark.parametrize("nodes", LOOKS_GUARDED.values(), ids=LOOKS_GUARDED)
def test_what_only_looks_guarded_is_refused(nodes):
    inputs = [*of(I64, "a", "b"), value("g", BOOL, ["n"])]
    check(GUARDED, inputs=inputs, constants=tables())
    refused(nodes, inputs=inputs, constants=tables())


TABLES = {
    "0 is in the table": ("factors", [1, 0]),
    "-1 stays -1": ("factors", [1, 1]),
    "others change": ("factors", [2, -1]),
    "the table is longer": ("beyond", 1),
    "the place counts from the end": ("beyond", -1),
    "0 is another number": ("zero", 3),
    "0 is two numbers": ("zero", [0, 5]),
    "-1 is another number": ("minus_one", -2),
}


@pytest.mark.parametrize(("name", "numbers"), TABLES.values(), ids=TABLES)
def test_a_guard_with_other_numbers_is_refused(name, numbers):
    constants = [stored(name, numbers), *(one for one in tables() if one.name != name)]
    refused(GUARDED, inputs=of(I64, "a", "b"), constants=constants)
    also_input = [*of(I64, "a", "b"), value(name, I64, ["n"] if name == "factors" else [])]
    refused(GUARDED, inputs=also_input, constants=tables())


CHILD = """
import sys
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 4
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print("loaded", flush=True)
for a, b in ((np.iinfo(np.int64).min, -1), (7, -1), (7, 0), (7, 2)):
    try:
        print(session.run(None, {"a": np.array([a]), "b": np.array([b])})[0].item(), flush=True)
    except Exception as error:
        print("error", flush=True)
"""


def test_the_guard_saves_a_process_that_a_plain_division_ends(tmp_path):
    said = {}
    for name, nodes in (("plain", plain("a", "b", "c")), ("guarded", GUARDED)):
        model = onnx_model(nodes, of(I64, "a", "b"), of(I64, "c"), tables() if name == "guarded" else [])
        (tmp_path / name).write_bytes(model.SerializeToString())
        command = [sys.executable, "-c", CHILD, str(tmp_path / name)]
        said[name] = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert said["plain"].stdout.split() == ["loaded"]
    assert said["plain"].returncode < 0
    low = np.iinfo(np.int64).min
    assert said["guarded"].stdout.split() == ["loaded", str(low), "-7", "error", "3"]
    assert said["guarded"].returncode == 0


def never_empty(**changes):
    nodes = [
        *(node("Size", "x", "size"), node("Equal", "size zero", "is_empty"), node("Shape", "x", "shape")),
        *(node("Where", "is_empty beyond first", "place"), node("Gather", "factors place", "factor")),
        *(
            node("Mul", "shape factor", "same"),
            node("Reshape", "x same", "x1"),
            node("GRU", "x1 w r", "y", hidden_size=2),
        ),
    ]
    for output, parts in changes.items():
        nodes = change(nodes, output, **parts)
    return nodes


X = [value("x", F32, ["t", "b", 3]), value("z", F32, ["t", "b", 3])]
WEIGHTS = [
    numpy_helper.from_array(np.ones((1, 6, 3), np.float32), "w"),
    numpy_helper.from_array(np.ones((1, 6, 2), np.float32), "r"),
]


@pytest.mark.parametrize("operator", ["GRU", "LSTM", "GridSample"])
def test_an_operator_that_cannot_be_given_an_empty_axis(operator):
    refused([node(operator, "x w r", "y")], inputs=X, constants=WEIGHTS, match="may be given an empty axis")
    nodes = never_empty() if operator == "GRU" else change(never_empty(), "y", operator=operator)
    data = check(nodes, inputs=X[:1], constants=[*WEIGHTS, *tables()], outputs=[value("y", F32, None)])
    if operator == "GRU":
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for shape in ((0, 1, 3), (2, 0, 3)):
            with pytest.raises(Exception, match="must be within the inclusive range"):
                session.run(None, {"x": np.ones(shape, np.float32)})
        assert session.run(None, {"x": np.ones((2, 1, 3), np.float32)})[0].shape == (2, 1, 1, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"inputs": "z"}},
        {"x1": {"inputs": "z same"}},
        {"x1": {"inputs": "x shape"}},
        {"is_empty": {"inputs": "size second"}},
        {"place": {"inputs": "is_empty first beyond"}},
        {"size": {"operator": "ReduceMax"}},
        {"same": {"inputs": "shape shape"}},
    ],
)
def test_what_only_looks_never_empty_is_refused(changes):
    refused(never_empty(**changes), inputs=X, constants=[*WEIGHTS, *tables()], match="may be given an empty axis")


def test_sizes_that_are_divided_by():
    signal = [value("x", F32, [1, "n", 1]), value("length", I64, [])]
    steps = [stored("step", 2), *(stored(f"length_{n}", n) for n in (4, 0))]
    for name, good in (("length_4", True), ("length_0", False), ("length", False), ("", False)):
        nodes = [helper.make_node("STFT", ["x", "step", "", name], ["y"])]
        if good:
            check(nodes, inputs=signal, constants=steps)
        else:
            refused(nodes, inputs=signal, constants=steps, match="has no frame_length that is known and positive")
    for block, good in (([2, 2], True), ([0, 2], False), ([2**40, 2**40], False)):
        constants = [stored("image", [4, 4]), stored("block", block)]
        nodes, image = [node("Col2Im", "x image block", "y")], [value("x", F32, [1, 4, 4])]
        if good:
            check(nodes, inputs=image, constants=constants)
        else:
            refused(nodes, inputs=image, constants=constants, match="has no block_shape that is known and positive")


def test_attributes_that_are_divided_by():
    check([node("Conv", "x x", "y", strides=[2, 2], group=1)], inputs=X)
    refused([node("ConvTranspose", "x x", "y", strides=[1, 0])], inputs=X, match="has strides that are not positive")
    refused([node("GroupNormalization", "x x x", "y", num_groups=0)], inputs=X, match="has num_groups that are not")


def test_the_diagonal_of_a_triangle():
    inputs, constants = [*X, value("k", I64, [])], [stored("one", 1), stored("low", -(2**62)), stored("bad", -(2**63))]
    check([node("Trilu", "x", "y")], inputs=X)
    check([node("Trilu", "x one", "y")], inputs=X, constants=constants)
    check([node("Max", "k low", "j"), node("Trilu", "x j", "y")], inputs=inputs, constants=constants)
    for nodes in (
        [node("Trilu", "x k", "y")],
        [node("Trilu", "x bad", "y")],
        [node("Max", "k bad", "j"), node("Trilu", "x j", "y")],
        [node("Min", "k low", "j"), node("Trilu", "x j", "y")],
    ):
        refused(nodes, inputs=inputs, constants=constants, match="the smallest integer as its diagonal")
