"""Reads what the caller of an export gives: the model, its example call, and the axes that may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from odelet_export.model.axes import Dynamic, check_dynamic
from odelet_export.model.callee import Callee
from odelet_export.model.given import check_arguments, check_model, positional
from odelet_export.model.given_axes import read_dynamic
from odelet_export.model.number_inputs import declared_numbers


def read_call(
    model: Callable[..., Any], args: Any, kwargs: Mapping[str, Any] | None, dynamic: Any
) -> tuple[Callee, Dynamic]:
    """The model with its example call, and the axes that may change.

    Raises InputError for a model or arguments that are not what `export` takes, and CaptureError for an example that
    does not fit the model's signature, or for axes that are not there.
    """
    check_model(model, args)
    values, named = positional(args), {} if kwargs is None else kwargs
    check_arguments(values, named)
    callee = Callee(model, values, dict(named))
    inputs = dict(zip(callee.names, callee.example, strict=True))
    axes = read_dynamic(dynamic, callee.arguments, inputs)
    if declared_numbers(axes):
        callee = Callee(model, values, dict(named), dynamic=axes)
    return callee, check_dynamic(axes, callee.names, callee.example)
