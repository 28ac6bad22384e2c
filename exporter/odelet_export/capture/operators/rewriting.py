"""Makes the rewrite rules of torch's translation to ONNX fast: a rule is tried only at nodes that it can begin with.

After the translation, onnxscript's optimiser tries each of its rules at each node of the graph. A rule whose pattern
has several last nodes even lists the whole graph for each node, which is quadratic. Within `quick_rules` the same rules
find the same matches, without most of this work.

Of the matches those are left out whose numbers are only close to those of a rule: onnxscript takes x + 1e-8 for x + 0,
and x * 1.00001 for x * 1, and drops the number.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import onnx_ir as ir
from onnxscript import rewriter
from onnxscript.rewriter._basics import MatchResult
from onnxscript.rewriter._matcher import SimplePatternMatcher
from onnxscript.rewriter._pattern_ir import Constant, Var


@contextmanager
def quick_rules() -> Iterator[None]:
    """Let onnxscript's optimiser try its default rules only where they can match."""
    rules = rewriter._DEFAULT_REWRITE_RULES
    rewriter._DEFAULT_REWRITE_RULES = tuple(_quick(rule) for rule in rules)
    try:
        yield
    finally:
        rewriter._DEFAULT_REWRITE_RULES = rules


def _quick(rule: Any) -> Any:
    """A copy of a rule with a matcher that looks at the operator of a node first."""
    if type(rule._matcher) is not SimplePatternMatcher:
        return rule
    quick = copy.copy(rule)
    quick._matcher = _Matcher(rule._target_pattern)
    return quick


class _Matcher(SimplePatternMatcher):
    """onnxscript's matcher, which rejects a node of another operator at once.

    Where a pattern has several last nodes that read one value, only nodes that read this value are tried for the
    others.
    """

    def __init__(self, pattern: Any) -> None:
        super().__init__(pattern)
        first, *self._others = pattern.output_nodes
        self._operator = first.op_identifier()
        shared = [
            place
            for place, read in enumerate(first.inputs)
            if isinstance(read, Var) and all(any(read is one for one in other.inputs) for other in self._others)
        ]
        self._place = shared[0] if shared and self._others else None
        self._another_operator = MatchResult().fail("another operator")
        self._no_others = MatchResult().fail("no other nodes match")

    def match(
        self,
        model: ir.Model,
        graph_or_function: ir.Graph | ir.Function,
        node: ir.Node,
        *,
        verbose: int = 0,
        remove_nodes: bool = True,
        tracer: Any = None,
    ) -> MatchResult:
        """The match of the pattern that ends at a node; a result that is false where there is none."""
        if self._operator is not None and node.op_identifier() != self._operator:
            return self._another_operator
        if self._place is None:
            return super().match(
                model, graph_or_function, node, verbose=verbose, remove_nodes=remove_nodes, tracer=tracer
            )
        read = node.inputs[self._place] if self._place < len(node.inputs) else None
        self._graph = graph_or_function if isinstance(graph_or_function, ir.Graph) else graph_or_function.graph
        users = [user for user in read.consumers() if user.graph is self._graph] if read is not None else []
        for others in product(*(_of_operator(users, other.op_identifier()) for other in self._others)):
            self._init_match(verbose)
            found = self._multi_match((node, *others), check_removable=remove_nodes)
            if found:
                return found
        return self._no_others

    def _match_constant(self, pattern_constant: Constant, value: ir.Value) -> bool:
        """Whether a value is the number of a pattern, and not only close to it."""
        exact = Constant(pattern_constant.value, rel_tol=0.0, abs_tol=0.0)
        return bool(super()._match_constant(exact, value))


def _of_operator(nodes: Sequence[ir.Node], operator: Any) -> list[ir.Node]:
    """The nodes of an operator; all of them where it is None."""
    return [node for node in nodes if operator is None or node.op_identifier() == operator]
