"""Matrix products and convolutions of odelet's own: they have ONNX Runtime's answers, at shapes of every kind."""

import ctypes
import shutil
import subprocess

import numpy as np
import onnxruntime
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from odelet_export.targets.build.c.blocks import MOST_ROWS, heights, in_panels, panels
from odelet_export.targets.build.c.own import DOMAIN
from odelet_export.targets.build.c.replacing import own_text, replace_operators
from odelet_export.targets.build.instructions import Call, Choice, Constant, Section, Value
from odelet_export.targets.build.operators import Operator, Port, type_of

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O3", "-shared", "-fPIC"]
PROLOGUE = "#include <string.h>\n#define EMX_NODE_FN\n#define ODELET_RESTRICT restrict\n"

# An operator, its attributes, the shapes of its inputs, whether the second one is constant, and the type of elements.
PRODUCTS = [
    *(("Gemm", {"transB": 1}, ((rows, 9), (70, 9), (70,)), True, F32) for rows in (1, 2, 3, 4, 5, 7, 13)),
    *(("Gemm", {}, ((7, 5), (5, columns), (7, 1)), True, F32) for columns in (8, 32, 33, 100)),
    *(("Gemm", {"transA": 1}, ((6, 9), (6, 20), bias), False, F32) for bias in ((9, 20), (1, 20), (9, 1), (1,), ())),
    ("Gemm", {"transA": 1, "transB": 1, "alpha": 0.5, "beta": -2.0}, ((6, 9), (20, 6), (20,)), True, F64),
    ("Gemm", {}, ((1, 6), (6, 128)), False, F32),
    ("MatMul", {}, ((3, 2, 5), (5, 9)), True, F32),
    ("MatMul", {}, ((2, 3, 4, 5), (2, 3, 5, 9)), False, F32),
    ("MatMul", {}, ((2, 4, 5), (2, 5, 9)), True, F64),
    ("MatMul", {}, ((2, 4, 5), (1, 5, 9)), False, F32),
    ("MatMul", {}, ((4, 5), (3, 5, 9)), False, F32),
    ("MatMul", {}, ((7, 5), (2, 3, 5, 40)), False, F32),
    ("MatMul", {}, ((4, 5), (3, 5, 9)), True, F64),
]
TWO = ((1, 3, 7, 9), (16, 3, 3, 3), (16,))
CONVOLUTIONS = [
    ("Conv", {"pads": [1, 1, 1, 1]}, TWO, True, F32),
    ("Conv", {"pads": [0, 2, 1, 0], "strides": [2, 1], "dilations": [1, 2]}, TWO, True, F32),
    ("Conv", {"strides": [3, 2]}, ((2, 3, 7, 9), (40, 3, 2, 1)), True, F64),
    ("Conv", {"group": 2, "pads": [1, 1, 1, 1]}, ((2, 4, 5, 5), (18, 2, 3, 3), (18,)), True, F32),
    ("Conv", {"group": 4, "pads": [1, 1, 1, 1], "strides": [1, 2]}, ((2, 4, 5, 9), (8, 1, 3, 3), (8,)), True, F32),
    ("Conv", {"pads": [2, 2], "dilations": [2]}, ((2, 3, 70), (4, 3, 3), (4,)), True, F32),
    ("Conv", {"pads": [1, 0], "strides": [2]}, ((1, 3, 1), (64, 3, 1), (64,)), True, F32),
    ("Conv", {"group": 3, "auto_pad": "VALID"}, ((1, 3, 130), (3, 1, 4)), True, F32),
    ("Conv", {}, ((1, 2, 1, 5), (8, 2, 1, 3)), True, F32),
]


def graph_call(kind, attributes, shapes, constant, dtype, rng):
    """A call of an operator with values, those values, and ONNX Runtime's answer."""
    names = [f"i{place}" for place in range(len(shapes))]
    node = helper.make_node(kind, names, ["o0"], **attributes)
    arrays = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    ports = [Port(dtype, x.shape) for x in arrays]
    operator = Operator.of(node, ports, {}, {"": 20})
    model = operator.model()
    model.graph.output[0].type.tensor_type.elem_type = type_of(dtype)
    # ONNX Runtime has no convolution of float64.
    slow = kind == "Conv" and dtype == F64
    session = ReferenceEvaluator(model) if slow else onnxruntime.InferenceSession(model.SerializeToString())
    (result,) = session.run(None, dict(zip(names, arrays, strict=True)))
    inputs = [
        Constant("w", x) if constant and place == 1 else Value(name, dtype, x.size)
        for place, (name, x) in enumerate(zip(names, arrays, strict=True))
    ]
    return Call(operator, inputs, [Value("o0", dtype, result.size)], (Port(dtype, result.shape),)), arrays, result


