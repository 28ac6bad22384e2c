"""Marking fixed points in a model: `mark`, which runs in plain torch, and is a solve when the model is exported.

Importing this brings no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def mark(
    f: Callable[[Any], Any],
    z0: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    method: str = "fixed_point",
    rtol: float = 1e-5,
    atol: float = 1e-6,
    max_iters: int = 100,
    per_sample: bool = False,
    norm: Callable[[Any], torch.Tensor] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Find z with z = f(z), by iterating from z0 until norm(f(z) - z) <= atol + rtol * norm(f(z)).

    f: maps a tensor, or a tuple of tensors, to the same; it may read anything else, such as the model's input and
    weights. z0: the first guess, float32 or float64. method: "fixed_point", plain iteration, or "anderson". max_iters:
    calls of f at most. per_sample: the first axis of z0 counts samples, and each is solved on its own: with its own
    weights in Anderson's method, and it stays as it is once it has converged. norm: of what f maps, one number; the
    root mean square if None, with several tensors the largest of theirs. options: of the method, `tau` (how far to go
    from z to what the method proposes, 1.0), and for "anderson" `m` (calls that are combined, 6) and `lam` (how much
    their weights are held back, 1e-4).

    Returns f(z) for the first z that is close enough; in the shape of z0. Where none is, a RuntimeWarning says so, and
    f(z) for the z that changed least is returned. Gradients go through every call of f.

    `odelet_export.export` makes it a solve in any form; what can be set there for ODEs leaves it as it is.
    Raises odelet.InputError, a ValueError, naming the argument that cannot be.
    """
    from odelet_intercept.fixed_point import warned

    return warned(
        f,
        z0,
        method=method,
        rtol=rtol,
        atol=atol,
        max_iters=max_iters,
        per_sample=per_sample,
        norm=norm,
        options=options,
    )
