"""Solves inside the fields and event functions of other solves give torch's answers and report their failures."""

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint, odeint_event

import odelet
from odelet_export import CaptureError, FormError, export

TIMES = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
DYNAMIC = {"x": {0: "batch"}, "t": {0: "times"}}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Inner(nn.Module):
    """A field that solves from the state; the field of that inner solve reads time and state of the outer one too."""

    def __init__(self, outer, inner):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 2).double()
        self.outer, self.inner = outer, inner

    def field(self, t, y):
        times = t + torch.linspace(0.0, 0.5, 3, dtype=y.dtype)
        z = odeint(lambda s, z: torch.tanh(self.layer(z)) * s - z * torch.cos(y), y, times, **self.inner)
        return z[-1] - 0.5 * z[1] - y * t

    def forward(self, x, t):
        return odeint(self.field, x, t, **self.outer)


ADAPTIVE = {"method": "dopri5", "rtol": 1e-4, "atol": 1e-6}
KINDS = {
    "adaptive in fixed": ({"method": "rk4", "options": {"step_size": 0.5}}, ADAPTIVE, ("rolled", "driven")),
    "fixed in adaptive": (ADAPTIVE, {"method": "rk4"}, ("adaptive", "driven")),
    "adaptive in adaptive": (ADAPTIVE, {**ADAPTIVE, "method": "bosh3"}, ("auto", "driven")),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_solve_in_a_field_gives_the_answers_of_torch(kind, tmp_path, captured_once):
    outer, inner, forms = KINDS[kind]
    for form in forms:
        exported = export(
            Inner(outer, inner), (normal(4, 2), TIMES), tmp_path / form, form=form, dynamic=DYNAMIC, samples=2
        )
        assert exported.parity.passed
        assert exported.parity.card()["same_steps"], "the steps differ from torchdiffeq's"
        assert len({str(sample.shapes) for sample in exported.parity.samples}) > 1
        (line,) = exported.card.solves[0].nested
        assert line.startswith(f"{inner['method']}, {'adaptive' if 'rtol' in inner else 'unrolled'}, test_nested.py:")
        assert f"inside it: {line}" in exported.card.summary()


@pytest.mark.slow
def test_fixed_steps_in_fixed_steps_can_be_unrolled_and_rolled(tmp_path, captured_once):
    model = Inner({"method": "midpoint"}, {"method": "rk4"})
    x = normal(3, 2)
    for form, inside in (("unrolled", "unrolled"), ("rolled", "rolled"), ("auto", "unrolled")):
        exported = export(model, (x,), tmp_path / form, kwargs={"t": TIMES}, form=form, samples=1)
        (solve,) = exported.card.solves
        # Copies of a field that holds a solve multiply, so `auto` rolls the outer one.
        assert (solve.form, solve.nested[0].split(", ")[1]) == (form if form != "auto" else "rolled", inside)
        assert exported.parity.card()["same_steps"]


def three_levels(x):
    """A field with two solves: the second starts where the first ends, and has a third solve in its own field."""

    def slowest(t, y):
        first = odeint(lambda s, z: torch.sin(z) * t, y, torch.tensor([0.0, 0.5]), method="euler")[-1]

        def middle(s, z):
            shift = odeint(lambda r, w: -w * z * s, first, torch.stack([s, s + 0.5]), method="midpoint")[-1]
            return shift - z * t

        return odeint(middle, first, torch.tensor([0.0, 0.5, 1.0]), method="euler")[-1] - y

    return odeint(slowest, x, torch.tensor([0.0, 0.5, 1.0]), method="midpoint")[-1]


@pytest.mark.slow
def test_three_levels_of_solves_give_the_answers_of_torch(tmp_path):
    exported = export(three_levels, (normal(4, 2).float(),), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=2)
    assert exported.parity.passed
    lines = [line.split(",")[0] + ("*" if "inside" in line else "") for line in exported.card.solves[0].nested]
    assert sorted(lines) == ["euler", "euler", "midpoint*"]
    model, x = odelet.load(tmp_path / "out"), normal(7, 2, seed=3).float()
    np.testing.assert_allclose(model(x.numpy()), three_levels(x).numpy(), rtol=1e-5, atol=1e-6)


class Keeping(nn.Module):
    """A field that computes its context by a solve in its first call, and keeps it."""

    def forward(self, x):
        self.context = None

        def field(t, y):
            if self.context is None:
                self.context = odeint(lambda s, z: -z, y, torch.tensor([0.0, 1.0]), method="euler")[-1]
            return self.context - y

        return odeint(field, x, torch.tensor([0.0, 1.0, 2.0]), method="euler")[-1]


def test_a_solve_of_the_first_call_alone_is_exported_once(tmp_path):
    exported = export(Keeping(), (normal(3, 2),), tmp_path / "out", samples=2)
    assert exported.parity.passed
    assert len(exported.card.solves[0].nested) == 1


def leaking(x, *, with_end):
    inner_ends = []

    def field(t, y):
        inner_ends[:] = [odeint(lambda s, z: -z, y, torch.tensor([0.0, 1.0]), method="euler")[-1]]
        return inner_ends[0]

    end = odeint(field, x, torch.tensor([0.0, 1.0]), method="euler")[-1]
    other = odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="euler")[-1]
    return inner_ends[0] + (end if with_end else other)


