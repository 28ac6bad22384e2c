"""What a rewrite is: a pattern of operators, a check of what it matched, and what to put in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """One kind of rewrite.

    name: as tests and logs call it. about: a clause that says what is put for what, and why that is faster. pattern: a
    function of onnxscript's builder and of the pattern's values. check: whether a match is to be replaced; it makes no
    node, because a node that stays unused would still count among the uses of what it reads. replace: makes the nodes
    that stand for a match, by the same builder. Both get the values of the match by the names in the pattern.
    everywhere: whether other engines than ONNX Runtime gain as well; if not, the rewrite makes up for a slow operator.
    """

    name: str
    about: str
    pattern: Callable[..., Any]
    check: Callable[..., bool]
    replace: Callable[..., Any]
    everywhere: bool = False

    def apply(self, model: ir.Model) -> int:
        """Replace all matches in a model. Returns their number."""
        rule = RewriteRule(self.pattern, self.replace, self.check, name=self.name)
        count: int = RewriteRuleSet([rule]).apply_to_model(model)
        return count


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A rewrite that no pattern of a few operators describes. apply: rewrites a model in place, and returns in how many
    places. The rest is as in `Rewrite`."""

    name: str
    about: str
    apply: Callable[[ir.Model], int]
    everywhere: bool = False
