"""The sources of a model's base draws: markers in a trace, a seed, or numbers that are replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch.onnx import ops as onnx_ops
from torch.utils._python_dispatch import _disable_current_modes

from odelet.random_numbers import noise_array
from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import short, user_frame, with_source

# The operator that marks a base draw in a captured graph, and its domain.
OPERATOR = "Noise"
DOMAIN = "odelet"
RANDOM = "random numbers"  # the description of a marker's value on the example

_SEED_ADVICE = "draw without a seed, which makes the numbers an input, or from constant arguments"
# The call of a solve's function that is running; `field_call` sets it.
FIELD_CALL: ContextVar[Literal["kept", "unused", "refused"]] = ContextVar("field_call", default="kept")


class Source(Protocol):
    """A source of base draws."""

    def begin(self) -> None:
        """Begin a run of the model."""

    def base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        """A base draw. distribution: "normal" (standard) or "uniform" (from 0 up to 1), of dtype float32 or float64; or
        "key" (whole numbers from 0 to 2**63 - 2, each as likely), of dtype int64."""

    def constant(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The numbers of a draw from a generator that the model seeds: the result of function(*args, **kwargs)."""


@dataclass(frozen=True)
class Draw:
    """A base draw of a captured model. index: its number in the order of the run. source: file and line."""

    index: int
    distribution: str
    source: str


class TracedSource:
    """A source that marks base draws in a trace.

    hold: called for each base draw with its marker, its numbers on the example, and their description. draws: the base
    draws of the last run.
    """

    def __init__(self, hold: Callable[[torch.Tensor, torch.Tensor, str], None]) -> None:
        self.draws: list[Draw] = []
        self._hold, self._example = hold, on_the_example()

    def begin(self) -> None:
        self.draws = []
        self._example.begin()

    def base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        index = -1
        if FIELD_CALL.get() != "unused":
            index = len(self.draws)
            self.draws.append(Draw(index, distribution, short(user_frame())))
        traced = onnx_ops.symbolic(
            f"{DOMAIN}::{OPERATOR}", (), {"index": index}, dtype=dtype, shape=list(shape), version=1
        )
        sizes = [size.node.hint if isinstance(size, torch.SymInt) else size for size in shape]
        if index >= 0 and None not in sizes:
            with torch._C.DisableTorchFunction(), _disable_current_modes():
                self._hold(traced, self._example.base(distribution, sizes, dtype), RANDOM)
        return traced

    def constant(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The numbers of a seeded draw, drawn while tracing: a constant, which depends on tensor shapes alone."""
        if function is torch.normal:
            return _seeded_normal(*args, **kwargs)
        in_place = function.__name__.endswith("_")
        likes = in_place or function.__name__.endswith("_like")
        plain = [_plain_size(arg) for arg in args]
        if likes:
            like = args[0]
            shape, dtype = _plain_size(like.shape), like.dtype
        elif any(isinstance(arg, torch.Tensor) for arg in [*plain, *kwargs.values()]):
            raise draw_refused("a seeded draw that depends on the values of a tensor", _SEED_ADVICE)
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            if likes:
                plain[0] = torch.empty(shape, dtype=dtype)
            value = function(*plain, **kwargs)
        return args[0].copy_(value) if in_place else value


def _seeded_normal(mean: Any, std: Any = 1.0, size: Any = None, **options: Any) -> torch.Tensor:
    """torch.normal from a seed: constant standard normal numbers, times std, plus mean."""
    tensors = [x for x in (mean, std) if isinstance(x, torch.Tensor)]
    shape = size if not tensors else torch.broadcast_shapes(*(x.shape for x in tensors))
    dtype = tensors[0].dtype if tensors else options.pop("dtype", None)
    shape = _plain_size(tuple(shape))
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        base = torch.empty(shape, dtype=dtype).normal_(generator=options.get("generator"))
    return base * std + mean


def _plain_size(value: Any) -> Any:
    """A size, or a sequence of sizes, as plain integers. Raises CaptureError for a size that inputs change."""
    if isinstance(value, (tuple, list)):
        return [_plain_size(part) for part in value]
    if isinstance(value, torch.SymInt):
        size = value.node.maybe_as_int()
        if size is None:
            raise draw_refused("a seeded draw whose size changes with the inputs", _SEED_ADVICE)
        return size
    return value


class _Real:
    """A source for runs of the torch model, which draws seeded numbers itself. arrays: the base draws."""

    def __init__(self) -> None:
        self.arrays: list[torch.Tensor] = []

    def constant(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return function(*args, **kwargs)


class SeededSource(_Real):
    """A source that makes base draws from a seed, the same in each run, by the runtime's own generator. arrays: the
    base draws of the last run."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def begin(self) -> None:
        self.arrays = []

    def base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        dtypes = {torch.float64: "float64", torch.int64: "int64"}
        sizes = [int(size) for size in shape]
        wide = dtypes.get(dtype, "float32")
        numbers = noise_array(distribution, self._seed % 2**64, len(self.arrays), sizes, wide)
        self.arrays.append(torch.from_numpy(numbers))
        return self.arrays[-1].clone()


def on_the_example() -> SeededSource:
    """The source of the base draws for every run on the example."""
    return SeededSource(0)


class ReplayedSource(_Real):
    """A source that replays base draws in their order. None stands for a draw whose numbers nothing reads.

    Raises CaptureError where the model draws another shape or dtype, or more often.
    """

    def __init__(self, arrays: Sequence[torch.Tensor | None]) -> None:
        super().__init__()
        self._replayed, self._next = list(arrays), 0

    def begin(self) -> None:
        self._next = 0

    def base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        more = self._next < len(self._replayed)
        numbers = self._replayed[self._next] if more else None
        if more and numbers is None:
            numbers = torch.zeros(tuple(shape), dtype=dtype)
        if numbers is None or (tuple(numbers.shape), numbers.dtype) != (tuple(shape), dtype):
            next_draw = (
                "there are no more" if numbers is None else f"the next are {numbers.dtype} {list(numbers.shape)}"
            )
            raise CaptureError(
                f"the model draws {distribution} numbers, {dtype} {list(shape)}, for its draw {self._next}, "
                f"and {next_draw}"
            )
        self._next += 1
        return numbers.clone()


@contextmanager
def field_call(draws: Literal["unused", "refused"]) -> Iterator[None]:
    """A context for a call of a solve's function after the first call, whose draws the function may keep.

    draws: "unused" for the second call, whose draws nothing may read; "refused" for the third, which must not draw.
    """
    # The first call of a solve inside a field may fall into the second or third call of that field.
    token = FIELD_CALL.set("refused" if FIELD_CALL.get() == "refused" else draws)
    try:
        yield
    finally:
        FIELD_CALL.reset(token)


def draw_refused(found: str, advice: str) -> CaptureError:
    """The error for a draw that cannot be exported, with the line of the model that draws."""
    return CaptureError(f"{with_source(user_frame())}\n  found: {found}\n  do: {advice}")
