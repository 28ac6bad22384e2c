"""How many threads work inside an operator, where nobody says."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from support.artifacts import affine_card, edit_card, write_affine

import odelet
from odelet.artifact.card import Card
from odelet.artifact.work_card import ProductCard, work_of
from odelet.engine.session import MOST_THREADS, WORTH_THREADS, threads_for
from odelet_export.graphs.work import largest_by_axes, largest_product


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


def test_the_products_that_grow_are_counted_by_their_axes():
    models = [
        graph_of("MatMul", [["batch", 7], [7, 11]], ["batch", 11]),
        graph_of("MatMul", [["batch", 3], [3, 11]], ["batch", 11]),
        graph_of("MatMul", [["batch", "n", 5], ["batch", 5, "n"]], ["batch", "n", "n"]),
        graph_of("MatMul", [[5, 7], [7, 11]], [5, 11]),
        graph_of("MatMul", [["inner", 7], [7, 11]], ["inner", 11]),
    ]
    found = largest_by_axes(models, {"batch", "n"})
    assert found == {("batch",): 77, ("batch", "n", "n"): 5}
    products = [ProductCard(work=work, axes=axes) for axes, work in found.items()]
    assert work_of(products, {"batch": 2, "n": 3}) == 2 * 77
    assert work_of(products, {"batch": 2, "n": 100}) == 2 * 100 * 100 * 5
    assert work_of((), {}) == 0


def growing(folder, **changes):
    return write_affine(folder, replace(affine_card(), products=(ProductCard(work=10**6, axes=("batch",)),), **changes))


@pytest.fixture
def four_cores(monkeypatch):
    for module in ("session", "opening"):
        monkeypatch.setattr(f"odelet.engine.{module}.cores", lambda: 4)


def test_free_sizes_decide_in_each_call(four_cores, tmp_path):
    model = odelet.load(growing(tmp_path))
    for rows, expected in ((1, 1), (15, 1), (16, 4), (100, 4), (2, 1)):
        x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
        assert np.array_equal(model(x), 2 * x + 1)
        assert model.threads == expected
    # The graphs are opened once for each number.
    assert [*model._runner.runners] == [4]


def test_free_sizes_decide_only_where_nobody_says_more(four_cores, tmp_path, monkeypatch):
    x = np.ones((99, 3), np.float32)
    for options in ({"threads": 1}, {"memory": 2**22}):
        model = odelet.load(growing(tmp_path / "out"), **options)
        assert np.array_equal(model(x), 2 * x + 1) and model.threads == 1
    large = odelet.load(growing(tmp_path / "large", work=10**9))  # at any batch
    assert large.threads == 4 and large._runner.artifact.reopened is None
    monkeypatch.setattr("odelet.engine.opening.cores", lambda: 1)
    assert odelet.load(growing(tmp_path / "out"))._runner.artifact.reopened is None


def test_a_card_says_which_products_grow(tmp_path):
    card = Card.from_json((growing(tmp_path) / "odelet.json").read_text())
    assert card.products == (ProductCard(work=10**6, axes=("batch",)),)
    for wrong, message in (
        ({"work": 0, "axes": ["batch"]}, "work is 0"),
        ({"work": 3, "axes": []}, "no axes"),
        ({"work": 3, "axes": ["tokens"]}, "none of the inputs'"),
    ):
        edit_card(tmp_path, lambda data, wrong=wrong: data.update(products=[wrong]))
        with pytest.raises(odelet.ArtifactError, match=message):
            odelet.load(tmp_path)


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
