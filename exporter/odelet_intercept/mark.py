"""The function `mark`, for fixed points in a model: it runs in plain torch, and becomes a solve in an export.

Importing this module does not import torch.
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

    f: maps a tensor, or a tuple of tensors, to tensors of the same shapes. It may read anything else, such as the
        model's inputs and weights.
    z0: the first guess, a tensor or a tuple of tensors, float32 or float64.
    method: "fixed_point" for plain iteration, or "anderson" for Anderson's acceleration.
    rtol, atol: tolerances, at least 0 and not both 0.
    max_iters: the most calls of f.
    per_sample: whether each sample is solved on its own; the first axis of z0 then counts samples. A sample has weights
        of its own in Anderson's method, and no longer changes once it has converged.
    norm: a function that maps what f returns to one number. None stands for the root mean square; of several tensors,
        the largest of their root mean squares counts.
    options: settings of the method. `tau` (1.0) is the share of the way from z to the proposal of the method that each
        iteration goes. "anderson" also takes `m` (6), the number of calls that are combined, and `lam` (1e-4), the
        regularisation of their weights.

    Returns f(z) for the first z that is close enough, in the structure and shapes of z0. If no z is, a RuntimeWarning
    says so, and f(z) is returned for the z that changed least. Gradients flow through every call of f.

    In `odelet_export.export` the call becomes a solve, in any form; settings for ODEs do not apply to it.
    Raises odelet.InputError, a ValueError, which names the argument that is not valid.

    >>> import torch
    >>> from odelet_export import mark
    >>> x = torch.tensor([0.0, 1.0])
    >>> mark(lambda z: 0.5 * torch.cos(z) + x, torch.zeros(2), rtol=0.0, atol=1e-6)
    tensor([0.4502, 1.1872])
    """
    from odelet_intercept.fixed_point import solve_or_warn

    return solve_or_warn(
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
