"""Puts casts where torch's operators take several types and ONNX's take one, without running the program again.

torch's own pass runs each node again to know its type. Here a node that needs no cast keeps the value that the trace
recorded with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.fx import GraphModule, Node
from torch.onnx._internal.exporter import _fx_passes
from torch.onnx._internal.fx.passes import type_promotion


@contextmanager
def quick_promotion() -> Iterator[None]:
    """Let torch's translation to ONNX insert casts from recorded values."""
    torchs = _fx_passes.insert_type_promotion_nodes
    _fx_passes.insert_type_promotion_nodes = _insert_casts
    try:
        yield
    finally:
        _fx_passes.insert_type_promotion_nodes = torchs


def _insert_casts(graph_module: GraphModule) -> None:
    """Insert casts into a graph and its subgraphs, in place."""
    for module in graph_module.modules():
        assert isinstance(module, GraphModule)
        insertion = type_promotion.InsertTypePromotion(module)
        insertion.interpreter = _Promotion(module, insertion.interpreter.type_promotion_table)
        insertion.run()


class _Promotion(type_promotion._TypePromotionInterpreter):
    """torch's insertion of casts, in which a node is run only if it is new or changed."""

    _is_new = False

    def run_node(self, n: Node) -> Any:
        """The value of a node of the program, with casts before it where it needs them."""
        self._node = n
        return super().run_node(n)

    def _run_node_and_set_meta(self, node: Node) -> Any:
        self._is_new = True
        try:
            return super()._run_node_and_set_meta(node)
        finally:
            self._is_new = False

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The recorded value of a node that torch would run again, or the value of a new node."""
        if not self._is_new and "val" in self._node.meta:
            return self._node.meta["val"]
        return super().call_function(target, args, kwargs)
