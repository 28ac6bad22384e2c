"""Fixed points in plain torch: the iterations of `odelet.methods.fixed_point` on tensors, with checked arguments."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from odelet.errors import InputError
from odelet.methods.fixed_point import ITERATIONS, Iteration, IterationState, iterate
from odelet.numerics.state import Layout
from odelet_intercept.torch_backend import TORCH


@dataclass(frozen=True)
class MarkArguments:
    """The checked arguments of a call of `mark`, besides f and z0.

    method: the iteration, with its options set. max_iters: the most calls of f. The other fields are as in `mark`.
    """

    method: Iteration
    rtol: float
    atol: float
    max_iters: int
    per_sample: bool
    norm: Callable[[Any], torch.Tensor] | None


def check_mark_arguments(
    *,
    method: Any,
    rtol: Any,
    atol: Any,
    max_iters: Any,
    per_sample: bool,
    norm: Any,
    options: Mapping[str, Any] | None,
) -> MarkArguments:
    """Check the arguments of `mark` besides f and z0. Raises InputError naming an argument that is not valid."""
    if method not in ITERATIONS:
        raise InputError(f"method={method!r} is not one of {', '.join(ITERATIONS)}")
    chosen = ITERATIONS[method]
    unknown = sorted(set(options or {}) - set(chosen.option_names()))
    if unknown:
        options_known = ", ".join(chosen.option_names())
        raise InputError(f"options {', '.join(unknown)} are not known for method {method!r}; known are {options_known}")
    for name, value in {"rtol": rtol, "atol": atol, **(options or {})}.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InputError(f"{name}={value!r} must be a number")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not 0 <= value < math.inf:
            raise InputError(f"{name}={value!r} must be finite and not negative")
    if rtol == atol == 0:
        raise InputError("rtol and atol are both 0, so no iteration could end; make one of them positive")
    if isinstance(max_iters, bool) or not isinstance(max_iters, numbers.Integral) or not 1 <= int(max_iters) < 2**31:
        raise InputError(f"max_iters={max_iters!r} must be a whole number, at least 1")
    if norm is not None and not callable(norm):
        raise InputError(f"norm={norm!r} must be a function of what f maps, or None for the root mean square")
    if norm is not None and per_sample:
        raise InputError(
            "norm measures the whole of what f maps, so it cannot measure each sample; leave one of norm "
            "and per_sample out"
        )
    try:
        chosen = chosen.with_options(
            **{name: int(x) if isinstance(x, numbers.Integral) else float(x) for name, x in (options or {}).items()}
        )
    except ValueError as error:
        raise InputError(f"options: {error}") from None
    return MarkArguments(chosen, float(rtol), float(atol), int(max_iters), bool(per_sample), norm)


def parts_of(z0: Any, *, per_sample: bool) -> list[torch.Tensor]:
    """The tensors of a first guess, in their common dtype.

    z0: a tensor, or a tuple of tensors. Raises InputError for anything else, for a dtype other than float32 and
    float64, and for `per_sample` where the tensors have no first axis of one size.
    """
    parts = list(z0) if isinstance(z0, tuple) else [z0]
    if not parts or not all(isinstance(part, torch.Tensor) for part in parts):
        raise InputError(f"z0 must be a tensor or a tuple of tensors; got {type(z0).__name__}")
    dtype = parts[0].dtype
    for part in parts[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"z0 is {dtype}; use float32 or float64")
    if per_sample and not all(part.ndim > 0 and part.shape[0] == parts[0].shape[0] for part in parts):
        shapes = ", ".join(str(tuple(part.shape)) for part in parts)
        raise InputError(f"per_sample needs a z0 whose first axis counts samples; its shapes are {shapes}")
    return [part.to(dtype) for part in parts]


def as_field(f: Callable[[Any], Any], z0: Any) -> Callable[[Any, Any], Any]:
    """The function f as a field: a function of a time, which it does not read, and a state.

    The field raises InputError where f does not return tensors of the shapes of its argument. z0: a tensor for a state
    of one tensor, a tuple otherwise.
    """
    single = not isinstance(z0, tuple)

    def field(_t: Any, z: Any) -> Any:
        result = f(z)
        parts, argument_parts = ([result], [z]) if single else (result, z)
        shapes = [tuple(part.shape) for part in argument_parts]
        are_tensors = isinstance(parts, (tuple, list)) and all(isinstance(part, torch.Tensor) for part in parts)
        if not are_tensors or [tuple(part.shape) for part in parts] != shapes:
            got = [tuple(part.shape) for part in parts] if are_tensors else type(result).__name__
            raise InputError(f"f must return tensors of the shapes of its argument, {shapes}; it returned {got}")
        return result

    return field


def solve(f: Callable[[Any], Any], z0: Any, arguments: MarkArguments) -> tuple[Any, IterationState]:
    """The fixed point, in the structure and shapes of z0, and the last state of the iteration."""
    single = not isinstance(z0, tuple)
    parts = parts_of(z0, per_sample=arguments.per_sample)
    layout = Layout(
        [tuple(part.shape) for part in parts],
        sizes=[part.numel() for part in parts] if len(parts) > 1 else None,
        user_norm=None if arguments.norm is None else _measure(arguments.norm, single=single),
        table_shapes=[(len(part), math.prod(part.shape[1:])) for part in parts] if arguments.per_sample else None,
    )
    field = as_field(f, z0)

    def row_map(row: torch.Tensor) -> torch.Tensor:
        state = layout.unpack(row, xp=TORCH)
        result = field(None, state[0] if single else tuple(state))
        packed: torch.Tensor = layout.pack([part.to(row.dtype) for part in ([result] if single else result)], xp=TORCH)
        return packed

    last = iterate(
        arguments.method,
        row_map,
        layout.pack(parts, xp=TORCH),
        rtol=arguments.rtol,
        atol=arguments.atol,
        limit=arguments.max_iters,
        layout=layout,
        xp=TORCH,
    )
    answer = layout.unpack(last.best, xp=TORCH)
    return (answer[0] if single else tuple(answer)), last


def _measure(norm: Callable[[Any], torch.Tensor], *, single: bool) -> Callable[[list[torch.Tensor]], torch.Tensor]:
    """The user's norm as a function of a list of tensors, which returns a scalar of their dtype."""
    return lambda parts: norm(parts[0] if single else tuple(parts)).to(parts[0].dtype).reshape(())


def solve_or_warn(f: Callable[[Any], Any], z0: Any, **unchecked: Any) -> Any:
    """The result of a call of `mark`, with a RuntimeWarning where the iteration did not converge."""
    arguments = check_mark_arguments(**unchecked)
    answer, state = solve(f, z0, arguments)
    failed = ~state.converged
    if bool(failed.any()):
        of = f" for {int(failed.sum())} of {failed.numel()} samples" if arguments.per_sample else ""
        why = "became infinite or NaN" if bool((state.not_finite & failed).any()) else "did not converge"
        warnings.warn(
            f"mark: the iteration {why}{of} in {int(state.turns.max())} calls of f; raise max_iters, loosen rtol and "
            "atol, or try the method anderson or a smaller tau",
            RuntimeWarning,
            stacklevel=3,
        )
    return answer
