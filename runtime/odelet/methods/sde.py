"""Stochastic differential equations dy = f(t, y) dt + g(t, y) dW: their functions, their noise, and what a step needs.

A state is a table (batch, d), and the Brownian motion W has m channels. The steps themselves are in `sde_steps`, whose
roster is `SDE_METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from odelet.methods.method import Method, option
from odelet.numerics.backend import Array, Backend, Scalar

# The kinds of noise, as torchsde spells them. "diagonal": g has the shape (batch, d), and each element of the state has
# its own channel. All others have a g of the shape (batch, d, m): "additive", which does not depend on the state;
# "scalar", with m = 1; and "general".
NOISES = ("diagonal", "additive", "scalar", "general")
Calculus = Literal["ito", "stratonovich"]
# A function of a time and a state.
SdeFunction = Callable[[Scalar, Array], Array]
# A function of a time, a state, and a vector of the noise's channels (batch, m) or a matrix of them (batch, m, m).
SdeProduct = Callable[[Scalar, Array, Array], Array]


@dataclass(frozen=True, kw_only=True)
class Sde:
    """The functions of an SDE.

    noise: one of NOISES. width, channels: d and m. drift: f, which returns (batch, d). diffusion: g; None where only
    its product is known. product: g(t, y) v, where the model computes it without g. correction: the derivative term of
    a method with `SdeMethod.correction`.
    """

    noise: str
    width: int
    channels: int
    drift: SdeFunction
    diffusion: SdeFunction | None = None
    product: SdeProduct | None = None
    correction: SdeProduct | None = None

    def diffusion_at(self, t: Scalar, y: Array, *, xp: Backend) -> Diffusion:
        """g at a time and a state."""
        if self.product is not None:
            product = self.product
            return Diffusion(self, xp, product=lambda v: product(t, y, v))
        assert self.diffusion is not None
        return self.diffusion_of(self.diffusion(t, y), xp=xp)

    def diffusion_of(self, values: Array, *, xp: Backend) -> Diffusion:
        """g with these values, (batch, d) or (batch, d, m)."""
        return Diffusion(self, xp, values=values)


@dataclass(frozen=True)
class Diffusion:
    """g at one time and state: its values, or else a function for its products with vectors."""

    sde: Sde
    xp: Backend
    values: Array | None = None
    product: Callable[[Array], Array] | None = None

    @property
    def table(self) -> Array:
        """The diffusion (batch, d) of noise with one channel for each element, or with one channel in all."""
        assert self.values is not None
        return self.values if self.sde.noise == "diagonal" else self.xp.reshape(self.values, (-1, self.sde.width))

    def times(self, v: Array) -> Array:
        """The product (batch, d) of g and a vector (batch, m)."""
        if self.product is not None:
            return self.product(v)
        sde, xp = self.sde, self.xp
        if sde.noise == "diagonal" or sde.channels == 1:
            return self.table * v
        column = xp.reshape(v, (-1, sde.channels, 1))
        return xp.reshape(xp.matmul(self.values, column), (-1, sde.width))


class Increment(NamedTuple):
    """The Brownian motion over one step of length h.

    w: its increment (batch, m). u: the integral of the motion since the start of the step (batch, m), for methods that
    take it. area: its Levy area (batch, m, m), for methods that take that.
    """

    w: Array
    u: Array | None = None
    area: Array | None = None


class Interval(NamedTuple):
    """A step in time. t, t1: its ends. h: its length, in the dtype of the state; root: the square root of h."""

    t: Scalar
    t1: Scalar
    h: Scalar
    root: Scalar

    @classmethod
    def of(cls, t: Scalar, t1: Scalar, y: Array, *, xp: Backend) -> Interval:
        """The step from t to t1. y: a state, which has the dtype of h."""
        h = xp.cast(t1 - t, y)
        return cls(t, t1, h, xp.sqrt(h))

    def at(self, share: float) -> Scalar:
        """The time after a share of the step."""
        return self.t + (self.t1 - self.t) * share


class SdeStep(NamedTuple):
    """A step that was taken. y1: the state at its end. memory: the values that the next step needs."""

    y1: Array
    memory: tuple[Array, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SdeMethod(Method):
    """A method for SDEs.

    calculus: in which sense the integral over the noise is meant. noises: the kinds of noise that it solves.
    strong_order: the order of its paths, of which `order` is None. drifts, diffusions: the evaluations of f and g in a
    step. draws: the standard normal numbers of a step, by what is made of them: "w" and "h" are (batch, m), and "area"
    is (batch, m, m). products: whether products of g with vectors are enough. correction: whether the method
    takes a derivative of g: sum_jl g_jl dg_jl/dy_i v_l for a vector v, or, for a method with an area A,
    sum_jkl dg_il/dy_j g_jk A_kl. memory: the names of the values that a step hands to the next.

    step_doubling: whether the steps follow an error estimate, the difference between one step and two of half its
    length. levy: how an area is approximated, "davie" or "foster".
    """

    calculus: Calculus
    noises: tuple[str, ...]
    strong_order: float
    drifts: int
    diffusions: int
    draws: tuple[str, ...] = ("w",)
    products: bool = False
    correction: bool = False
    memory: tuple[str, ...] = ()
    order: int | None = None
    step_doubling: bool = option(False)
    levy: str = option("foster")

    stochastic: ClassVar[bool] = True

    @property
    def fixed(self) -> bool:  # type: ignore[override]  # a class variable elsewhere, as it is one for each class
        return not self.step_doubling

    @property
    def evaluations(self) -> int | None:
        return None if self.step_doubling else self.drifts

    @property
    def stages(self) -> int:
        return self.drifts

    @property
    def steps_outside(self) -> str | None:
        return (
            "chooses its steps along a Brownian path, which only the runtime can keep" if self.step_doubling else None
        )

    @property
    def remembers(self) -> bool:
        return bool(self.memory)

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        """Take a step from the state y (batch, d). memory: that of the last step."""
        raise NotImplementedError

    def first_memory(self, sde: Sde, t: Scalar, y: Array, *, xp: Backend) -> tuple[Array, ...]:
        """The memory that the first step receives."""
        return ()

    def increment(self, normals: Sequence[Array], step: Interval, *, channels: int, xp: Backend) -> Increment:
        """The Brownian motion over a step, made of standard normal numbers, one array for each of `draws`.

        Source: Foster, Lyons & Oberhauser, SIAM J. Numer. Anal. 58 (2020), for the law of u given w; Davie (2014) and
        Foster (2020) for the area, as torchsde 0.2.6 approximates it.
        """
        h = step.h
        w = normals[0] * step.root
        if "h" not in self.draws:
            return Increment(w)
        # h_area: the space-time Levy area, of which u is another form.
        h_area = normals[1] * xp.sqrt(h / 12)
        u = (w * 0.5 + h_area) * h
        if "area" not in self.draws:
            return Increment(w, u)
        return Increment(w, u, self.levy_area(w, h_area, normals[2], h, channels, xp=xp))

    def levy_area(self, w: Array, h_area: Array, normals: Array, h: Scalar, m: int, *, xp: Backend) -> Array:
        columns = [xp.reshape(x, (-1, m, 1)) for x in (w, h_area)]
        rows = [xp.reshape(x, (-1, 1, m)) for x in (w, h_area)]
        antisymmetric = normals - xp.transpose(normals, (0, 2, 1))
        if self.levy == "davie":
            deviation: Array = h / 12**0.5
        else:
            tenth = h * 0.1
            deviation = xp.sqrt((columns[1] * columns[1] + rows[1] * rows[1] + tenth) * tenth)
        return columns[1] * rows[0] - columns[0] * rows[1] + antisymmetric * deviation
