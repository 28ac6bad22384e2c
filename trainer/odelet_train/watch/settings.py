"""What a watch adds to the solves of a loss, as checked data."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from odelet.errors import InputError

# The regularisers, in the order in which their integrals stand in an augmented state.
KINDS = ("kinetic", "jacobian", "second")


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What a watch adds to the solves. All values at their defaults add nothing.

    kinetic, jacobian, second: weights of the regularisers in the cost. steer: the share of the last interval of times
    by which the end time is moved at random. adjoint: whether `odeint` computes its gradients as `odeint_adjoint` does.
    Raises InputError for a value out of its range.

    >>> Watching(kinetic=0.05).weights
    {'kinetic': 0.05}
    >>> Watching().changes
    ()
    """

    kinetic: float = 0.0
    jacobian: float = 0.0
    second: float = 0.0
    steer: float = 0.0
    adjoint: bool = False

    def __post_init__(self) -> None:
        for kind in KINDS:
            weight = getattr(self, kind)
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
                raise InputError(f"{kind}={weight!r} must be a number, 0 or more; try 0.05")
        if isinstance(self.steer, bool) or not isinstance(self.steer, (int, float)) or not 0 <= self.steer < 1:
            raise InputError(
                f"steer={self.steer!r} must be a share of the last interval, 0 or more and below 1; try 0.5"
            )
        if not isinstance(self.adjoint, bool):
            raise InputError(f"adjoint={self.adjoint!r} must be True or False")

    @property
    def weights(self) -> dict[str, float]:
        """The regularisers that have a weight, in the order of KINDS."""
        return {kind: getattr(self, kind) for kind in KINDS if getattr(self, kind)}

    @property
    def changes(self) -> tuple[str, ...]:
        """The arguments that change something, as a caller wrote them."""
        return tuple(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name))
