"""The steps of the methods for SDEs, as torchsde 0.2.6 takes them, and their roster.

To add a method, write a subclass of `SdeMethod` with its `advance`, and a line in the roster.

>>> SDE_METHODS["ito_srid2"].strong_order, SDE_METHODS["ito_srid2"].diffusions
(1.5, 4)
"""

from __future__ import annotations

from odelet.methods.sde import NOISES, Calculus, Increment, Interval, Sde, SdeMethod, SdeStep
from odelet.numerics.backend import Array, Backend, Scalar

_KLOEDEN_PLATEN = "Kloeden & Platen, Numerical Solution of SDEs (1992)"
_ROESSLER = "Roessler, SIAM J. Numer. Anal. 48 (2010)"


class Euler(SdeMethod):
    """Euler and Maruyama's method."""

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        return SdeStep(y + sde.drift(step.t, y) * step.h + sde.diffusion_at(step.t, y, xp=xp).times(noise.w))


class Milstein(SdeMethod):
    """Milstein's method, whose derivative of g the model gives."""

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        moved = y + sde.drift(step.t, y) * step.h + sde.diffusion_at(step.t, y, xp=xp).times(noise.w)
        if sde.correction is None:  # of additive noise, whose derivative is 0
            return SdeStep(moved)
        return SdeStep(moved + sde.correction(step.t, y, squares(self, noise, step) * 0.5))


class MilsteinGradFree(SdeMethod):
    """Milstein's method with a difference in the place of the derivative of g."""

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        f, g = sde.drift(step.t, y), sde.diffusion_at(step.t, y, xp=xp)
        moved = y + g.table * step.root
        if self.calculus == "ito":
            moved = moved + f * step.h
        difference = sde.diffusion_at(step.t, moved, xp=xp).table - g.table
        correction = difference * squares(self, noise, step) / (step.root * 2)
        return SdeStep(y + f * step.h + g.times(noise.w) + correction)


def squares(method: SdeMethod, noise: Increment, step: Interval) -> Array:
    """Twice the iterated integral of each channel over itself."""
    return noise.w * noise.w - step.h if method.calculus == "ito" else noise.w * noise.w


class Srid2(SdeMethod):
    """Roessler's SRI method D2, without the evaluations whose weight is zero and those that repeat others."""

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        t, t1, h, root = step
        w, u = noise.w, noise.u
        a = u / h
        b = (w * w - h) * 0.5 / root
        c = (w * w * w - w * (h * 3.0)) / (h * 6.0)
        f0, g0 = sde.drift(t, y), sde.diffusion_at(t, y, xp=xp)
        f1 = sde.drift(t1, y + f0 * h)
        g1 = sde.diffusion_at(step.at(0.25), y + f0 * (h * 0.25) - g0.table * (root * 0.5), xp=xp)
        f2 = sde.drift(step.at(0.5), y + (f0 + f1) * (h * 0.25) + g0.table * a + g1.table * (a * 0.5))
        g2 = sde.diffusion_at(t1, y + f0 * h + g0.table * root, xp=xp)
        kicks = g0.table * (root * 2.0) - g1.table * root + g2.table * (root * 0.5)
        g3 = sde.diffusion_at(step.at(0.25), y + f2 * (h * 0.25) + kicks, xp=xp)
        moved = y + (f0 + f1) * (h / 6) + f2 * (h * (2 / 3))
        moved = moved + g0.times(-w + b + a * 2.0 - c * 2.0) + g1.times((w - b - a + c * 1.25) * (4 / 3))
        return SdeStep(moved + g2.times((w * 2.0 + b - a * 2.0 - c * 2.0) * (1 / 3)) + g3.times(c))


