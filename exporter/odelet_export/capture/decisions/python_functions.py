"""Python's own functions of numbers, `float(t)`, `math.sin(t)`, `np.sin(t)`, for tensors that are traced.

Each of them asks a tensor for its number, which a trace does not have. While a model is traced, the names `float`,
`int`, `len`, `round` and `math` in its files stand for functions that compute with tensors where they get one, and
NumPy hands its functions of tensors over to torch. Numbers made of sizes stay symbols (`sizes/whole_numbers`). What
they get otherwise they pass on.
"""

from __future__ import annotations

import builtins
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from odelet_export.capture.decisions.model_files import Namespace, calls, of_models
from odelet_export.capture.sizes.watch import SizeWatch
from odelet_export.capture.sizes.whole_numbers import is_size, rounded, rounded_down, rounded_up, whole_part
from odelet_intercept.user_code import is_library

Function = Callable[..., Any]
# Gives what stands for the whole number of a traced tensor; None where the tensor has a number.
Whole = Callable[[torch.Tensor], Any]

# torch's functions for those of `math` that give a number with a fraction, or an answer.
_MATH: dict[str, Function] = {
    name: getattr(torch, name)
    for name in (
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
        *("exp", "expm1", "exp2", "log2", "log10", "log1p", "sqrt", "erf", "erfc", "lgamma"),
        *("pow", "atan2", "hypot", "copysign", "fmod", "isnan", "isinf", "isfinite"),
    )
}
_MATH |= {"fabs": torch.abs, "degrees": torch.rad2deg, "radians": torch.deg2rad}
_MATH["log"] = lambda x, *base: torch.log(x) / torch.log(base[0]) if base else torch.log(x)
# torch's functions for those of `math` that give a whole number, each with that for sizes.
_WHOLE: dict[str, tuple[Function, Function]] = {
    "floor": (torch.floor, rounded_down),
    "ceil": (torch.ceil, rounded_up),
    "trunc": (torch.trunc, whole_part),
}
# torch's names of NumPy's functions, where they differ.
_NUMPY = {
    **{"power": "pow", "float_power": "pow", "divide": "true_divide", "mod": "remainder", "fabs": "abs"},
    **{"less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne"},
    **{"rint": "round", "degrees": "rad2deg", "radians": "deg2rad"},
}


@contextmanager
def python_functions(
    spaces: Iterable[Mapping[str, Any]],
    is_number: Callable[[object], bool] = lambda _: False,
    *,
    sizes: SizeWatch | None = None,
    note: Callable[[int], None] = lambda _: None,
    whole: Whole = lambda _: None,
) -> Iterator[None]:
    """Let the functions of numbers in the files of a model take traced tensors.

    spaces: the namespaces of all modules and of the model's files. is_number: whether a tensor stands for a number.
    sizes: the watch over the sizes of the trace; in the namespaces that it names, functions are replaced whatever their
    code does with the names. note: called with each whole number that a function gives for a number with a fraction.
    whole: gives the whole number of a tensor that is none of sizes.
    """

    def of_sizes(x: torch.Tensor) -> Any:
        number = sizes.filled.of(x) if sizes is not None else None
        return whole(x) if number is None else number

    needed = sizes.namespaces if sizes is not None else ()
    stand_ins, missing = _StandIns(is_number, of_sizes, note), object()
    replaced: list[tuple[Namespace, str, Any]] = []
    try:
        found = [space for space in of_models(spaces) if not any(space is other for other in needed)]
        for space in (*found, *needed):
            for name, value in stand_ins.of(space, all_names=any(space is other for other in needed)).items():
                replaced.append((space, name, space.get(name, missing)))
                space[name] = value
        with _numpy_on_tensors(is_number), stand_ins.imported():
            yield
    finally:
        for space, name, value in reversed(replaced):
            if value is missing:
                del space[name]
            else:
                space[name] = value


