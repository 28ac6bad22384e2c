"""Reads which axes may change, in every way in which torch takes them: by name or by position, in nested containers,
as names or as `torch.export.Dim`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import Dim

from odelet_export.model.number_inputs import GivenDynamic
from odelet_intercept.errors import CaptureError

_HOW = 'name axes as in {"x": {0: "batch"}}, or by position as in ({0: "batch"}, None)'


def read_dynamic(dynamic: Any, arguments: Sequence[str], inputs: Mapping[str, torch.Tensor]) -> GivenDynamic | None:
    """The axes that may change by input name, with a label for each axis; for a number, its own label.

    dynamic: what the caller gave; None for no axes. arguments: the names of the model's arguments in order. inputs: the
    input tensors by name, those in containers with dots. Axes and labels are not checked here; see `check_dynamic`.
    Raises CaptureError for what has no meaning.
    """
    if dynamic is None:
        return None
    axes: dict[str, Any] = {}
    for name, given in _by_name("dynamic", dynamic, arguments).items():
        _read(name, given, inputs, axes)
    return axes


def _by_name(what: str, given: Any, names: Sequence[str]) -> dict[str, Any]:
    """A dict by name, a dict by position or a row as a dict by name. what: where it stands, for messages."""
    if isinstance(given, (tuple, list)):
        if len(given) > len(names):
            raise CaptureError(f"{what} has {len(given)} entries for {len(names)} ({', '.join(names)})")
        return dict(zip(names, given, strict=False))
    if not isinstance(given, Mapping):
        raise CaptureError(f"{what}={given!r} cannot be read; {_HOW}")
    named: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(key, int) and not isinstance(key, bool):
            if not -len(names) <= key < len(names):
                raise CaptureError(f"{what} names position {key}, but there are {len(names)} ({', '.join(names)})")
            key = names[key]
        if key in named:
            raise CaptureError(f"{what} names {key!r} twice, by name and by position")
        named[str(key)] = value
    return named


def _read(name: str, given: Any, inputs: Mapping[str, torch.Tensor], axes: dict[str, Any]) -> None:
    """Add the axes of one argument, or of one part of it. name: its name, with dots for a part."""
    if given is None:
        return
    inside = list(dict.fromkeys(n[len(name) + 1 :].split(".")[0] for n in inputs if n.startswith(f"{name}.")))
    if name not in inputs and not inside and isinstance(given, (str, Dim, type(Dim.AUTO))):
        label = _label(given, name, "size")  # a number has one label, and no axes
        if label is not None:
            axes[name] = label
        return
    if name not in inputs and inside:
        for key, part in _by_name(f"dynamic[{name!r}]", given, inside).items():
            _read(f"{name}.{key}", part, inputs, axes)
        return
    if isinstance(given, (tuple, list)):
        given = dict(enumerate(given))
    if not isinstance(given, Mapping):
        raise CaptureError(f'dynamic[{name!r}]={given!r} must map axes to names, as in {{0: "batch"}}')
    labels = {axis: _label(label, name, axis) for axis, label in given.items()}
    named = {axis: label for axis, label in labels.items() if label is not None}
    if named or name not in inputs:
        axes[name] = named


def _label(label: Any, name: str, axis: Any) -> Any:
    """The name of an axis; None for one that keeps its size."""
    if label in (Dim.AUTO, Dim.DYNAMIC):
        return f"{name}_{axis}".replace(".", "_").replace("-", "last")
    if label is None or label is Dim.STATIC:
        return None
    return label.__name__ if isinstance(label, Dim) else label
