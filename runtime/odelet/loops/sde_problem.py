"""Reads the arguments of `sdeint` as an SDE, a method and a Brownian path.

The law here: whatever the arguments leave open is settled here, or refused; no step is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.adaptive import direction_of
from odelet.loops.brownian import BridgedPath, BrownianPath, DrawnNormals, StepwisePath, draw_shapes
from odelet.methods.sde import NOISES, Sde, SdeMethod
from odelet.methods.sde_steps import sde_method
from odelet.numerics.backend import NumpyArray
from odelet.random_numbers import fresh_seed, keys

# The methods of torchsde where none is named.
_DEFAULTS = {"ito": "srk", "stratonovich": "midpoint"}
_LEVY = ("foster", "davie")


@dataclass(frozen=True, kw_only=True)
class SdeCall:
    """The arguments of `sdeint`, checked.

    y: the first state (batch, d). t: increasing times, float32 or float64. method: with its options set. sde: the
    functions, which raise InputError for a result of another shape than theirs.
    """

    y: NumpyArray
    t: NumpyArray
    method: SdeMethod
    sde: Sde

    @classmethod
    def of(
        cls,
        f: Callable[..., Any],
        g: Callable[..., Any],
        y0: Any,
        t: Any,
        *,
        sde_type: str,
        noise_type: str,
        method: str | None,
        adaptive: bool,
        options: Mapping[str, Any] | None,
        correction: Callable[..., Any] | None,
    ) -> SdeCall:
        """The call with these arguments. Raises InputError for arguments that cannot work."""
        y = np.asarray(y0)
        if y.dtype not in (np.float32, np.float64) or y.ndim != 2:
            raise InputError(f"y0 must be a float32 or float64 array (batch, d); got {y.dtype} of shape {y.shape}")
        times = _times(t, y.dtype)
        _check_kind("sde_type", sde_type, tuple(_DEFAULTS))
        _check_kind("noise_type", noise_type, NOISES)
        name = method
        if name is None:
            name = "euler" if (sde_type, noise_type) == ("ito", "general") else _DEFAULTS[sde_type]
        chosen = _method(name, sde_type, noise_type, dict(options or {}), adaptive=adaptive)
        _check_correction(chosen, name, noise_type, given=correction is not None)
        channels = _channels(g, times[0], y, noise_type)
        sde = Sde(
            noise=noise_type,
            width=y.shape[1],
            channels=channels,
            drift=_checked("f", f, y.shape, noise_type),
            diffusion=_checked("g", g, y.shape if noise_type == "diagonal" else (*y.shape, channels), noise_type),
            correction=None if correction is None else _checked("correction", correction, y.shape, noise_type),
        )
        return cls(y=y, t=times, method=chosen, sde=sde)

    def path(
        self, seed: int | None, noise: Mapping[str, Any] | None, steps: int
    ) -> tuple[BrownianPath, dict[str, NumpyArray]]:
        """The Brownian path of the solve, and the noise that makes it, as `Solution.noise` has it.

        seed: None for a new one. noise: arrays of the caller. steps: the number of fixed steps. Raises InputError for
        noise that does not fit.
        """
        method, batch, channels = self.method, len(self.y), self.sde.channels
        shapes = draw_shapes(method, channels)
        if noise is not None and set(noise) != {"seed"}:
            return self._given_path(noise, {name: (steps, batch, *shape) for name, shape in shapes.items()})
        number = _seed(seed if noise is None else np.asarray(noise["seed"]).tolist())
        used = {"seed": np.array(number, np.uint64)}
        if method.step_doubling:
            return self._bridged(keys(number, 0, range(batch))), used
        drawn = [DrawnNormals(number, i, batch, shape, self.y.dtype) for i, shape in enumerate(shapes.values())]
        return StepwisePath(method, drawn, channels), used

    def _bridged(self, keys_of_rows: NumpyArray) -> BridgedPath:
        return BridgedPath(self.method, keys_of_rows, self.t[0], self.sde.channels, self.y.dtype)

    def _given_path(
        self, noise: Mapping[str, Any], shapes: dict[str, tuple[int, ...]]
    ) -> tuple[BrownianPath, dict[str, NumpyArray]]:
        """The path of noise that the caller gives. shapes: those of standard normal numbers, by name."""
        doubling = self.method.step_doubling
        shapes = {"key": (len(self.y),)} if doubling else shapes
        arrays = {name: np.asarray(array) for name, array in noise.items()}
        good = {name: array.shape for name, array in arrays.items()} == shapes
        if not good or any(array.dtype.kind != ("i" if doubling else "f") for array in arrays.values()):
            wanted = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            got = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items()) or "nothing"
            kind = "an int64 key for each row" if doubling else "standard normal numbers"
            raise InputError(f"noise holds {got}; it must hold {kind}, {wanted}, or be left out for numbers of a seed")
        if doubling:
            return self._bridged(arrays["key"].astype(np.int64)), arrays
        arrays = {name: arrays[name].astype(self.y.dtype) for name in shapes}
        return StepwisePath(self.method, list(arrays.values()), self.sde.channels), arrays


def _times(t: Any, dtype: np.dtype[Any]) -> NumpyArray:
    """The output times: those of an array in its dtype, and a list of numbers in that of the state, as in torchsde."""
    times = np.asarray(t)
    if not isinstance(t, np.ndarray) or times.dtype not in (np.float32, np.float64):
        times = times.astype(dtype)
    if direction_of(times) < 0:
        raise InputError(f"t must be strictly increasing; got {times}. To solve backwards, negate the time in f and g")
    return times


def _check_kind(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name}={value!r} is not one of {', '.join(known)}")


def _method(name: str, sde_type: str, noise_type: str, options: dict[str, Any], *, adaptive: bool) -> SdeMethod:
    known = {"milstein": "grad_free", "log_ode": "levy"}.get(name)
    unknown = sorted(options.keys() - {known})
    if unknown:
        takes = f"known is {known}" if known else "it has none"
        raise InputError(f"options {', '.join(unknown)} are not known for method {name!r}; {takes}")
    levy = options.get("levy", _LEVY[0])
    _check_kind("options: levy", levy, _LEVY)
    try:
        method = sde_method(name, sde_type, noise_type, grad_free=bool(options.get("grad_free")))  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(str(error)) from None
    return method.with_options(step_doubling=adaptive, levy=levy)


def _check_correction(method: SdeMethod, name: str, noise_type: str, *, given: bool) -> None:
    """Raise InputError where a correction is missing, or given to a method that takes none."""
    takes = method.correction and noise_type != "additive"
    if given and not takes:
        raise InputError(f"method={name!r} takes no correction for {noise_type} noise; leave correction out")
    if given or not takes:
        return
    if "area" in method.draws:
        term = "a (batch, m, m), that returns the sum over j, k, l of dg_il/dy_j g_jk a_kl"
        raise InputError(
            f"method={name!r} takes derivatives of g: give correction, a function of t, y and {term}; or take "
            "method='midpoint', which is this method without that term"
        )
    term = "v (batch, m), that returns the sum over j and l of g_jl dg_jl/dy_i v_l"
    raise InputError(
        f"method={name!r} takes derivatives of g: give correction, a function of t, y and {term}; or take "
        "options={'grad_free': True}, which needs none"
    )


def _channels(g: Callable[..., Any], t0: Any, y: NumpyArray, noise_type: str) -> int:
    """The number of channels of the noise, as g has them at the start. Raises InputError for a shape that cannot be."""
    shape: tuple[int, ...] = (*y.shape, y.shape[1])
    if noise_type != "diagonal":
        shape = np.shape(g(t0, y))
        if len(shape) != 3 or shape[:2] != y.shape or (noise_type == "scalar" and shape[2] != 1):
            _refuse("g", shape, (*y.shape, 1 if noise_type == "scalar" else "m"), noise_type)
    return shape[2]


def _checked(name: str, function: Callable[..., Any], shape: tuple[int, ...], noise_type: str) -> Any:
    """The function, whose results are arrays in the dtype of the state, of one shape."""

    def on_table(t: Any, y: NumpyArray, *more: NumpyArray) -> NumpyArray:
        value = np.asarray(function(t, y, *more), y.dtype)
        if value.shape != shape:
            _refuse(name, value.shape, shape, noise_type)
        return value

    return on_table


def _refuse(name: str, shape: tuple[int, ...], wanted: tuple[Any, ...], noise_type: str) -> None:
    sizes = ", ".join(map(str, wanted))
    about = f", as the noise is {noise_type}" if name == "g" else ""
    raise InputError(f"{name} returned an array of shape {shape}; it must be ({sizes}){about}")


def _seed(seed: Any) -> int:
    if seed is None:
        return fresh_seed()
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**64:
        raise InputError(f"seed={seed!r} must be a whole number from 0 to 2**64 - 1, or None")
    return int(seed)
