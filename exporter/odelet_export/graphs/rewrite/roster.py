"""The roster of rewrites, and the function that applies them to a captured graph."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet

from odelet_export.graphs.rewrite.group_norm import GroupNormAffine
from odelet_export.graphs.rewrite.softplus import Softplus, ThresholdSoftplus
from odelet_export.graphs.rewrite.time_channel import TimeChannelConv, TimeChannelGemm, TimeChannelMatMul

# The order in which they are applied, one after the other.
REWRITES = (TimeChannelConv, TimeChannelGemm, TimeChannelMatMul, ThresholdSoftplus, Softplus, GroupNormAffine)


def rewrite(model: ir.Model) -> int:
    """Apply all rewrites to a captured graph, in place. Returns the number of places."""
    return sum(RewriteRuleSet([rule.rule()]).apply_to_model(model) for rule in REWRITES)
