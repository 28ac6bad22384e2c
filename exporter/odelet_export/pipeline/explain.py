"""What an export would do, as far as it goes before any form is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from odelet.loops.adaptive import DEFAULT_MAX_STEPS
from odelet_export.lowering.hole import Placed
from odelet_export.lowering.lower import forms_of
from odelet_export.model.axes import Dynamic, check_dynamic
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import evaluation_mode
from odelet_export.pipeline.explanation import Explanation, explained
from odelet_export.pipeline.export import _check_numbers
from odelet_export.pipeline.prepare import prepare


def explain(
    model: Callable[..., Any],
    args: Sequence[Any],
    *,
    kwargs: Mapping[str, Any] | None = None,
    form: str = "auto",
    dynamic: Dynamic | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    opset: int = 20,
    samples: int = 4,
    seed: int = 0,
    tolerance: tuple[float, float] | None = None,
    freeze: Sequence[str] = (),
    strict: bool = False,
    on_stage: Callable[[str], None] | None = None,
    **overrides: Any,
) -> Explanation:
    """What `export` would make of a model, as far as it goes before anything is built: nothing is written.

    Arguments and errors are those of `export`; what was captured is run under torchdiffeq beside the model.
    """
    _check_numbers(opset, samples, max_steps)
    callee = Callee(model, tuple(args), dict(kwargs or {}))
    with evaluation_mode(model):
        ready = prepare(
            callee,
            check_dynamic(dynamic, callee.names, callee.example),
            Overrides(**overrides),
            opset=opset,
            samples=samples,
            seed=seed,
            tolerance=tolerance,
            form=form,
            max_steps=max_steps,
            freeze=freeze,
            strict=strict,
            tell=on_stage or (lambda stage: None),
        )
        explanation = explained(ready, callee)
        # Which forms are chosen does not depend on where steps are put.
        holes = [replace(hole, placed=Placed(np.array([0.0, 1.0]))) for hole in ready.holes]
        choices = forms_of(ready.captured, holes, form, max_steps=max_steps)
        next(iter(ready.drawn))  # an error where the model fails on the example
    return explanation.in_forms([choice.form.name for choice in choices])
