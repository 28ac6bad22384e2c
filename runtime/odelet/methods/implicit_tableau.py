"""Butcher tableaus of implicit Runge-Kutta methods, as data.

What follows from the coefficients is computed, never typed in. No solver code is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose, sqrt

from odelet.numerics.tableau import Row


@dataclass(frozen=True, kw_only=True)
class ImplicitTableau:
    """The Butcher tableau of an implicit Runge-Kutta method.

    name: the name as torchdiffeq spells it. order: the order of the solution. c: the nodes, (stages,). a: the whole
    matrix, one row for each stage. b: the weights of the new state, (stages,). inconsistent: whether row sums of `a`
    may differ from the nodes, as they do in some methods of torchdiffeq. Raises ValueError when the sizes or the row
    sums do not agree.
    """

    name: str
    order: int
    c: Row
    a: tuple[Row, ...]
    b: Row
    source: str
    inconsistent: bool = False

    def __post_init__(self) -> None:
        stages = len(self.c)
        if any(len(row) != stages for row in (self.a, *self.a, self.b)):
            raise ValueError(f"tableau {self.name!r}: a and b must have {stages} entries a row, for {stages} stages")
        for node, row in zip(self.c, self.a, strict=True):
            if not self.inconsistent and not isclose(sum(row), node, rel_tol=0, abs_tol=1e-12):
                raise ValueError(f"tableau {self.name!r}: row {row} sums to {sum(row)}, its node is {node}")
        if not isclose(sum(self.b), 1, rel_tol=0, abs_tol=1e-12):
            raise ValueError(f"tableau {self.name!r}: b sums to {sum(self.b)}, not 1")

    @property
    def stages(self) -> int:
        """The number of slopes that a step combines."""
        return len(self.c)

    def explicit(self, stage: int) -> bool:
        """Whether a stage is the slope at the start of the step."""
        return self.c[stage] == 0 and not any(self.a[stage])

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The implicit stages in groups that are solved together: one by one if `a` is lower triangular, else all."""
        implicit = tuple(stage for stage in range(self.stages) if not self.explicit(stage))
        diagonal = all(not any(row[i + 1 :]) for i, row in enumerate(self.a))
        return tuple((stage,) for stage in implicit) if diagonal else (implicit,)


_RADAU = "Hairer & Wanner, Solving ODEs II, sec. IV.5, table 5.5"
_GAUSS = "Hairer & Wanner, Solving ODEs II, sec. IV.5, table 5.1"

IMPLICIT_EULER = ImplicitTableau(
    name="implicit_euler",
    order=1,
    c=(1,),
    a=((1,),),
    b=(1,),
    source="Hairer & Wanner, Solving ODEs II, sec. IV.5, table 5.5 (Radau IIA of order 1)",
)

IMPLICIT_MIDPOINT = ImplicitTableau(
    name="implicit_midpoint", order=2, c=(1 / 2,), a=((1 / 2,),), b=(1,), source=f"{_GAUSS} (order 2)"
)

TRAPEZOID = ImplicitTableau(
    name="trapezoid",
    order=2,
    c=(0, 1),
    a=((0, 0), (1 / 2, 1 / 2)),
    b=(1 / 2, 1 / 2),
    source="Hairer & Wanner, Solving ODEs II, sec. IV.5, table 5.7 (Lobatto IIIA of order 2)",
)

RADAU_IIA3 = ImplicitTableau(
    name="radauIIA3",
    order=3,
    c=(1 / 3, 1),
    a=((5 / 12, -1 / 12), (3 / 4, 1 / 4)),
    b=(3 / 4, 1 / 4),
    source=f"{_RADAU} (order 3)",
)

_SQRT_3, _SQRT_6, _SQRT_15 = sqrt(3), sqrt(6), sqrt(15)

GL4 = ImplicitTableau(
    name="gl4",
    order=4,
    c=(1 / 2 - _SQRT_3 / 6, 1 / 2 + _SQRT_3 / 6),
    a=((1 / 4, 1 / 4 - _SQRT_3 / 6), (1 / 4 + _SQRT_3 / 6, 1 / 4)),
    b=(1 / 2, 1 / 2),
    source=f"{_GAUSS} (order 4)",
)

GL4_TORCHDIFFEQ = ImplicitTableau(
    name="gl4_torchdiffeq",
    order=1,  # 4 where the field does not depend on time
    c=(1 / 2 - _SQRT_3 / 6, 1 / 2 - _SQRT_3 / 6),
    a=GL4.a,
    b=GL4.b,
    source="gl4 as torchdiffeq computes it (GitHub, 657943a), with its first node in the place of the second",
    inconsistent=True,
)

RADAU_IIA5 = ImplicitTableau(
    name="radauIIA5",
    order=5,
    c=((4 - _SQRT_6) / 10, (4 + _SQRT_6) / 10, 1),
    a=(
        ((88 - 7 * _SQRT_6) / 360, (296 - 169 * _SQRT_6) / 1800, (-2 + 3 * _SQRT_6) / 225),
        ((296 + 169 * _SQRT_6) / 1800, (88 + 7 * _SQRT_6) / 360, (-2 - 3 * _SQRT_6) / 225),
        ((16 - _SQRT_6) / 36, (16 + _SQRT_6) / 36, 1 / 9),
    ),
    b=((16 - _SQRT_6) / 36, (16 + _SQRT_6) / 36, 1 / 9),
    source=f"{_RADAU} (order 5)",
)

GL6 = ImplicitTableau(
    name="gl6",
    order=6,
    c=(1 / 2 - _SQRT_15 / 10, 1 / 2, 1 / 2 + _SQRT_15 / 10),
    a=(
        (5 / 36, 2 / 9 - _SQRT_15 / 15, 5 / 36 - _SQRT_15 / 30),
        (5 / 36 + _SQRT_15 / 24, 2 / 9, 5 / 36 - _SQRT_15 / 24),
        (5 / 36 + _SQRT_15 / 30, 2 / 9 + _SQRT_15 / 15, 5 / 36),
    ),
    b=(5 / 18, 4 / 9, 5 / 18),
    source="Hairer & Wanner, Solving ODEs II, sec. IV.5, table 5.2 (order 6)",
)

_GAMMA = 1 - sqrt(2) / 2

SDIRK2 = ImplicitTableau(
    name="sdirk2",
    order=2,
    c=(_GAMMA, 1),
    a=((_GAMMA, 0), (1 - _GAMMA, _GAMMA)),
    b=(1 - _GAMMA, _GAMMA),
    source="Alexander, SIAM J. Numer. Anal. 14 (1977)",
)

_QUARTER_SQRT_2 = sqrt(2) / 4

TRBDF2 = ImplicitTableau(
    name="trbdf2",
    order=2,
    c=(0, 2 * _GAMMA, 1),
    a=((0, 0, 0), (_GAMMA, _GAMMA, 0), (_QUARTER_SQRT_2, _QUARTER_SQRT_2, _GAMMA)),
    b=(_QUARTER_SQRT_2, _QUARTER_SQRT_2, _GAMMA),
    source="Bank et al., IEEE Trans. Electron Devices 32 (1985); Hosea & Shampine, Appl. Numer. Math. 20 (1996)",
)

IMPLICIT_TABLEAUS: dict[str, ImplicitTableau] = {
    tableau.name: tableau
    for tableau in (
        IMPLICIT_EULER,
        IMPLICIT_MIDPOINT,
        TRAPEZOID,
        RADAU_IIA3,
        GL4,
        GL4_TORCHDIFFEQ,
        RADAU_IIA5,
        GL6,
        SDIRK2,
        TRBDF2,
    )
}
