"""Reference problems as models, in every form of every method, equal torchdiffeq; empty batches and many times work."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
import torchdiffeq
from support.lowering import Case, forms_of, inputs
from support.parity import matches
from support.problems import PROBLEMS, torch_solve
from support.rosters import ADAPTIVE, METHODS, STEPPING
from torch import nn
from torchdiffeq._impl.odeint import SOLVERS

from odelet.numerics.tableau import TABLEAUS
from odelet.status import Status
from odelet_export.capture.capture import capture
from odelet_export.capture.captured import Captured
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides

# The methods of which the installed torchdiffeq can compute a reference, by itself or with a tableau of ours.
COMPARED = [method for method in STEPPING if method in SOLVERS or method in TABLEAUS]
STARTS = {
    **{name: PROBLEMS[name].y0 for name in ("A3", "B5", "C5", "D3", "E3")},
    "A5": 4.0,  # a state without axes
}
TIMES = [(0.0, 0.4, 1.5, 2.0), (0.5, 0.3, 0.0), (1.0,)]


class AsModel(nn.Module):
    """A reference problem as a model of its initial state and output times."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.field = PROBLEMS[name].on(torch)

    def forward(self, y0, t):
        return torchdiffeq.odeint(self.field, y0, t, method="dopri5")


@cache
def traced(name: str, dtype: str) -> tuple[Captured, Callee]:
    y0 = torch.tensor(STARTS[name], dtype=getattr(torch, dtype))
    callee = Callee(AsModel(name), (y0, torch.linspace(0, 1, 4, dtype=y0.dtype)), {})
    return capture(callee, {"t": {0: "times"}}, Overrides(), opset=20), callee


@dataclass(frozen=True, kw_only=True)
class ProblemCase(Case):
    """A case whose field is a reference problem instead of the network."""

    problem: str

    def captured(self) -> tuple[Captured, Callee]:
        captured, callee = traced(self.problem, self.dtype)
        specs = [self.spec(spec) for spec in captured.specs]
        return replace(captured, model=captured.model.clone(), specs=specs), callee

    def torch(self, x, t=None):
        method = METHODS[self.method]
        toleranced = method.adaptive or method.uses_tolerances
        settings = {"rtol": self.rtol, "atol": self.atol} if toleranced else {}
        times = np.array(t, self.dtype)
        options = dict(self.options) or None
        return torch_solve(PROBLEMS[self.problem].on(torch), x, times, method=self.method, options=options, **settings)


def steps(method):
    """Options that give a first step whose error estimate is above rounding, or fixed steps unlike the output times."""
    return (("first_step", 0.5),) if method in ADAPTIVE else (("step_size", 0.1),)


def places():
    """The dtype, method and problem of each test: each method with one problem in turn and with A5, a scalar state."""
    names = [name for name in STARTS if np.ndim(STARTS[name])]
    for i, method in enumerate(COMPARED):
        yield "float64", method, names[i % len(names)]
        yield "float64" if i % 2 else "float32", method, "A5"


@pytest.mark.parametrize(("dtype", "method", "name"), list(places()))
def test_reference_problems_equal_torchdiffeq_in_all_forms(dtype, method, name, tmp_path):
    case = ProblemCase(method=method, dtype=dtype, problem=name, options=steps(method), rtol=1e-4, atol=1e-4)
    y0 = np.array(STARTS[name], dtype)
    for form in forms_of(case):
        formed = replace(case, form=form)
        model = formed.load(tmp_path / form)
        for t in TIMES:
            matches(formed, model, y0, t)


@pytest.mark.parametrize("method", STEPPING)
def test_an_empty_batch_and_two_thousand_times_work_in_all_forms(method, tmp_path):
    """Output times, an input here, decide only where the solution is read: more of them cost no evaluation."""
    case = Case(method=method, options=() if method in ADAPTIVE else (("step_size", 0.25),), rtol=1e-3, atol=1e-3)
    x, many = inputs("float64", 2), np.linspace(0, 1.5, 2000)
    for form in forms_of(case):
        model = replace(case, form=form).load(tmp_path / form)
        empty = model.solve(inputs("float64", 0), many[::400])
        assert empty.status is Status.OK
        assert [output.shape for output in empty.outputs.values()] == [(5, 0, 3)]
        few, solution = model.solve(x, many[[0, 999, 1999]]), model.solve(x, many)
        assert (solution.status, solution.stats.evaluations) == (Status.OK, few.stats.evaluations)
        (rows,), (read,) = solution.outputs.values(), few.outputs.values()
        assert rows.shape == (2000, 2, 3)
        assert rows[[0, 999, 1999]] == pytest.approx(read, rel=0, abs=1e-13)
        # The solution does not jump between one output time and the next.
        assert np.abs(np.diff(rows, axis=0)).max() < 0.02
