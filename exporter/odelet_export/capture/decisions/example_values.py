"""Example values beside a trace: what each traced tensor is on the example, and what it depends on.

Every torch function that the model calls is repeated on real tensors, in step with the trace, where all its
arguments have values: constants of the model, the example inputs, and what follows from them. What depends on the
time or the state of a solve has no value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from odelet_export.model.trees import tensors_in

SIZES = "the size of an axis"
_RANDOM = ("rand", "normal", "bernoulli", "multinomial", "exponential_", "uniform_", "poisson", "cauchy_")


@dataclass(frozen=True)
class Known:
    """The value of a traced tensor on the example. sources: the inputs it depends on; none, for a constant."""

    value: torch.Tensor
    sources: frozenset[str]


class ExampleValues:
    """The values of traced tensors."""

    def __init__(self) -> None:
        self._values = WeakTensorKeyDictionary()
        # By storage, as views share what is written into one of them; None after a write of something unknown.
        self._sources: dict[int, frozenset[str] | None] = {}
        self._borrowed: set[int] = set()  # storages of the model itself

    def hold(self, traced: torch.Tensor, value: torch.Tensor, *sources: str) -> None:
        """Say what a tensor is on the example."""
        self._values[traced] = value
        self._sources[_storage(value)] = frozenset(sources)

    def borrow(self, traced: torch.Tensor, value: torch.Tensor) -> None:
        """Hold a weight of the model, which must not be written into."""
        self.hold(traced, value)
        self._borrowed.add(_storage(value))

    def of(self, x: torch.Tensor) -> Known | None:
        """What is known of a tensor."""
        value = self._values.get(x)
        if value is None:
            if not is_plain(x):
                return None
            # A constant of the model. A copy, which the trace may write into; of weights there may be many.
            with real():
                value = x.detach() if isinstance(x, torch.nn.Parameter) else x.detach().clone()
            self.hold(x, value)
            if isinstance(x, torch.nn.Parameter):
                self.borrow(x, value)
        sources = self._sources.get(_storage(value))
        return None if sources is None else Known(value, sources)

    def evaluate(self, func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, frozenset[str]]:
        """A function's result on the example, and what it depends on. Raises KeyError where that is not known."""
        sources: set[str] = set()

        def concrete(leaf: Any) -> Any:
            if isinstance(leaf, torch.Tensor):
                known = self.of(leaf)
                if known is None:
                    raise KeyError("no value")
                sources.update(known.sources)
                return known.value
            if isinstance(leaf, torch.Size):  # not a container to torch, and it would make numbers of its sizes
                return torch.Size([concrete(size) for size in leaf])
            if isinstance(leaf, slice):
                return slice(concrete(leaf.start), concrete(leaf.stop), concrete(leaf.step))
            if isinstance(leaf, (torch.SymInt, torch.SymFloat, torch.SymBool)):
                sources.add(SIZES)
                if leaf.node.hint is None:
                    raise KeyError("no value")
                return leaf.node.hint
            return leaf

        args, kwargs = tree_map(concrete, (args, dict(kwargs)))
        with real():
            result = func(*args, **kwargs)
        return result, frozenset(sources)

    def follow(self, func: Callable[..., Any], args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        """Repeat a call that the trace has made, and hold the values of what it returned or wrote into."""
        name = getattr(func, "__name__", "")
        written = next((x for x in args if isinstance(x, torch.Tensor)), None) if _writes(name, kwargs) else None
        traced = tensors_in(result)
        if not traced and written is None:
            return
        try:
            # Under vmap and the like tensors are wrapped, and have no values of their own.
            if torch._C._functorch.maybe_current_level() is not None:
                raise KeyError("no value")
            if any(mark in name for mark in _RANDOM) or "onnx_symbolic" in str(getattr(func, "__module__", "")):
                raise KeyError("no value")
            if written is not None and self._is_borrowed(written):
                raise KeyError("no value")
            found, sources = self.evaluate(func, args, kwargs)
        except Exception:  # a value that cannot be had is unknown, whatever the reason
            if written is not None:
                self._forget(written)
            return
        if written is not None:
            self._taint(written, sources)
        values = tensors_in(found)
        for leaf, value in zip(traced, values, strict=False):
            self._values[leaf] = value
            self._sources[_storage(value)] = sources

    def _is_borrowed(self, x: torch.Tensor) -> bool:
        value = self._values.get(x)
        return value is not None and _storage(value) in self._borrowed

    def _forget(self, x: torch.Tensor) -> None:
        value = self._values.get(x)
        if value is not None:
            self._sources[_storage(value)] = None

    def _taint(self, x: torch.Tensor, sources: frozenset[str]) -> None:
        value = self._values.get(x)
        if value is not None:
            self._sources[_storage(value)] = (self._sources.get(_storage(value)) or frozenset()) | sources


def is_plain(x: Any) -> bool:
    """Whether a tensor is an ordinary one, from outside the trace."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)
    return isinstance(x, torch.Tensor) and not isinstance(x, FakeTensor) and not wrapped


@contextmanager
def real() -> Iterator[None]:
    """No tracing, for computing with ordinary tensors in the middle of a trace."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _storage(value: torch.Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return value.untyped_storage()._cdata if value.layout is torch.strided else id(value)


def _writes(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a function changes its first argument."""
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or kwargs.get("out") is not None
