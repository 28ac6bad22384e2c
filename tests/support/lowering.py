"""A model that is captured once and lowered with any method, form and times, without another trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
import torchdiffeq
from torch import nn

import odelet
from odelet.loops.limits import DEFAULT_MAX_STEPS
from odelet.methods.roster import METHODS
from odelet.numerics.control import Control
from odelet.numerics.grid import Grid
from odelet.numerics.tableau import Tableau
from odelet_export.capture.capture import capture
from odelet_export.capture.captured import Captured
from odelet_export.graphs.scope import Scope
from odelet_export.lowering.choose import possible
from odelet_export.lowering.forms.site import Site
from odelet_export.lowering.hole import Hole, Placed
from odelet_export.lowering.lift import lift
from odelet_export.lowering.lower import LoweredModel, lower
from odelet_export.lowering.profiles import GENERAL, Profile
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.spec import SolveSpec
from odelet_export.targets.folder import write_card
from odelet_export.targets.onnx_files import card_of, tensor_of, write_graphs
from odelet_intercept.installed import key_of, lacking
from support.problems import Counted, TorchSolution

DTYPES = {"float32": torch.float32, "float64": torch.float64}
WIDTH = 3


class Net(nn.Module):
    """A solve whose field reads time, and a context from outside the field.

    pair: whether the state is a tuple, of y and of the integral of its squared slope. settings: keywords of the solve.
    counted: a counter of calls that wraps the field, or None.
    """

    def __init__(self, *, pair: bool) -> None:
        super().__init__()
        self.encode = nn.Linear(WIDTH, 4)
        self.inner = nn.Linear(WIDTH + 4, 24)
        self.outer = nn.Linear(24, WIDTH)
        self.pair = pair
        self.settings: dict[str, Any] = {"method": "dopri5"}
        self.counted: Counted | None = None

    def forward(self, x, t):
        context = torch.sin(self.encode(x))

        def slope(t, y):
            hidden = torch.tanh(self.inner(torch.cat([y, context], dim=-1)) + torch.cos(3 * t))
            return 2 * self.outer(hidden)

        def pair_slope(t, state):
            y, _ = state
            dy = slope(t, y)
            return dy, (dy * dy).sum(dim=-1) * (1 + t)

        field, y0 = (pair_slope, (x, x[:, 0] * 0.5)) if self.pair else (slope, x)
        if self.counted is not None:
            self.counted.field = field
            field = self.counted
        return torchdiffeq.odeint(field, y0, t, **self.settings)


@cache
def net(dtype: str, *, pair: bool) -> Net:
    """The model in a dtype; the same object at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Net(pair=pair).to(DTYPES[dtype]).eval()


def inputs(dtype: str, batch: int = 2, seed: int = 0) -> np.ndarray:
    """The input x of the model, (batch, 3)."""
    return np.random.default_rng(seed).normal(size=(batch, WIDTH)).astype(dtype)


@cache
def traced(
    dtype: str, *, pair: bool, times: tuple[float, ...] | None, time_dtype: str, opset: int
) -> tuple[Captured, Callee]:
    """The capture of the model and its callee. times: constant times; None for an input of any length."""
    x = torch.from_numpy(inputs(dtype))
    model = net(dtype, pair=pair)
    axes: dict[str, dict[int, str]] = {"x": {0: "batch"}}
    if times is None:
        callee = Callee(model, (x, torch.linspace(0, 1, 4, dtype=DTYPES[time_dtype])), {})
        axes["t"] = {0: "times"}
    else:
        constant = torch.tensor(times, dtype=DTYPES[time_dtype])
        callee = Callee(_AtTimes(model, constant), (x,), {})
    return capture(callee, axes, Overrides(), opset=opset), callee


