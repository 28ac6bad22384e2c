"""The function `explain`: it tells what an export would do, as far as that is certain before any form is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import torch

from odelet_export.lowering.hole import Placed
from odelet_export.lowering.lower import forms_of
from odelet_export.lowering.profiles import PROFILES
from odelet_export.model.reference import evaluation_mode
from odelet_export.pipeline.describe import describe
from odelet_export.pipeline.explanation import Explanation
from odelet_export.pipeline.given_call import read_call
from odelet_export.pipeline.keywords import changed
from odelet_export.pipeline.prepare import prepare
from odelet_export.pipeline.quick import LEFT_OUT
from odelet_export.pipeline.settings import ExportChanges, ExportSettings


def explain(
    model: Callable[..., Any],
    args: Sequence[Any] | torch.Tensor,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic: Any = None,
    on_stage: Callable[[str], None] | None = None,
    settings: ExportSettings | None = None,
    **changes: Unpack[ExportChanges],
) -> Explanation:
    """Explain what `export` would make of a model: capture the model, run the capture, choose forms, write nothing.

    The arguments and the errors are those of `export`. Settings of the files alone (keep_debug_info, calibration,
    quantile, fallback) change nothing.

    >>> import torch
    >>> from torchdiffeq import odeint
    >>> def decay(x):
    ...     return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]
    >>> explanation = explain(decay, (torch.ones(2, 3),), method="euler", steps=4)
    >>> [(solve.method, solve.options, solve.form) for solve in explanation.solves]
    [('euler', {'steps': 4}, 'unrolled')]
    """
    settings = changed(settings or ExportSettings(), changes)
    callee, axes = read_call(model, args, kwargs, dynamic)
    with evaluation_mode(model):
        ready = prepare(callee, axes, settings, tell=on_stage or (lambda stage: None))
        explanation = describe(ready)
        # The choice of a form does not depend on where the steps of a grid are.
        holes = [replace(hole, placed=Placed(np.array([0.0, 1.0]))) for hole in ready.holes]
        profile = PROFILES[settings.profile]
        choices = forms_of(ready.captured, holes, settings.form, max_steps=settings.max_steps, profile=profile)
    explanation = explanation.in_forms([choice.form.name for choice in choices])
    return explanation.warned([LEFT_OUT]) if settings.proof.quick else explanation
