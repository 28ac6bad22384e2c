"""The methods that the installed torchdiffeq computes under each name, and stand-ins for the methods that it lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from odelet.methods.explicit_rk import ExplicitRK
from odelet.methods.implicit_rk import ImplicitRK
from odelet.methods.roster import METHODS
from odelet.numerics.tableau import Tableau
from odelet_intercept.solver_library import misc, odeint, rk_common, solvers

SOLVERS: dict[str, Any] = odeint.SOLVERS
_TWIN = "{}_torchdiffeq"


def name_of(method: str) -> str:
    """odelet's name for the method that the installed torchdiffeq computes as `method`.

    Some releases have wrong coefficients for a method. The plain name stands for the correct method. The method with
    the coefficients of those releases has a second name, and is recognised by comparing coefficients.
    """
    twin = _TWIN.format(method)
    if twin in METHODS and method in SOLVERS and computes(SOLVERS[method], twin):
        return twin
    return method


def computes(solver: Any, method: str) -> bool:
    """Whether a solver class of torchdiffeq has the coefficients of a method of odelet."""
    theirs, ours = getattr(solver, "tableau", None), getattr(METHODS[method], "tableau", None)
    if theirs is None or ours is None:
        return False
    # torchdiffeq leaves out the node of the first stage of an explicit method.
    nodes = [*theirs.alpha.tolist()]
    nodes = nodes if len(nodes) == len(ours.c) else [0.0, *nodes]
    pairs = [*zip(nodes, ours.c, strict=False), *zip(theirs.c_sol.tolist(), ours.b, strict=False)]
    same_stages = len(nodes) == len(ours.c) and len(theirs.c_sol) == len(ours.b)
    return same_stages and all(math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12) for a, b in pairs)


def key_of(method: str) -> str:
    """The name under which torchdiffeq runs a method of odelet inside a `with lacking():` block."""
    return method if method in SOLVERS and name_of(method) == method else f"odelet.{method}"


@contextmanager
def lacking() -> Iterator[None]:
    """Let torchdiffeq's own loops run the methods that it lacks, or has with other coefficients; see `key_of`."""
    added = {}
    for name, method in METHODS.items():
        if key_of(name) == name:
            continue
        if isinstance(method, ImplicitRK):
            added[key_of(name)] = type(name, (StandIn,), {"order": method.order, "method": method})
        elif isinstance(method, ExplicitRK) and method.adaptive:
            added[key_of(name)] = _adaptive(method.tableau)
    SOLVERS.update(added)
    try:
        yield
    finally:
        for key in added:
            del SOLVERS[key]


def _row(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _adaptive(tableau: Tableau) -> type:
    assert tableau.b_err is not None and tableau.mid is not None
    coefficients = rk_common._ButcherTableau(
        alpha=_row(tableau.c[1:]),
        beta=[_row(a) for a in tableau.a[1:]],
        c_sol=_row(tableau.b),
        c_error=_row(tableau.b_err),
    )
    return type(
        tableau.name,
        (rk_common.RKAdaptiveStepsizeODESolver,),
        {"order": tableau.order, "tableau": coefficients, "mid": _row(tableau.mid)},
    )


class StandIn(solvers.FixedGridODESolver):  # type: ignore[misc]  # torchdiffeq has no types
    """An implicit Runge-Kutta method for torchdiffeq, which its release 0.2.5 lacks.

    All stages are solved for together, to rounding, by Newton's method with GMRES on differences of the field. The
    runtime solves for them in another way, so that the two check each other.
    """

    method: ImplicitRK

    def __init__(self, *args: Any, max_iters: int = 0, **settings: Any) -> None:
        del max_iters  # a setting of the iteration that Newton's method replaces
        super().__init__(*args, **settings)

    def _step_func(
        self, func: Any, t0: torch.Tensor, dt: torch.Tensor, t1: torch.Tensor, y0: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tableau = self.method.tableau
        f0 = func(t0, y0, perturb=misc.Perturb.NEXT if self.perturb else misc.Perturb.NONE)
        t0, h, t1 = (x.to(y0.dtype) for x in (t0, dt, t1))
        a = torch.tensor(tableau.a, dtype=y0.dtype)
        unknown = [i for i in range(tableau.stages) if not tableau.explicit(i)]
        k = f0.reshape(1, -1).repeat(tableau.stages, 1)

        def slope(i: int, y: torch.Tensor) -> Any:
            if tableau.c[i] == 1:
                return func(t1, y, perturb=misc.Perturb.PREV)
            return func(t0 + tableau.c[i] * h, y)

        def residual(x: torch.Tensor) -> torch.Tensor:
            ks = k.clone()
            ks[unknown] = x.reshape(len(unknown), -1)
            states = y0.reshape(-1) + h * (a @ ks)
            slopes = [slope(i, states[i].reshape(y0.shape)).reshape(-1) for i in unknown]
            return x - torch.cat(slopes)

        k[unknown] = newton(residual, k[unknown].reshape(-1)).reshape(len(unknown), -1)
        return (h * (torch.tensor(tableau.b, dtype=y0.dtype) @ k)).reshape(y0.shape), f0


def newton(residual: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, *, turns: int = 30) -> torch.Tensor:
    """The vector x with residual(x) = 0, as close as rounding allows.

    residual: returns x - g(x) for a vector x; the size of g(x) is the measure of rounding. x: the first guess, (n,).
    turns: the most iterations.
    """
    eps = torch.finfo(x.dtype).eps
    r = residual(x)
    for _ in range(turns):
        size = float(r.norm())
        if not size > 4 * eps * float((x - r).norm()):
            break
        base, width = r, eps**0.5 * (1 + float(x.norm()))

        def tangent(v: torch.Tensor, x: torch.Tensor = x, base: torch.Tensor = base, width: float = width) -> Any:
            return (residual(x + width * v) - base) / width

        moved = x - gmres(tangent, r)
        after = residual(moved)
        if not float(after.norm()) < size:
            break
        x, r = moved, after
    return x


def gmres(product: Callable[[torch.Tensor], Any], b: torch.Tensor, *, size: int = 60) -> torch.Tensor:
    """The vector v with A v = b, to a residual of 1e-4 of b.

    product: returns A v for a vector v, (n,). b: (n,), not zero. size: the most products.
    Source: Saad & Schultz, SIAM J. Sci. Stat. Comput. 7 (1986).
    """
    beta = b.norm()
    basis = [b / beta]
    count = min(size, b.numel())
    hessenberg = torch.zeros(count + 1, count, dtype=b.dtype)
    goal = torch.zeros(count + 1, dtype=b.dtype)
    goal[0] = beta
    best = torch.zeros(0, dtype=b.dtype)
    for j in range(count):
        w = product(basis[j])
        for i, v in enumerate(basis):
            hessenberg[i, j] = torch.dot(v, w)
            w = w - hessenberg[i, j] * v
        hessenberg[j + 1, j] = w.norm()
        part = hessenberg[: j + 2, : j + 1]
        best = torch.linalg.lstsq(part, goal[: j + 2]).solution
        left = (part @ best - goal[: j + 2]).norm()
        if left <= 1e-4 * beta or hessenberg[j + 1, j] <= 1e-12 * beta:
            break
        basis.append(w / hessenberg[j + 1, j])
    return torch.stack(basis[: len(best)], dim=1) @ best
