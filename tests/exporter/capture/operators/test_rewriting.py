"""onnxscript's rewrite rules, tried only where they can match: they find the same matches, in less work."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnxscript import optimizer
from onnxscript.rewriter._matcher import SimplePatternMatcher

from odelet_export.capture.operators.rewriting import quick_rules

# Graphs in which some rules match: casts and reshapes in a row, a minimum of a maximum, halves of an axis in both
# orders, no-ops, a product of matrices under shape changes, and a branch.
GRAPHS = {
    "casts": "a = Cast <to = 1> (x) b = Cast <to = 1> (a) y = Add (b, x)",
    "reshapes": "s = Constant <value = int64[2] {4, 2}> () q = Constant <value = int64[1] {8}> () "
    "a = Reshape (x, s) b = Reshape (a, q) y = Reshape (b, s)",
    "clips": "l = Constant <value = float {-1.0}> () h = Constant <value = float {1.0}> () "
    "a = Max (x, l) b = Min (a, h) y = Relu (b)",
    "halves": "o = Constant <value = int64[1] {0}> () m = Constant <value = int64[1] {2}> () "
    "e = Constant <value = int64[1] {4}> () c = Constant <value = int64[1] {1}> () "
    "a = Slice (x, o, m, c) b = Slice (x, m, e, c) y = Sub (a, b)",
    "halves, the last first": "o = Constant <value = int64[1] {0}> () m = Constant <value = int64[1] {2}> () "
    "e = Constant <value = int64[1] {4}> () c = Constant <value = int64[1] {1}> () "
    "b = Slice (x, m, e, c) a = Slice (x, o, m, c) y = Sub (a, b)",
    "no-ops": "z = Constant <value = float {0.0}> () i = Constant <value = float {1.0}> () "
    "a = Add (x, z) b = Mul (a, i) c = Sub (b, z) y = Div (c, i)",
    "transposes": "a = Transpose <perm = [1, 0]> (x) b = Transpose <perm = [1, 0]> (a) y = Relu (b)",
}


def _model(body: str) -> ir.Model:
    text = f'<ir_version: 10, opset_import: ["" : 20]> g (float[2, 4] x) => (float[n, m] y) {{ {body} }}'
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


def _optimized(body: str) -> str:
    model = _model(body)
    optimizer.optimize_ir(model)
    return onnx.printer.to_text(ir.serde.serialize_model(model))


@pytest.mark.parametrize("name", GRAPHS)
def test_same_graph_as_without(name: str) -> None:
    slow = _optimized(GRAPHS[name])
    with quick_rules():
        assert _optimized(GRAPHS[name]) == slow


def test_attempts_do_not_grow_with_the_square_of_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0
    whole = SimplePatternMatcher._init_match

    def counted(self: SimplePatternMatcher, verbose: int) -> None:
        nonlocal attempts
        attempts += 1
        whole(self, verbose)

    monkeypatch.setattr(SimplePatternMatcher, "_init_match", counted)
    counts = []
    for size in (20, 40):
        attempts = 0
        cut = "a{i} = Slice (v{j}, o, m, c) b{i} = Slice (v{j}, m, e, c) v{i} = Concat <axis = 1> (b{i}, a{i}) "
        body = (
            "o = Constant <value = int64[1] {0}> () m = Constant <value = int64[1] {1}> () "
            "e = Constant <value = int64[1] {4}> () c = Constant <value = int64[1] {1}> () v0 = Sin (x) "
            + "".join(cut.format(i=i + 1, j=i) for i in range(size))
            + f"y = Sin (v{size})"
        )
        with quick_rules():
            _optimized(body)
        counts.append(attempts)
    assert counts[1] <= 2.2 * counts[0]


@pytest.mark.parametrize(
    ("operator", "number"),
    [("Add", "1e-08"), ("Sub", "1e-09"), ("Add", "1e-30"), ("Mul", "1.000006"), ("Div", "0.999995")],
)
def test_a_number_that_is_only_close_to_that_of_a_rule_is_kept(operator: str, number: str) -> None:
    body = f"z = Constant <value = float {{{number}}}> () a = {operator} (x, z) y = Sqrt (a)"
    assert operator not in _optimized(body)  # what onnxscript itself makes of it; else nothing is to be left out
    with quick_rules():
        assert operator in _optimized(body)
