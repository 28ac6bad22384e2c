"""Random numbers of a model: every draw becomes a base draw, normal or uniform, and arithmetic on it.

While a model is captured, a base draw is a marker that becomes an input of the graph. While the torch model runs for
comparison, the same base draws come from a generator of odelet's, or are replayed. Numbers that the model seeds itself,
by torch.manual_seed or a generator, are the same in each call, and become constants.

    with drawing(source):          # around any number of runs of a model; a source is one of model/random_sources.py
        with one_run(): ...        # in each run, around the model's code
            with field_call("refused"): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode

from odelet_export.model.distribution_checks import distribution_checks_restored
from odelet_export.model.random_functions import DRAWS, REFUSED, Base
from odelet_export.model.random_sources import FIELD_CALL, Source, TracedSource, draw_refused

# The seed of torch's own generator while a model runs. Another seed then means that the model has set it.
_UNSEEDED = 0x0DE1E7_5EED

_source: ContextVar[Source | None] = ContextVar("source", default=None)


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


def draw_keys(count: Any) -> torch.Tensor:
    """Draw a key (count,), int64, for the Brownian path of each batch row, in the run that is under way."""
    source = _source.get()
    if source is None:
        return torch.randint(0, 2**63 - 1, (count,))
    return source.base("key", (count,), torch.int64)


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
                raise draw_refused(
                    f"random numbers of {func.__name__}, which is no arithmetic on normal or uniform ones",
                    "draw them outside the model and pass them as an input",
                )
            return func(*args, **kwargs)
        for first in ("input", "tensor"):
            args = (kwargs.pop(first), *args) if first in kwargs else args
        if not draw.draws(*args, **kwargs):
            return func(*args, **kwargs)
        if FIELD_CALL.get() == "refused":
            raise draw_refused(
                "random numbers drawn anew in each evaluation of the field, so that dy/dt is no function of t and y",
                "draw them once, before the solve or at the field's first call, and keep them: "
                "`if self.e is None: self.e = torch.randn_like(y)`",
            )
        if _mapped():
            raise draw_refused(
                "random numbers drawn under torch.vmap", "draw them for all samples before, and map over them"
            )
        if kwargs.pop("out", None) is not None:
            raise draw_refused(f"{func.__name__} with out=", "use what it returns")
        seeded = torch.default_generator.initial_seed() != _UNSEEDED
        if kwargs.get("generator") is not None or seeded:
            return self._source.constant(func, args, kwargs)
        kwargs.pop("generator", None)
        return draw(Base(self._base), *args, **kwargs)

    def _base(self, distribution: str, shape: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        if dtype not in (torch.float32, torch.float64):
            raise draw_refused(f"random numbers of {dtype}", "draw float32 or float64 numbers, and make others of them")
        return self._source.base(distribution, shape, dtype)


def _mapped() -> bool:
    """Whether the running code is under torch.vmap."""
    return any(level.key() == TransformType.Vmap for level in get_interpreter_stack() or ())