@needs_gcc
@pytest.mark.parametrize("flags", [[], ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"]])
def test_products_and_convolutions_are_those_of_onnx_runtime(flags, tmp_path):
    rng, texts, runs = np.random.default_rng(0), [], []
    for number, case in enumerate(PRODUCTS + CONVOLUTIONS):
        call, arrays, expected = graph_call(*case, rng)
        inputs = dict(zip(call.inputs, arrays, strict=True))
        block = [call]
        replace_operators(block)
        assert {one.operator.proto.domain for one in block} == {DOMAIN}, case
        names = [f"f{number}_{place}" for place in range(len(block))]
        texts += [own_text(one.operator, one.ports, name) for one, name in zip(block, names, strict=True)]
        runs.append((case, block, names, inputs, expected))
    (tmp_path / "own.c").write_text(PROLOGUE + "\n".join(texts))
    subprocess.run(["gcc", *FLAGS, *flags, "own.c", "-o", "own.so"], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "own.so"))
    for case, block, names, inputs, expected in runs:
        values = dict(inputs)
        for one, name in zip(block, names, strict=True):
            read = [x.array if isinstance(x, Constant) else np.ascontiguousarray(values[x]) for x in one.inputs]
            made = np.full(one.outputs[0].size, np.nan, one.ports[0].dtype)
            getattr(library, name)(*(ctypes.c_void_p(x.ctypes.data) for x in (*read, made)))
            values[one.outputs[0]] = made
        tolerance = 1e-5 if expected.dtype == F32 else 1e-13
        np.testing.assert_allclose(
            made.reshape(expected.shape), expected, rtol=tolerance, atol=tolerance * 10, err_msg=str(case)
        )


STAY = [
    ("Gemm", {"transB": 1}, ((3, 4), (9, 4), (9,)), False, F32),  # a second factor that is read along its rows
    ("Gemm", {"transB": 1}, ((3, 4), (2, 4), (2,)), True, F32),  # few results in a row
    ("MatMul", {}, ((3, 2, 4, 5), (2, 5, 9)), False, F32),  # a broadcast of the first factor
    ("MatMul", {}, ((5,), (5, 9)), False, F32),
    ("Conv", {"auto_pad": "SAME_UPPER"}, TWO, True, F32),
    ("Conv", {}, ((1, 2, 3, 4, 5), (9, 2, 1, 1, 1)), True, F32),  # three axes
    ("Conv", {}, TWO, False, F32),  # weights that are computed
]


@pytest.mark.parametrize("case", STAY, ids=str)
def test_other_operators_stay(case):
    call, _, _ = graph_call(*case, np.random.default_rng(0))
    block = [Section("inside", [call])]
    replace_operators(block)
    assert block[0].body == [call]
    assert call.operator.kind == case[0]


def test_operators_inside_other_instructions_are_replaced():
    call, _, _ = graph_call(*CONVOLUTIONS[0], np.random.default_rng(0))
    choice = Choice(Value("b", np.dtype(bool), 1), [], [Section("inside", [call])])
    replace_operators([choice])
    padded, convolution = choice.otherwise[0].body
    assert [padded.operator.kind, convolution.operator.kind] == ["Padded", "Convolution"]
    assert convolution.inputs[0] is padded.outputs[0]
    assert convolution.outputs is call.outputs
    assert padded.outputs[0].size == 3 * 9 * 11


@pytest.mark.parametrize("rows", range(1, 40))
def test_blocks_of_rows_have_each_row_once(rows):
    blocks = heights(rows)
    places = [top + i for start, end, height in blocks for top in range(start, end, height) for i in range(height)]
    assert places == list(range(rows))
    sizes = [height for _, _, height in blocks]
    assert max(sizes) <= MOST_ROWS
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("columns", [8, 31, 32, 33, 64, 100])
def test_panels_have_each_number_once_and_are_read_in_order(columns):
    matrix = np.arange(5 * columns).reshape(5, columns)
    stored = in_panels(matrix, 32)
    assert sorted(stored) == list(range(5 * columns))
    for start, end, width in panels(columns, 32):
        for first in range(start, end, width):
            part = stored[first * 5 : (first + width) * 5].reshape(5, width)
            np.testing.assert_array_equal(part, matrix[:, first : first + width])