@pytest.mark.slow
def test_an_inner_solution_that_is_read_outside_the_field_is_refused(tmp_path):
    for with_end, advice in ((True, "return it as part of the state instead"), (False, "compute it outside the field")):
        with pytest.raises(CaptureError, match=advice):
            export(leaking, (normal(3, 2),), tmp_path / "out", kwargs={"with_end": with_end})


def test_a_field_may_read_the_whole_solution_of_an_earlier_solve(tmp_path):
    def model(x):
        path = odeint(lambda t, y: -y, x, TIMES, method="euler")
        return odeint(lambda t, y: (path * y).sum(0), x, TIMES, method="euler")

    assert export(model, (normal(3, 2),), tmp_path / "out", samples=1).parity.passed


class Failing(nn.Module):
    """The inner solve diverges where x is large, and fails at times that are not valid; a clamp hides its NaN."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, s):
        def field(t, y):
            z = odeint(lambda _, z: z * z * z, y, s, **self.inner)[-1]
            return torch.nan_to_num(torch.clamp(z, -0.1, 0.1), nan=0.0)

        return odeint(field, x, torch.tensor([0.0, 1.0], dtype=x.dtype), method="euler", options={"step_size": 0.5})[-1]


@pytest.mark.slow
def test_a_failed_inner_solve_fails_the_outer_one(tmp_path, captured_once):
    x, s = torch.full((3, 1), 0.2, dtype=torch.float64), torch.tensor([0.0, 0.5], dtype=torch.float64)
    model = Failing(ADAPTIVE)
    for form in ("unrolled", "rolled", "driven"):
        export(model, (x, s), tmp_path / form, form=form, dynamic={"x": {0: "batch"}}, samples=1, max_steps=40)
        ready = odelet.load(tmp_path / form)
        assert ready.solve(x.numpy(), s.numpy()).status is odelet.Status.OK
        for wrong in ((10 * x, s), (x, s.flip(0) * torch.tensor([0.0, 1.0])), (x, s * torch.nan)):
            failed = ready.solve(*(value.numpy() for value in wrong))
            assert failed.status is odelet.Status.NOT_FINITE, form
            with pytest.raises(
                odelet.SolveError, match="a solve inside its field failed: dopri5, adaptive, test_nested"
            ):
                failed.raise_if_failed()
            assert np.isnan(failed.outputs.get("output", np.nan)).any(), "a finite answer"


def bouncing(x, s):
    """A solve whose event is that the end of an inner solve, which starts from the state, crosses a height."""

    def height(t, y):
        return odeint(lambda _, z: -z * z, y, s, **ADAPTIVE)[-1].sum() - 0.9

    time, states = odeint_event(
        lambda t, y: -y, x, torch.tensor(0.0, dtype=x.dtype), event_fn=height, method="dopri5", rtol=1e-6, atol=1e-8
    )
    return time, states[-1]


@pytest.mark.slow
def test_an_inner_solve_in_an_event_function_gives_the_answers_of_torch(tmp_path, captured_once):
    x, s = torch.tensor([1.0, 1.5], dtype=torch.float64), torch.tensor([0.0, 0.3], dtype=torch.float64)
    for form in ("adaptive", "driven"):
        exported = export(bouncing, (x, s), tmp_path / form, form=form, samples=1)
        assert exported.parity.card()["same_steps"]
        ready = odelet.load(tmp_path / form)
        time, _ = ready(1.2 * x.numpy(), s.numpy())
        np.testing.assert_allclose(time, bouncing(1.2 * x, s)[0].numpy(), atol=1e-7)
        assert ready.solve(x.numpy(), s.numpy()[::-1] * [0.0, 1.0]).status is odelet.Status.NOT_FINITE


@pytest.mark.slow
def test_overrides_apply_to_inner_solves_too(tmp_path):
    model = Inner({"method": "rk4"}, {"method": "dopri5"})
    x = normal(3, 2)
    tight = export(model, (x, TIMES), tmp_path / "tight", rtol=1e-10, atol=1e-12, samples=1)
    assert "rtol 1e-10, atol 1e-12" in tight.card.solves[0].nested[0]
    euler = export(model, (x, TIMES), tmp_path / "euler", method="euler", steps=3, samples=1)
    assert euler.card.solves[0].nested[0].startswith("euler, unrolled, ")
    ours = [odelet.load(tmp_path / name)(x.numpy(), TIMES.numpy()) for name in ("tight", "euler")]
    assert np.abs(ours[0] - ours[1]).max() > 1e-4


@pytest.mark.slow
def test_per_sample_and_scipy_are_refused_for_inner_solves(tmp_path):
    x = normal(3, 2)
    with pytest.raises(CaptureError, match="leave per_sample out"):
        export(Inner(ADAPTIVE, ADAPTIVE), (x, TIMES), tmp_path / "out", per_sample=True, dynamic=DYNAMIC)
    scipy = Inner(ADAPTIVE, {"method": "scipy_solver", "options": {"solver": "RK45"}})
    with pytest.raises(FormError, match="lies inside the field of another"):
        export(scipy, (x, TIMES), tmp_path / "out", dynamic=DYNAMIC)
