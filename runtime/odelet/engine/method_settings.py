"""The method of a driven solve with its options set, as the card gives them: the same at load and in a solve."""

from __future__ import annotations

from typing import NamedTuple

from odelet.artifact.solve_card import SolveCard
from odelet.errors import InputError
from odelet.loops.options import control_from, method_and_grid
from odelet.methods.method import Method
from odelet.methods.roster import method_of
from odelet.numerics.control import Control
from odelet.numerics.grid import Grid


class MethodSettings(NamedTuple):
    """A method with its own options set. control: of an adaptive method, else None. grid: of a fixed-step method, else
    None."""

    method: Method
    control: Control | None
    grid: Grid | None


def settings_of(solve: SolveCard) -> MethodSettings:
    """The settings of a driven solve. Raises InputError for options that its method does not have, or with values that
    they cannot have."""
    assert solve.drive is not None
    method, options = method_of(solve.method), solve.drive.options
    try:
        if method.adaptive:
            return MethodSettings(method, control_from(options, solve.method), None)
        if solve.drive.grid is not None:
            options = {**options, "grid_constructor": solve.drive.grid}
        method, grid = method_and_grid(method, options)
    except (TypeError, OverflowError) as error:
        raise InputError(f"options: {error}") from None
    return MethodSettings(method, None, grid if method.fixed else None)