class _StandIns:
    """What takes the places of `float`, `int` and `round`, of `math` and of its functions."""

    def __init__(
        self,
        is_number: Callable[[object], bool],
        whole: Whole,
        note: Callable[[int], None],
    ) -> None:
        to_int = _int_for(is_number, whole, note)
        whole_parts = {getattr(math, name): functions for name, functions in _WHOLE.items()}
        self._functions = {getattr(math, name): _computed(getattr(math, name), f) for name, f in _MATH.items()}
        self._functions |= {original: _rounded(original, *f, note, to_int) for original, f in whole_parts.items()}
        self._math = types.ModuleType("math")
        vars(self._math).update(vars(math))
        vars(self._math).update({function.__name__: new for function, new in self._functions.items()})
        self._builtins = {
            "float": _float_for(is_number),
            "int": to_int,
            "len": _length,
            "round": _round_for(note, to_int),
        }

    def of(self, space: Namespace, *, all_names: bool) -> Namespace:
        """The stand-ins for a namespace, by the names that it has for what they stand for. all_names: whether all of
        Python's names get them, not only those that its code calls and does not pass on."""
        found: Namespace = {}
        for name, value in list(space.items()):
            if value is math:
                found[name] = self._math
            elif isinstance(value, types.BuiltinFunctionType) and value in self._functions:
                found[name] = self._functions[value]
        names = (name for name in self._builtins if name not in space and (all_names or calls(space, name)))
        return found | {name: self._builtins[name] for name in names}

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Let `import math` and `from math import sin` inside the functions of models give the stand-ins, too."""
        original = builtins.__import__

        def importing(name: str, namespace: Mapping[str, Any] | None = None, *rest: Any, **named: Any) -> Any:
            module = original(name, namespace, *rest, **named)
            if module is not math or namespace is None:  # torch imports many times for each operator of a trace
                return module
            file = namespace.get("__file__")
            return self._math if file is not None and not is_library(file) else module

        builtins.__import__ = importing  # type: ignore[assignment]  # it passes on whatever came
        try:
            yield
        finally:
            builtins.__import__ = original


def _computed(original: Function, function: Function) -> Function:
    def compute(*args: Any) -> Any:
        if original is math.sqrt and is_size(args[0]):
            return args[0] ** 0.5
        return _number_of(function, args) if _any_tensor(args) else original(*args)

    return compute


def _rounded(
    original: Function, function: Function, of_size: Function, note: Callable[[int], None], to_int: Function
) -> Function:
    def compute(x: Any) -> Any:
        if is_size(x):
            return of_size(x)
        if _any_tensor((x,)):
            return to_int(_number_of(function, (x,)))
        whole = original(x)
        note(whole)
        return whole

    return compute


def _round_for(note: Callable[[int], None], to_int: Function) -> Function:
    nearest = _rounded(round, torch.round, rounded, note, to_int)

    def compute(x: Any, ndigits: Any = None) -> Any:
        if ndigits is None:
            return nearest(x)
        return _number_of(partial(torch.round, decimals=ndigits), (x,)) if _any_tensor((x,)) else round(x, ndigits)

    return compute


def _any_tensor(args: Sequence[Any]) -> bool:
    return any(isinstance(x, (torch.Tensor, torch.SymInt, torch.SymFloat)) for x in args)


def _number_of(function: Function, args: Sequence[Any]) -> Any:
    """The number that a function of torch gives for numbers and tensors of one element."""
    return function(*(_double(x) for x in args)).item()


def _double(x: Any) -> torch.Tensor:
    if isinstance(x, torch.Tensor):
        return x.reshape(()).to(torch.float64)
    return torch.full((), x.item() if isinstance(x, np.generic) else x, dtype=torch.float64)


def _float_for(is_number: Callable[[object], bool]) -> type:
    """A class that takes the place of `float`: it also makes numbers of traced tensors, and knows them as its own."""

    class OfTracedTensors(type):
        def __call__(cls, *args: Any) -> Any:
            if args and isinstance(args[0], torch.Tensor):
                return args[0].reshape(()).to(torch.float64).item()
            if args and isinstance(args[0], (torch.SymInt, torch.SymFloat)):
                return torch.sym_float(args[0])
            return builtins.float(*args)

        def __instancecheck__(cls, x: Any) -> bool:
            return isinstance(x, builtins.float) or (is_number(x) and x.is_floating_point())

        def __subclasscheck__(cls, other: type) -> bool:
            return issubclass(other, builtins.float)

    # NumPy takes a class with a dtype for that dtype, as it takes `float` itself.
    members = {"dtype": np.dtype(np.float64), "fromhex": builtins.float.fromhex}
    return OfTracedTensors("float", (), members)


def _length(x: Any, /) -> Any:
    """The answer of `len`; for a tensor the size of its first axis, symbolic where that may change."""
    return x.shape[0] if isinstance(x, torch.Tensor) and x.ndim else len(x)


def _int_for(is_number: Callable[[object], bool], of_tensor: Whole, note: Callable[[int], None]) -> type:
    """A class that takes the place of `int`, in all that a file does with the name: it keeps sizes symbolic, makes
    tensors of traced ones that have no number, and notes the numbers that it makes of numbers with a fraction."""

    class Whole(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if len(args) == 1 and not kwargs and is_size(args[0]):
                return whole_part(args[0])
            if len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor):
                number = of_tensor(args[0])
                if number is not None:
                    return number
            whole = builtins.int(*args, **kwargs)
            if args and isinstance(args[0], (float, torch.Tensor)):
                note(whole)
            return whole

        def __instancecheck__(cls, x: Any) -> bool:
            return isinstance(x, (builtins.int, torch.SymInt)) or (is_number(x) and not x.is_floating_point())

        def __subclasscheck__(cls, other: type) -> bool:
            return issubclass(other, builtins.int)

        def __eq__(cls, other: object) -> bool:
            return other is cls or other is builtins.int

        def __hash__(cls) -> int:
            return hash(builtins.int)

    return Whole("int", (builtins.int,), {"dtype": np.dtype(np.int64)})


@contextmanager
def _numpy_on_tensors(is_number: Callable[[object], bool]) -> Iterator[None]:
    """Let NumPy's functions of numbers compute with torch where they get a tensor, as `np.sin(t)`."""

    def ufunc(self: torch.Tensor, function: np.ufunc, method: str, *args: Any, **kwargs: Any) -> Any:
        of_torch = getattr(torch, _NUMPY.get(function.__name__, function.__name__), None)
        if method != "__call__" or kwargs or of_torch is None:
            arrays = (np.asarray(x) if isinstance(x, torch.Tensor) else x for x in args)
            return getattr(function, method)(*arrays, **kwargs)
        if all(is_number(x) for x in args if isinstance(x, torch.Tensor)):
            return _number_of(of_torch, args)
        return of_torch(*(x if isinstance(x, torch.Tensor) else torch.as_tensor(x, dtype=self.dtype) for x in args))

    def function(self: torch.Tensor, function: Any, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if function is np.interp and len(args) == 3 and not kwargs and np.ndim(args[0]) == 0:
            return _interpolated(*args)
        return function._implementation(*args, **kwargs)

    protocols = {"__array_ufunc__": ufunc, "__array_function__": function}
    try:
        for name, protocol in protocols.items():
            setattr(torch.Tensor, name, protocol)
        yield
    finally:
        for name in protocols:
            delattr(torch.Tensor, name)


def _interpolated(x: Any, knots: Any, values: Any) -> Any:
    """The number that np.interp gives for one number, between the values at rising knots, and beyond them."""
    x, xs, ys = _double(x), torch.as_tensor(knots, dtype=torch.float64), torch.as_tensor(values, dtype=torch.float64)
    before = (xs[1:-1] <= x).sum().reshape(1)
    x0, x1, y0, y1 = (row.index_select(0, before + i).reshape(()) for row in (xs, ys) for i in (0, 1))
    between = y0 + (y1 - y0) * ((x - x0) / (x1 - x0))
    return torch.where(x <= xs[0], ys[0], torch.where(x >= xs[-1], ys[-1], between)).item()