class _AtTimes(nn.Module):
    """The model with constant times."""

    def __init__(self, model: Net, times: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self.times = times

    def forward(self, x):
        return self.model(x, self.times)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A solve to lower: its method, form and settings.

    times: constant output times; None where they are an input. retrace: whether to trace with the constant times,
    instead of putting them into the graph that was traced with times as an input. positions: the ends of the steps of
    the form bounded, from 0 to 1; each sample is then measured on its own.
    """

    method: str
    form: str = "auto"
    dtype: str = "float64"
    pair: bool = False
    times: tuple[float, ...] | None = None
    time_dtype: str | None = None
    rtol: float = 1e-5
    atol: float = 1e-6
    options: tuple[tuple[str, Any], ...] = ()
    tableau: Tableau | None = None
    max_steps: int = DEFAULT_MAX_STEPS
    keep_debug_info: bool = False
    opset: int = 20
    retrace: bool = False
    positions: tuple[float, ...] | None = None

    def captured(self) -> tuple[Captured, Callee]:
        """A copy of the capture, which may be changed, with the method and times of this case, and the callee."""
        at = self.times if self.retrace else None
        captured, callee = traced(
            self.dtype, pair=self.pair, times=at, time_dtype=self.time_dtype or self.dtype, opset=self.opset
        )
        model = captured.model.clone()
        if self.times is not None and not self.retrace:
            _fix_times(model, np.array(self.times, self.time_dtype or self.dtype))
        return replace(captured, model=model, specs=[self.spec(spec) for spec in captured.specs]), callee

    def spec(self, spec: SolveSpec) -> SolveSpec:
        """A spec with this case's method, options and tolerances."""
        method = METHODS[self.method]
        method = method if self.tableau is None else replace(method, tableau=self.tableau)
        options = dict(self.options)
        method = method.with_options(**{name: options.pop(name) for name in method.option_names() if name in options})
        tolerances = {"rtol": None, "atol": None}
        if method.adaptive or method.uses_tolerances:
            tolerances = {"rtol": self.rtol, "atol": self.atol}
        control = Control(**options) if method.adaptive else None
        grid = Grid(**options) if method.fixed else None
        return replace(spec, solver=method, control=control, grid=grid, **tolerances)

    def lowered(self) -> LoweredModel:
        """The lowered model, in memory."""
        captured, _ = self.captured()
        return self._lower(captured)

    def _lower(self, captured: Captured) -> LoweredModel:
        holes = placed(lift(captured), self.positions)
        return lower(captured, holes, self.form, max_steps=self.max_steps, keep_debug_info=self.keep_debug_info)

    def load(self, folder: Path) -> odelet.Model:
        """Lower the model, write it into a folder, and load it."""
        captured, _ = self.captured()
        return load_captured(
            captured,
            self.form,
            folder,
            max_steps=self.max_steps,
            keep_debug_info=self.keep_debug_info,
            opset=self.opset,
            positions=self.positions,
        )

    def torch(self, x: np.ndarray, t: Sequence[float] | None = None) -> TorchSolution:
        """The same model solved by torchdiffeq. x: (batch, 3). t: output times, if the case has no constant ones."""
        model = net(self.dtype, pair=self.pair)
        method = METHODS[self.method]
        options = dict(self.options)
        if "steps" in options:
            options["grid_constructor"] = _equal_steps(options.pop("steps"))
        counted = Counted(lambda t, y: None, adaptive=method.adaptive)
        times = torch.tensor(self.times if t is None else t, dtype=DTYPES[self.time_dtype or self.dtype])
        model.settings = {"method": key_of(self.method), "options": options or None}
        if method.adaptive or method.uses_tolerances:
            model.settings |= {"rtol": self.rtol, "atol": self.atol}
        model.counted = counted
        try:
            with torch.no_grad(), lacking():
                solution = model(torch.from_numpy(x), times)
        finally:
            model.counted, model.settings = None, {"method": "dopri5"}
        outputs = [part.numpy() for part in (solution if isinstance(solution, tuple) else (solution,))]
        accepted = counted.accepted if method.adaptive else counted.steps
        return TorchSolution(outputs, counted.steps, accepted, counted.evaluations)


def _equal_steps(steps: int) -> Any:
    """A grid constructor for torchdiffeq: equal steps between the first time and the last."""
    return lambda _func, _y0, t: torch.cat(
        [torch.arange(steps, dtype=t.dtype) * ((t[-1] - t[0]) / steps) + t[0], t[-1:]]
    )


def _fix_times(model: ir.Model, times: np.ndarray) -> None:
    """Replace the input of times of a graph by a constant."""
    value = next(value for value in model.graph.inputs if value.name == "t")
    model.graph.inputs.remove(value)
    value.shape = ir.Shape(times.shape)
    value.const_value = ir.tensor(times, name="t")
    model.graph.register_initializer(value)


def captured_of(model: nn.Module, *args: torch.Tensor, **settings: Any) -> Captured:
    """The capture of a model, for several forms. settings: dynamic axes by input, and overrides of the solve."""
    axes = settings.pop("dynamic", {})
    return capture(Callee(model, args, {}), axes, Overrides(**settings), opset=20)


def load_captured(
    captured: Captured,
    form: str,
    folder: Path,
    *,
    max_steps: int = DEFAULT_MAX_STEPS,
    keep_debug_info: bool = False,
    opset: int = 20,
    positions: tuple[float, ...] | None = None,
    profile: Profile = GENERAL,
) -> odelet.Model:
    """Lower a copy of a captured model, write it and load it."""
    captured = replace(captured, model=captured.model.clone())
    graph = captured.model.graph
    ports = [[tensor_of(value) for value in values] for values in (graph.inputs, graph.outputs)]
    holes = placed(lift(captured), positions)
    lowered = lower(captured, holes, form, max_steps=max_steps, keep_debug_info=keep_debug_info, profile=profile)
    folder.mkdir(parents=True, exist_ok=True)
    card = write_graphs(lowered, card_of(lowered, "Net", *ports, (), opset), folder)
    write_card(card, folder)
    return odelet.load(folder)


def placed(holes: Sequence[Hole], positions: tuple[float, ...] | None) -> list[Hole]:
    """The holes, with the steps of the form bounded if `positions` are given."""
    if positions is None:
        return list(holes)
    return [replace(hole, placed=Placed(np.array(positions), "batch")) for hole in holes]


def forms_of(case: Case) -> list[str]:
    """The names of the forms that the case's solve can have."""
    captured, _ = case.captured()
    (hole,) = placed(lift(captured), case.positions)
    return possible(Site.of(hole, Scope.of(captured.model.graph), case.max_steps, {}))
