"""Reads a caught solve of an SDE as a `SolveSpec`."""

from __future__ import annotations

from odelet.methods.sde import SdeMethod
from odelet.numerics.grid import Grid
from odelet_export.model.overrides import Overrides
from odelet_export.model.spec import SdeSpec, SolveSpec
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.torchsde_calls import SdeCall

# The prefixes of the extras that hold what the first step remembers, and the standard normal numbers of all steps.
MEMORY, NORMALS = "memory.", "normals."
# The extra that holds a key for the Brownian path of each batch row.
KEYS = "keys"


def sde_spec(call: SdeCall, index: int, overrides: Overrides) -> SolveSpec:
    """The solve that a call asks for, with the overrides of its steps applied. index: its number in the artifact.

    The settings of ODE solves do not apply to it. Raises CaptureError, naming file and line, for a call that cannot be
    exported.
    """
    method = call.solver_method
    if call.depth:
        raise CaptureError(
            call.where + "an SDE inside a function of another solve cannot be exported; solve one before the other"
        )
    if overrides.per_sample and method.step_doubling:
        raise CaptureError(
            call.where + "adaptive=True measures the error of the whole batch, as torchsde does; leave per_sample out"
        )
    memory = tuple(f"{MEMORY}{name}" for name in method.memory)
    noise = (KEYS,) if method.step_doubling else tuple(f"{NORMALS}{name}" for name in method.draws)
    grid = _grid(call, method, overrides)
    computed = ("grid",) if grid is not None and grid.constructed else ()
    return SolveSpec(
        index=index,
        call=index,
        solver=method,
        rtol=_number(call, "rtol") if method.step_doubling else None,
        atol=_number(call, "atol") if method.step_doubling else None,
        control=None,
        grid=grid,
        parts=1,
        functions=call.function_names,
        source=call.source,
        extras=(*computed, *memory, *noise),
        sde=SdeSpec(
            noise=call.noise,
            channels=call.channels,
            step_size=overrides.step_size or _number(call, "dt"),
            least_step=_number(call, "dt_min") if method.step_doubling else None,
        ),
    )


def _grid(call: SdeCall, method: SdeMethod, overrides: Overrides) -> Grid | None:
    """The fixed steps of a solve: between points that are computed at capture, or equal steps of a given number."""
    if method.step_doubling:
        return None
    return Grid(constructed=True) if overrides.steps is None else Grid(steps=overrides.steps)


def _number(call: SdeCall, name: str) -> float:
    """A number among the arguments of the call. Raises CaptureError for one that is not positive."""
    value = float(getattr(call.solver, name))
    if not (0 < value < float("inf") or (name in ("rtol", "atol") and value == 0)):
        raise CaptureError(call.where + f"{name}={value!r} must be a positive number")
    return value