class Sra1(SdeMethod):
    """Roessler's SRA method 1, for additive noise."""

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        t, t1, h, _ = step
        a = noise.u / h
        g1, g0 = sde.diffusion_at(t1, y, xp=xp), sde.diffusion_at(t, y, xp=xp)
        f0 = sde.drift(t, y)
        f1 = sde.drift(step.at(0.75), y + f0 * (h * 0.75) + g1.times(a * 1.5))
        return SdeStep(y + f0 * (h / 3) + g1.times(noise.w - a) + f1 * (h * (2 / 3)) + g0.times(a))


class Midpoint(SdeMethod):
    """The midpoint method, and the log-ODE method built on it, which adds the term of the Levy area."""

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        t, h, w = step.t, step.h, noise.w
        half = y + sde.drift(t, y) * (h * 0.5) + sde.diffusion_at(t, y, xp=xp).times(w) * 0.5
        middle = step.at(0.5)
        moved = y + sde.drift(middle, half) * h + sde.diffusion_at(middle, half, xp=xp).times(w)
        if noise.area is None or sde.correction is None:
            return SdeStep(moved)
        return SdeStep(moved + sde.correction(middle, half, noise.area))


class Heun(SdeMethod):
    """Heun's method: the mean of both ends."""

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        t, t1, h, _ = step
        f, kick = sde.drift(t, y), sde.diffusion_at(t, y, xp=xp).times(noise.w)
        ahead = y + f * h + kick
        later = sde.drift(t1, ahead) * h + sde.diffusion_at(t1, ahead, xp=xp).times(noise.w)
        return SdeStep(y + (f * h + kick + later) * 0.5)


class EulerHeun(SdeMethod):
    """Euler's step of the drift, and Heun's of the noise."""

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        t, t1, h, _ = step
        f, kick = sde.drift(t, y), sde.diffusion_at(t, y, xp=xp).times(noise.w)
        later = sde.diffusion_at(t1, y + kick, xp=xp).times(noise.w)
        return SdeStep(y + f * h + (kick + later) * 0.5)


class ReversibleHeun(SdeMethod):
    """The reversible Heun method, which remembers f, g and a second state."""

    def first_memory(self, sde: Sde, t: Scalar, y: Array, *, xp: Backend) -> tuple[Array, ...]:
        assert sde.diffusion is not None
        return sde.drift(t, y), sde.diffusion(t, y), y

    def advance(
        self, sde: Sde, step: Interval, y: Array, memory: tuple[Array, ...], noise: Increment, *, xp: Backend
    ) -> SdeStep:
        f0, g0, z0 = memory
        z1 = y * 2.0 - z0 + f0 * step.h + sde.diffusion_of(g0, xp=xp).times(noise.w)
        f1, g1 = sde.drift(step.t1, z1), sde.diffusion_at(step.t1, z1, xp=xp).values
        kick = sde.diffusion_of(g0 + g1, xp=xp).times(noise.w * 0.5)
        return SdeStep(y + (f0 + f1) * (step.h * 0.5) + kick, (f1, g1, z1))


_ONE_CHANNEL = ("diagonal", "scalar")
_COMMUTING = ("additive", "diagonal", "scalar")

