"""Graphs of a few nodes, built by a function of values and run by ONNX Runtime, and a roster of such functions.

FUNCTIONS has calls of every function that a solver may call on a backend `xp`; tests compare each backend with numpy.
"""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from odelet.numerics.backend import NUMPY, Backend, ScalarBackend, StateBackend
from odelet.numerics.scalars import SCALARS
from odelet_export.graphs.emit import ONNX
from odelet_export.graphs.scope import Scope, Value
from odelet_export.graphs.tidy import tidy
from odelet_intercept.torch_backend import TORCH

DTYPES = ["float32", "float64"]
# By name: each backend, and the protocol that it must have.
BACKENDS = {
    "NUMPY": (NUMPY, Backend),
    "SCALARS": (SCALARS, ScalarBackend),
    "ONNX": (ONNX, Backend),
    "TORCH": (TORCH, StateBackend),
}


def functions_of(protocol):
    """The names of the functions of a protocol, its own and inherited ones."""
    return {
        name for kind in protocol.__mro__ for name, value in vars(kind).items() if name[0] != "_" and callable(value)
    }


def run(build, *arrays, opset=20):
    """The outputs of a graph on some arrays, as a list, and the graph.

    build: takes a Value for each array, and returns one Value or a list of them.
    """
    arrays = [np.asarray(array) for array in arrays]
    inputs = [ir.val(f"x{i}", ir.DataType.from_numpy(array.dtype), array.shape) for i, array in enumerate(arrays)]
    graph = ir.Graph(inputs, [], nodes=[], name="test", opset_imports={"": opset})
    scope = Scope.of(graph)
    values = build(*(Value(value, scope) for value in inputs))
    values = values if isinstance(values, list) else [values]
    graph.outputs.extend(scope.call("Identity", value).ir for value in values)
    for output in graph.outputs:
        output.shape = None
    model = ir.Model(graph, ir_version=10).clone()
    tidy(model, keep_debug_info=False)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    results = session.run(None, {value.name: array for value, array in zip(inputs, arrays, strict=True)})
    return results, graph


def emitted(build, *arrays):
    """The only output of a graph on some arrays."""
    (result,), _ = run(build, *arrays)
    return result


ROW = np.array([[1.0, -2.0, 3.0, 0.5]])


def _stacked(xp, x):
    """A block (rows, 4) that grows by one row in each turn of a loop."""
    rows, _ = xp.loop(
        lambda rows, y: (xp.rms(y) < 9, [xp.concat([rows, y], axis=0), y * 2]), 9, True, [xp.resizable(x), x]
    )
    return rows


