"""Reads the arguments of `sdeint` as an SDE, a method and a Brownian path.

The law here: whatever the arguments leave open is settled here, or refused; no step is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from odelet.errors import InputError
from odelet.loops.adaptive import direction_of
from odelet.loops.brownian import BridgedPath, BrownianPath, DrawnNormals, StepwisePath, draw_shapes
from odelet.methods.sde import NOISES, Calculus, Sde, SdeMethod
from odelet.methods.sde_steps import sde_method
from odelet.numerics.backend import NumpyArray
from odelet.random_numbers import checked_seed, fresh_seed, keys


@dataclass(frozen=True)
class SdeKind:
    """The arguments of `sdeint` that say how an SDE is meant and solved: its sense, its noise and the method."""

    sde_type: str
    noise_type: str
    method: str | None
    adaptive: bool
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the method, which is torchsde's default where none is named."""
        if self.method is not None:
            return self.method
        if self.sde_type == "ito":
            return "euler" if self.noise_type == "general" else "srk"
        return "midpoint"

    def chosen_method(self) -> SdeMethod:
        """The method, with its options set. Raises InputError where there is none."""
        _check_known("sde_type", self.sde_type, ("ito", "stratonovich"))
        _check_known("noise_type", self.noise_type, NOISES)
        known = {"milstein": "grad_free", "log_ode": "levy"}.get(self.name)
        unknown = sorted(self.options.keys() - {known})
        if unknown:
            takes = f"known is {known}" if known else "it has none"
            raise InputError(f"options {', '.join(unknown)} are not known for method {self.name!r}; {takes}")
        levy, grad_free = self.options.get("levy", "foster"), bool(self.options.get("grad_free"))
        _check_known("options: levy", levy, ("foster", "davie"))
        calculus: Calculus = "ito" if self.sde_type == "ito" else "stratonovich"
        try:
            method = sde_method(self.name, calculus, self.noise_type, grad_free=grad_free)
        except ValueError as error:
            raise InputError(str(error)) from None
        return method.with_options(step_doubling=self.adaptive, levy=levy)

    def check_correction(self, method: SdeMethod, *, given: bool) -> None:
        """Raise InputError where a correction is missing, or given to a method that takes none."""
        takes = method.correction and self.noise_type != "additive"
        if given and not takes:
            raise InputError(
                f"method={self.name!r} takes no correction for {self.noise_type} noise; leave correction out"
            )
        if given or not takes:
            return
        term = "v (batch, m), that returns the sum over j and l of g_jl dg_jl/dy_i v_l"
        other = "options={'grad_free': True}, which needs none"
        if "area" in method.draws:
            term = "a (batch, m, m), that returns the sum over j, k, l of dg_il/dy_j g_jk a_kl"
            other = "method='midpoint', which is this method without that term"
        raise InputError(
            f"method={self.name!r} takes derivatives of g: give correction, a function of t, y and {term}; or take "
            f"{other}"
        )


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
        cls, f: Callable[..., Any], g: Callable[..., Any], y0: Any, t: Any, kind: SdeKind, correction: Any
    ) -> SdeCall:
        """The call with these arguments. correction: a function, or None. Raises InputError for arguments that cannot
        work."""
        y = np.asarray(y0)
        if y.dtype not in (np.float32, np.float64) or y.ndim != 2:
            raise InputError(f"y0 must be a float32 or float64 array (batch, d); got {y.dtype} of shape {y.shape}")
        times, method = _times(t, y.dtype), kind.chosen_method()
        kind.check_correction(method, given=correction is not None)
        noise, channels = kind.noise_type, _channels(g, times[0], y, kind.noise_type)
        sde = Sde(
            noise=noise,
            width=y.shape[1],
            channels=channels,
            drift=_checked("f", f, y.shape, noise),
            diffusion=_checked("g", g, y.shape if noise == "diagonal" else (*y.shape, channels), noise),
            correction=None if correction is None else _checked("correction", correction, y.shape, noise),
        )
        return cls(y=y, t=times, method=method, sde=sde)

    def slope(self, t: Any, row: NumpyArray) -> NumpyArray:
        """The drift on rows (1, n)."""
        drift: NumpyArray = self.sde.drift(t, row.reshape(self.y.shape))
        return drift.reshape(1, -1)

    def path(
        self, seed: int | None, noise: Mapping[str, Any] | None, steps: int
    ) -> tuple[BrownianPath, dict[str, NumpyArray]]:
        """The Brownian path of the solve, and the noise that makes it, as `Solution.noise` has it.

        seed: None for a new one. noise: arrays of the caller. steps: the number of fixed steps. Raises InputError for
        noise that does not fit.
        """
        if seed is not None and noise is not None:
            raise InputError("seed and noise exclude each other; leave one of them out")
        method, batch, channels = self.method, len(self.y), self.sde.channels
        shapes = draw_shapes(method, channels)
        if noise is not None and set(noise) != {"seed"}:
            return self._given_path(noise, {name: (steps, batch, *shape) for name, shape in shapes.items()})
        known = seed if noise is None else np.asarray(noise["seed"]).tolist()
        number = fresh_seed() if known is None else checked_seed(known)
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


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name}={value!r} is not one of {', '.join(known)}")


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
