"""How the uses of networks are exported, and their artifacts called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from odelet_models.family import Member, Use


def export_settings(member: Member, use: Use) -> dict[str, Any]:
    """The arguments of `export` for a use of a member, but for `dynamic`. A network that solves nothing is exported in
    the form "plain", unless its use says otherwise."""
    return {**({"form": "plain"} if member.discrete else {}), **use.settings}


def arrays(inputs: Sequence[Any]) -> list[Any]:
    """Tensors as numpy arrays; numbers stay as they are."""
    return [value.detach().numpy() if isinstance(value, Tensor) else value for value in inputs]
