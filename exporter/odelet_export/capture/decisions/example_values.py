"""Values beside a trace: the value of each traced tensor on the example, and the inputs that it depends on.

Every torch function that the model calls while it is traced is repeated on real tensors, if all its arguments have
values. Constants of the model and the example inputs have values, and so have the tensors that follow from them. The
time and the state of a solve have no values, nor have the tensors that depend on them; solutions have values once the
model has run on the example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from odelet_export.model.trees import tensors_in

# The source of a value that is computed from the size of a dynamic axis.
SIZES = "the size of an axis"
# Parts of the names of functions that draw random numbers: a repeated call would give other numbers.
_RANDOM = ("rand", "normal", "bernoulli", "multinomial", "exponential_", "uniform_", "poisson", "cauchy_")

# The place of the argument that lends a function its dtype and no value; and of one that lends its dtype and sizes.
_LENDS_DTYPE = {"type_as": 1, "to": 1, **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_tensor"), 0)}
_LENDS_SIZES = {**dict.fromkeys(("expand_as", "view_as"), 1), **dict.fromkeys(("zeros_like", "ones_like"), 0)}


@dataclass(frozen=True)
class ExampleValue:
    """The value of a traced tensor, or the result of a function, on the example.

    sources: names of the inputs that it depends on, and descriptions of other values, such as SIZES. A constant of the
    model has none.
    """

    value: Any
    sources: frozenset[str]

    @property
    def is_constant(self) -> bool:
        """Whether the value is the same in each call of the model."""
        return not self.sources


class NoValue(Exception):
    """Raised where a result depends on a tensor without a value on the example."""


class ExampleValues:
    """The values of the tensors of one trace."""

    def __init__(self) -> None:
        self._values: MutableMapping[torch.Tensor, torch.Tensor] = WeakTensorKeyDictionary()
        # What each tensor was computed from. A view has sources that the viewed tensor need not have, such as the size
        # that a constant was expanded to.
        self._sources: MutableMapping[torch.Tensor, frozenset[str]] = WeakTensorKeyDictionary()
        # What was written into a storage, which all its views share. None stands for an unknown value. The first entry
        # keeps the number of the storage from being given to another.
        self._written: dict[int, tuple[object, frozenset[str] | None]] = {}
        self._borrowed: set[int] = set()  # storages of the model's own tensors, which must not change

    def hold(self, traced: torch.Tensor, value: torch.Tensor, *sources: str) -> None:
        """Record the value of a traced tensor on the example, and the sources that it depends on."""
        self._values[traced] = value
        self._sources[traced] = frozenset(sources)

    def borrow(self, traced: torch.Tensor, value: torch.Tensor) -> None:
        """Record a weight of the model as a value that no repeated call may write into."""
        self.hold(traced, value)
        self._borrowed.add(_storage(value))

    def of(self, x: torch.Tensor) -> ExampleValue | None:
        """The value of a traced tensor, or of a constant; None where there is none."""
        value = self._values.get(x)
        if value is None:
            if not is_plain(x):
                return None
            # A constant is copied, as the trace may write into it. Parameters may be large, and are borrowed.
            with real():
                value = x.detach() if isinstance(x, torch.nn.Parameter) else x.detach().clone()
            self.hold(x, value)
            if isinstance(x, torch.nn.Parameter):
                self.borrow(x, value)
        _, written = self._written.get(_storage(value), (None, frozenset()))
        return None if written is None else ExampleValue(value, written | self._sources.get(x, frozenset()))

    def evaluate(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> ExampleValue:
        """The result of a function on the example. Raises NoValue where an argument has no value."""
        sources: set[str] = set()
        name = getattr(func, "__name__", "")
        place = (_LENDS_DTYPE | _LENDS_SIZES).get(name, len(args))
        lent = args[place] if place < len(args) else None

        def concrete(leaf: Any) -> Any:
            if leaf is lent and isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided:
                shape = [concrete(size) for size in leaf.shape] if name in _LENDS_SIZES else []
                with real():
                    return torch.zeros(shape, dtype=leaf.dtype)
            if isinstance(leaf, torch.Tensor):
                on_example = self.of(leaf)
                if on_example is None:
                    raise NoValue
                sources.update(on_example.sources)
                return on_example.value
            if isinstance(leaf, torch.Size):  # torch's tree_map does not look into a torch.Size
                return torch.Size([concrete(size) for size in leaf])
            if isinstance(leaf, slice):
                return slice(concrete(leaf.start), concrete(leaf.stop), concrete(leaf.step))
            if isinstance(leaf, (torch.SymInt, torch.SymFloat, torch.SymBool)):
                sources.add(SIZES)
                if leaf.node.hint is None:
                    raise NoValue
                return leaf.node.hint
            return leaf

        args, kwargs = tree_map(concrete, (args, dict(kwargs)))
        with real():
            result = func(*args, **kwargs)
        return ExampleValue(result, frozenset(sources))

    def follow(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Repeat a call of the trace on the example, and record the values of the tensors that it returned or changed.

        result: what the call returned in the trace. A result that cannot be computed has no value; a tensor that the
        call wrote into loses its own.
        """
        name = getattr(func, "__name__", "")
        written = next((x for x in args if isinstance(x, torch.Tensor)), None) if _writes(name, kwargs) else None
        traced = tensors_in(result)
        if not traced and written is None:
            return
        try:
            # Under torch.func.vmap and the like tensors are wrapped, and have no values of their own.
            if torch._C._functorch.maybe_current_level() is not None:
                raise NoValue
            if any(part in name for part in _RANDOM) or "onnx_symbolic" in str(getattr(func, "__module__", "")):
                raise NoValue
            if written is not None and self._is_borrowed(written):
                raise NoValue
            on_example = self.evaluate(func, args, kwargs)
        except Exception:  # a call that fails on the example, for whatever reason, gives no value
            if written is not None:
                self._forget(written)
            return
        if written is not None:
            self._add_sources(written, on_example.sources)
        values = tensors_in(on_example.value)
        for leaf, value in zip(traced, values, strict=False):
            self.hold(leaf, value, *on_example.sources)

    def _is_borrowed(self, x: torch.Tensor) -> bool:
        value = self._values.get(x)
        return value is not None and _storage(value) in self._borrowed

    def _forget(self, x: torch.Tensor) -> None:
        """Let a tensor, and all tensors that share its storage, have no value from now on."""
        value = self._values.get(x)
        if value is not None:
            self._written[_storage(value)] = (_pin(value), None)

    def _add_sources(self, x: torch.Tensor, sources: frozenset[str]) -> None:
        """Add sources to a tensor that was written into, and so to all tensors that share its storage."""
        value = self._values.get(x)
        if value is not None:
            _, before = self._written.get(_storage(value), (None, frozenset()))
            self._written[_storage(value)] = (_pin(value), None if before is None else before | sources)


def is_plain(x: object) -> bool:
    """Whether a value is an ordinary tensor, neither a tracer's nor one that torch.func has wrapped."""
    if not isinstance(x, torch.Tensor) or isinstance(x, FakeTensor):
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(x)


@contextmanager
def real() -> Iterator[None]:
    """Compute with ordinary tensors in the middle of a trace: modes and tracers do not see what happens within."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _storage(value: torch.Tensor) -> int:
    """The number of a tensor's storage: views of one tensor have the same number."""
    with torch._C.DisableTorchFunction():
        return value.untyped_storage()._cdata if value.layout is torch.strided else id(value)


def _pin(value: torch.Tensor) -> object:
    """An object that keeps the number of a tensor's storage from being given to another, but not its memory."""
    with torch._C.DisableTorchFunction():
        return StorageWeakRef(value.untyped_storage()) if value.layout is torch.strided else value


def _writes(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether a function changes its first argument."""
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or kwargs.get("out") is not None