SDE_METHODS: dict[str, SdeMethod] = {
    method.name: method
    for method in (
        Euler(
            name="ito_euler",
            calculus="ito",
            noises=NOISES,
            strong_order=0.5,
            drifts=1,
            diffusions=1,
            products=True,
            source=f"{_KLOEDEN_PLATEN}, sec. 10.2",
        ),
        *(
            Milstein(
                name=f"{calculus}_milstein",
                calculus=calculus,
                noises=_COMMUTING,
                strong_order=1.0,
                drifts=1,
                diffusions=1,
                correction=True,
                source=f"{_KLOEDEN_PLATEN}, sec. 10.3",
            )
            for calculus in ("ito", "stratonovich")
        ),
        *(
            MilsteinGradFree(
                name=f"{calculus}_milstein_grad_free",
                calculus=calculus,
                noises=_ONE_CHANNEL,
                strong_order=1.0,
                drifts=1,
                diffusions=2,
                source=f"{_KLOEDEN_PLATEN}, sec. 11.1",
            )
            for calculus in ("ito", "stratonovich")
        ),
        Srid2(
            name="ito_srid2",
            calculus="ito",
            noises=_ONE_CHANNEL,
            strong_order=1.5,
            drifts=3,
            diffusions=4,
            draws=("w", "h"),
            source=f"{_ROESSLER}, sec. 6.2, SRI2 as torchsde tabulates it",
        ),
        Sra1(
            name="ito_sra1",
            calculus="ito",
            noises=("additive",),
            strong_order=1.5,
            drifts=2,
            diffusions=2,
            draws=("w", "h"),
            products=True,
            source=f"{_ROESSLER}, sec. 6.3, SRA1",
        ),
        EulerHeun(
            name="stratonovich_euler_heun",
            calculus="stratonovich",
            noises=NOISES,
            strong_order=0.5,
            drifts=1,
            diffusions=2,
            products=True,
            source=f"{_KLOEDEN_PLATEN}, sec. 4.9",
        ),
        Heun(
            name="stratonovich_heun",
            calculus="stratonovich",
            noises=NOISES,
            strong_order=0.5,
            drifts=2,
            diffusions=2,
            products=True,
            source="Burrage, Burrage & Tian, Proc. R. Soc. A 460 (2004)",
        ),
        Midpoint(
            name="stratonovich_midpoint",
            calculus="stratonovich",
            noises=NOISES,
            strong_order=0.5,
            drifts=2,
            diffusions=2,
            products=True,
            source=f"{_KLOEDEN_PLATEN}, sec. 4.9, as torchsde 0.2.6 has it",
        ),
        ReversibleHeun(
            name="stratonovich_reversible_heun",
            calculus="stratonovich",
            noises=NOISES,
            strong_order=0.5,
            drifts=1,
            diffusions=1,
            memory=("f", "g", "z"),
            source="Kidger, Foster, Li & Lyons, NeurIPS 34 (2021)",
        ),
        Midpoint(
            name="stratonovich_log_ode",
            calculus="stratonovich",
            noises=("general",),
            strong_order=0.5,
            drifts=2,
            diffusions=2,
            draws=("w", "h", "area"),
            correction=True,
            products=True,
            source="Foster, Lyons & Oberhauser, SIAM J. Numer. Anal. 58 (2020), as torchsde 0.2.6 has it",
        ),
    )
}


def sde_method(name: str, calculus: Calculus, noise: str, *, grad_free: bool = False) -> SdeMethod:
    """The method that torchsde means by a name such as "srk", for an SDE of a calculus and a kind of noise.

    grad_free: whether Milstein's method takes a difference in the place of the derivative. Raises ValueError where
    there is no such method, or where it does not solve the kind of noise.

    >>> sde_method("srk", "ito", "additive").name
    'ito_sra1'
    """
    kind = {"srk": "sra1" if noise == "additive" else "srid2"}.get(name, name)
    if name == "milstein" and grad_free and noise != "additive":
        kind = "milstein_grad_free"
    if name == "log_ode" and noise != "general":  # the term of the Levy area is 0
        kind = "midpoint"
    method = SDE_METHODS.get(f"{calculus}_{kind}")
    if method is None or name in ("srid2", "sra1", "milstein_grad_free"):
        names = sorted({_torchsde_name(one) for one in SDE_METHODS.values() if one.calculus == calculus})
        raise ValueError(
            f"method={name!r} is not one of {', '.join(names)}, the methods for SDEs in the {calculus} sense"
        )
    if noise not in method.noises:
        raise ValueError(f"method={name!r} solves {', '.join(method.noises)} noise; the SDE has {noise} noise")
    return method


def _torchsde_name(method: SdeMethod) -> str:
    kind = method.name.removeprefix(f"{method.calculus}_").removesuffix("_grad_free")
    return "srk" if kind in ("srid2", "sra1") else kind
