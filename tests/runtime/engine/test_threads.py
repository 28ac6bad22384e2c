"""How many threads work inside an operator, where nobody says."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from support.artifacts import affine_card, write_affine

import odelet
from odelet.engine.session import MOST_THREADS, WORTH_THREADS, threads_for
from odelet_export.graphs.work import largest_product


def graph_of(operator, shapes, made, **attributes):
    names = [f"x{i}" for i in range(len(shapes))]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip(names, shapes, strict=True)
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)]
    graph = helper.make_graph([helper.make_node(operator, names, ["y"], **attributes)], "g", inputs, outputs)
    return ir.from_proto(helper.make_model(graph))


@pytest.mark.parametrize(
    ("operator", "shapes", "made", "attributes", "expected"),
    [
        ("MatMul", [[5, 7], [7, 11]], [5, 11], {}, 5 * 7 * 11),
        ("MatMul", [["batch", 7], [7, 11]], ["batch", 11], {}, 7 * 11),
        ("MatMul", [[3, 5, 7], [3, 7, 11]], [3, 5, 11], {}, 3 * 5 * 7 * 11),
        ("MatMul", [[5, 7], [7]], [5], {}, 5 * 7),
        ("Gemm", [[5, 7], [7, 11]], [5, 11], {}, 5 * 7 * 11),
        ("Gemm", [[5, 7], [11, 7]], [5, 11], {"transB": 1}, 5 * 7 * 11),
        ("Conv", [[2, 3, 8, 8], [4, 3, 3, 3]], [2, 4, 6, 6], {}, 2 * 4 * 6 * 6 * 3 * 3 * 3),
        ("Add", [[5, 7], [5, 7]], [5, 7], {}, 0),
    ],
)
def test_the_products_of_an_operator_are_counted(operator, shapes, made, attributes, expected):
    model = graph_of(operator, shapes, made, **attributes)
    assert largest_product([model]) == expected
    small = graph_of("MatMul", [[1, 1], [1, 1]], [1, 1])
    assert largest_product([small, model]) == max(expected, 1)


def test_threads_follow_the_work(monkeypatch):
    monkeypatch.setattr("odelet.engine.session.cores", lambda: 16)
    assert [threads_for(work) for work in (None, 0, WORTH_THREADS - 1, WORTH_THREADS)] == [1, 1, 1, MOST_THREADS]
    monkeypatch.setattr("odelet.engine.session.cores", lambda: 2)
    assert threads_for(WORTH_THREADS) == 2


@pytest.mark.parametrize(("work", "expected"), [(None, 1), (10, 1), (10**9, 3)])
def test_a_model_says_its_threads(work, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("odelet.engine.session.cores", lambda: 3)
    folder = write_affine(tmp_path, replace(affine_card(), work=work))
    assert odelet.load(folder).threads == expected
    model = odelet.load(folder, threads=2)
    assert model.threads == 2
    assert model(np.ones((1, 3), np.float32)).shape == (1, 3)