# Calls of each function of a backend, by its name. A call takes the backend, a row (1, 4) and a float64 scalar.
FUNCTIONS = {
    "minimum": [lambda xp, x, s: xp.minimum(x, 0.7), lambda xp, x, s: xp.minimum(x, x * 2)],
    "maximum": [
        lambda xp, x, s: xp.maximum(x, 0.7),
        lambda xp, x, s: xp.maximum(x * 2, x),
        lambda xp, x, s: xp.maximum(x, 0.7, -2 * x),
        lambda xp, x, s: xp.maximum(xp.where(x > 0, x, np.nan), 0.7, x),
    ],
    "where": [
        lambda xp, x, s: xp.where(x > 0, x, -1.0),
        lambda xp, x, s: xp.where(x > 0, 1.0, x),
        lambda xp, x, s: xp.where(x > 0, x, x * 3),
        lambda xp, x, s: xp.where(x > 0, 1.0, -1.0),
    ],
    "cast": [lambda xp, x, s: x * xp.cast(s, x), lambda xp, x, s: x * xp.cast(0.1, x)],
    "rounding": [lambda xp, x, s: x * xp.rounding(x)[0], lambda xp, x, s: x * xp.rounding(x)[1]],
    "combine": [
        lambda xp, x, s: xp.combine(x, xp.cast(s, x), (0.5, 2, -0.25), [x, x * 2, abs(x)]),
        lambda xp, x, s: xp.combine(None, xp.cast(s, x), (0.5, 0, -0.25), [x, x * np.nan, abs(x)]),
        lambda xp, x, s: xp.combine(x, xp.cast(s, x), (0, 2), [x, abs(x)]),
        lambda xp, x, s: xp.combine(x, xp.cast(np.float64(0.1), x), (0.5, 0.25), [x, abs(x)]),
        lambda xp, x, s: xp.combine(None, xp.cast(np.float64(0.1), x), (0, 1), [x, x * x]),
    ],
    "divisor": [lambda xp, x, s: 2 / xp.divisor(abs(x)), lambda xp, x, s: xp.minimum(3 / xp.divisor(abs(x) * 0), 9.0)],
    "rms": [
        lambda xp, x, s: xp.rms(x),
        lambda xp, x, s: xp.rms(x[1:]),
        lambda xp, x, s: xp.rms(xp.reshape(x, (2, 2)), axis=1),
    ],
    "expand": [lambda xp, x, s: xp.expand(xp.reshape(s, (-1, 1)), x), lambda xp, x, s: xp.expand(x > 0, x)],
    "reshape": [lambda xp, x, s: xp.reshape(x, (2, -1)), lambda xp, x, s: xp.reshape(x, (1, 4))],
    "concat": [lambda xp, x, s: xp.concat([x, x * 2], axis=0), lambda xp, x, s: xp.concat([x, x * 2], axis=1)],
    "split": [lambda xp, x, s: list(xp.split(x, [1, 3]))],
    "matmul": [lambda xp, x, s: xp.matmul(x, xp.reshape(x, (4, 1)))],
    "transpose": [
        lambda xp, x, s: xp.transpose(xp.reshape(x, (2, 2))),
        lambda xp, x, s: xp.transpose(xp.reshape(x, (1, 2, 2)), (2, 0, 1)),
    ],
    "sum": [lambda xp, x, s, axis=axis: xp.sum(xp.reshape(x, (2, 2)), axis) for axis in (0, 1)],
    "take": [lambda xp, x, s, axis=axis: xp.take(xp.reshape(x, (2, 2)), 1, axis) for axis in (0, 1)],
    "any": [
        lambda xp, x, s: xp.where(xp.any(x > 2.5), x, 0.0),
        lambda xp, x, s: xp.where(xp.any(s > 2.5), x, 0.0),
    ],
    "stacked_shape": [lambda xp, x, s: xp.reshape(x, xp.stacked_shape(2, (1, -1)))],
    "branch": [
        lambda xp, x, s: xp.branch(s > 0.5, lambda y: y * 2, lambda y: y, x),
        lambda xp, x, s: list(xp.branch(s > 0.9, lambda y: (y * 2, s), lambda y: (y, s * 3), x)),
        lambda xp, x, s: xp.branch(True, lambda y: y * 2, lambda y: y, x),
    ],
    "resizable": [lambda xp, x, s: _stacked(xp, x)],
    "row_count": [lambda xp, x, s: x * xp.cast(xp.row_count(_stacked(xp, x)), x)],
    "constant": [lambda xp, x, s: x * xp.constant([1.0, 2.0, 3.0, 4.0], x)],
    "largest": [lambda xp, x, s: xp.largest(abs(x)), lambda xp, x, s: xp.largest(x[:0])],
    "loop": [
        lambda xp, x, s: xp.loop(lambda y: (xp.rms(y) < 9, [y * 2]), 9, xp.rms(x) < 9, [x]),
        lambda xp, x, s: xp.loop(lambda y: (True, [y * 2]), xp.ceil(s * 2.5), True, [x]),
        lambda xp, x, s: xp.loop(lambda y: (True, [y * 2]), xp.ceil(s - 1), True, [x]),
    ],
    "sign": [lambda xp, x, s: xp.sign(x * (x - 0.5)), lambda xp, x, s: xp.sign(xp.where(x > 0, x, np.nan))],
    "log": [lambda xp, x, s: xp.log(abs(x))],
    "sqrt": [lambda xp, x, s: xp.sqrt(abs(x)), lambda xp, x, s: x * xp.sqrt(x.dtype.type(2.0))],
    "equal": [
        lambda xp, x, s: xp.where(xp.equal(x, -2.0), x, 1.0),
        lambda xp, x, s: xp.where(xp.equal(xp.where(x > 0, x, np.nan), xp.where(x > 0, x, np.nan)), x, 9.0),
    ],
    "smallest": [lambda xp, x, s: xp.smallest(x), lambda xp, x, s: xp.smallest(x[0] * 3)],
    "ceil": [lambda xp, x, s: xp.arange(xp.ceil(s * 2.3), x), lambda xp, x, s: xp.arange(xp.ceil(s * 4), x)],
    "arange": [lambda xp, x, s: xp.arange(4, x) * x],
}
