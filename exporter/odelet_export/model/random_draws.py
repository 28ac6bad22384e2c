"""Random numbers of a model: every draw becomes a base draw, normal or uniform, and arithmetic on it.

While a model is captured, a base draw is a marker that becomes an input of the graph. While the torch model runs for
comparison, the same base draws come from a generator of odelet's, or are replayed. Numbers that the model seeds itself,
by torch.manual_seed or a generator, are the same in each call, and become constants.

    with drawing(source):          # around any number of runs of a model
        with one_run(): ...        # in each run, around the model's code
            with field_call("refused"): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.distributions import Distribution
from torch.onnx import ops as onnx_ops
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from odelet_export.model.random_functions import DRAWS, REFUSED, Base
from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import short, user_frame, with_source

OPERATOR = "Noise"
DOMAIN = "odelet"
RANDOM = "random numbers"

# The seed of torch's own generator while a model runs. Another seed then means that the model has set it.
_UNSEEDED = 0x0DE1E7_5EED
_SEED_ADVICE = "draw without a seed, which makes the numbers an input, or from constant arguments"


class Source(Protocol):
    """Where base draws come from."""

    def begin(self) -> None:
        """Begin a run of the model."""

    def base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        """A base draw. distribution: "normal" (standard), or "uniform" (from 0 up to 1); dtype: float32 or float64."""

    def constant(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The numbers of a draw from a generator that the model seeds: those of function(*args, **kwargs)."""


@dataclass(frozen=True)
class Draw:
    """A base draw of a captured model. index: its number in the order of the run. source: file and line."""

    index: int
    distribution: str
    source: str


class TracedSource:
    """A source that marks base draws in a trace.

    hold: called for each base draw with its marker, its numbers on the example, and what they are in words. draws: the
    base draws of the last run.
    """

    def __init__(self, hold: Callable[[torch.Tensor, torch.Tensor, str], None]) -> None:
        self.draws: list[Draw] = []
        self._hold, self._example = hold, on_the_example()

    def begin(self) -> None:
        self.draws = []
        self._example.begin()

    def base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        index = -1
        if _field_call.get() != "unused":
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
        """The numbers, drawn while tracing: a constant, which depends on nothing but the shapes of tensors."""
        if function is torch.normal:
            return _seeded_normal(*args, **kwargs)
        in_place = function.__name__.endswith("_")
        likes = in_place or function.__name__.endswith("_like")
        plain = [_plain_size(arg) for arg in args]
        if likes:
            like = args[0]
            shape, dtype = _plain_size(like.shape), like.dtype
        elif any(isinstance(arg, torch.Tensor) for arg in [*plain, *kwargs.values()]):
            raise _refused("a seeded draw that depends on the values of a tensor", _SEED_ADVICE)
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
            raise _refused("a seeded draw whose size changes with the inputs", _SEED_ADVICE)
        return size
    return value


class _Real:
    """A source for runs of the torch model, in which seeded draws are the model's own. arrays: the base draws."""

    def __init__(self) -> None:
        self.arrays: list[torch.Tensor] = []

    def constant(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return function(*args, **kwargs)


class SeededSource(_Real):
    """A source that makes base draws from a seed, the same in each run. arrays: the base draws of the last run."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed, self._generator = seed, torch.Generator()

    def begin(self) -> None:
        self.arrays = []
        self._generator.manual_seed(self._seed)

    def base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        draw = torch.randn if distribution == "normal" else torch.rand
        self.arrays.append(draw(tuple(shape), dtype=dtype, generator=self._generator))
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
            found = "there are no more" if numbers is None else f"the next are {numbers.dtype} {list(numbers.shape)}"
            raise CaptureError(
                f"the model draws {distribution} numbers, {dtype} {list(shape)}, for its draw {self._next}, and {found}"
            )
        self._next += 1
        return numbers.clone()


_source: ContextVar[Source | None] = ContextVar("source", default=None)
_field_call: ContextVar[Literal["kept", "unused", "refused"]] = ContextVar("field_call", default="kept")


@contextmanager
def drawing(source: Source) -> Iterator[None]:
    """Let models that run in the `with` block take their random numbers from a source."""
    token = _source.set(source)
    try:
        with torch.random.fork_rng(devices=[]), distribution_checks_restored():
            # torch checks the parameters of distributions by decisions on values, which no trace can hold.
            if isinstance(source, TracedSource):
                Distribution.set_default_validate_args(False)
            yield
    finally:
        _source.reset(token)


@contextmanager
def distribution_checks_restored() -> Iterator[None]:
    """Restore, on leaving, whether torch.distributions checks its parameters.

    torch turns the checks off for good when a process compiles for the first time (TorchPatcher.patch in
    torch/_dynamo/eval_frame.py), as a recurrent layer does that is traced as a loop.
    """
    checked = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)


@contextmanager
def one_run() -> Iterator[None]:
    """A context for one run of a model's code; it does nothing outside of `drawing`."""
    source = _source.get()
    if source is None:
        yield
        return
    source.begin()
    torch.default_generator.manual_seed(_UNSEEDED)
    with _Substitution(source):
        yield


@contextmanager
def field_call(draws: Literal["unused", "refused"]) -> Iterator[None]:
    """A context for a call of a solve's function after the first call, whose draws the function may keep.

    draws: "unused" for the second call, whose draws nothing may read; "refused" for the third, which must not draw.
    """
    # The first call of a solve inside a field may fall into the second or third call of that field.
    token = _field_call.set("refused" if _field_call.get() == "refused" else draws)
    try:
        yield
    finally:
        _field_call.reset(token)


class _Substitution(TorchFunctionMode):
    """Replaces torch's random functions by arithmetic on base draws while a model runs."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        draw, refused = DRAWS.get(func), REFUSED.get(func)
        if draw is None:
            if refused is not None and refused(*args, **kwargs):
                raise _refused(
                    f"random numbers of {func.__name__}, which is no arithmetic on normal or uniform ones",
                    "draw them outside the model and pass them as an input",
                )
            return func(*args, **kwargs)
        for first in ("input", "tensor"):
            args = (kwargs.pop(first), *args) if first in kwargs else args
        if not draw.draws(*args, **kwargs):
            return func(*args, **kwargs)
        if _field_call.get() == "refused":
            raise _refused(
                "random numbers drawn anew in each evaluation of the field, so that dy/dt is no function of t and y",
                "draw them once, before the solve or at the field's first call, and keep them: "
                "`if self.e is None: self.e = torch.randn_like(y)`",
            )
        if _mapped():
            raise _refused(
                "random numbers drawn under torch.vmap", "draw them for all samples before, and map over them"
            )
        if kwargs.pop("out", None) is not None:
            raise _refused(f"{func.__name__} with out=", "use what it returns")
        seeded = torch.default_generator.initial_seed() != _UNSEEDED
        if kwargs.get("generator") is not None or seeded:
            return self._source.constant(func, args, kwargs)
        kwargs.pop("generator", None)
        return draw(Base(self._base), *args, **kwargs)

    def _base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        if dtype not in (torch.float32, torch.float64):
            raise _refused(f"random numbers of {dtype}", "draw float32 or float64 numbers, and make others of them")
        return self._source.base(distribution, shape, dtype)


def _mapped() -> bool:
    """Whether the running code is under torch.vmap."""
    return any(level.key() == TransformType.Vmap for level in get_interpreter_stack() or ())


def _refused(found: str, advice: str) -> CaptureError:
    """The error for a draw that cannot be exported, with the line of the model that draws."""
    return CaptureError(f"{with_source(user_frame())}\n  found: {found}\n  do: {advice}")
