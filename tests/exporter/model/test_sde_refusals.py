"""What cannot be exported of SDEs is refused, by messages that name the user's line, the reason and the way out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

pytest.importorskip("torchsde")

import torchsde
from support.sde_lowering import traced_sde

import odelet
from odelet.errors import InputError
from odelet_export import CaptureError, FormError, export, mark
from odelet_export.graphs.scope import Scope
from odelet_export.lowering.choose import choose
from odelet_export.lowering.forms.site import Site
from odelet_export.lowering.lift import lift
from odelet_export.model.overrides import Overrides
from odelet_export.model.spec import check_overrides

TIMES = torch.linspace(0, 1, 3)
X = torch.ones(2, 3)


class Sde(nn.Module):
    def __init__(self, noise="diagonal", calculus="ito"):
        super().__init__()
        self.noise_type, self.sde_type = noise, calculus
        self.lin = nn.Linear(3, 3)

    def f(self, t, y):
        return torch.tanh(self.lin(y)) * torch.cos(t)

    def g(self, t, y):
        return 0.1 * y if self.noise_type == "diagonal" else torch.stack([0.1 * y, torch.ones_like(y)], -1)


SDE, GENERAL = Sde(), Sde("general", "stratonovich")


def refused(model, tmp_path, *args, error=CaptureError, **settings):
    """The message with which the export of a model is refused; nothing is left of it."""
    with pytest.raises(error) as raised:
        export(model, args or (X,), tmp_path / "out", dynamic={"x": {0: "batch"}}, **settings)
    assert not any(tmp_path.iterdir())
    message = str(raised.value)
    assert "test_sde_refusals.py" in message
    return message


def interval(x, **given):
    return torchsde.BrownianInterval(0.0, 1.0, size=(len(x), 3), levy_area_approximation="space-time", **given)


OUTSIDE = interval(X)
WAY_OUT = "leave bm out, or pass torchsde.BrownianInterval(t0=ts[0], t1=ts[-1], size=(batch, channels), ...) in forward"
MOTIONS = {
    "entropy": (lambda x: interval(x, entropy=3), "bm is a BrownianInterval with entropy given, so that its path is"),
    "W": (lambda x: interval(x, W=torch.zeros_like(x)), "bm is a BrownianInterval with W given"),
    "W and H": (
        lambda x: interval(x, W=torch.zeros_like(x), H=torch.zeros_like(x)),
        "bm is a BrownianInterval with W and H given",
    ),
    "made outside": (lambda x: OUTSIDE, "bm is a BrownianInterval that was not made in this call of the model"),
    "ends early": (
        lambda x: torchsde.BrownianInterval(0.0, 0.5, size=(2, 3), levy_area_approximation="space-time"),
        "bm is a BrownianInterval that ends at the time 0.5, before the last time 1, and torchsde solves the rest "
        "without noise",
    ),
}


@pytest.mark.parametrize(("motion", "words"), MOTIONS.values(), ids=MOTIONS)
def test_a_brownian_motion_whose_path_an_artifact_cannot_draw(motion, words, tmp_path):
    message = refused(lambda x: torchsde.sdeint(SDE, x, TIMES, dt=0.1, bm=motion(x)), tmp_path)
    assert words in message
    assert WAY_OUT in message


def test_a_brownian_path_that_ends_before_the_last_time(tmp_path):
    def model(x):
        bm = torchsde.BrownianPath(0.0, torch.zeros_like(x))
        return torchsde.sdeint(SDE, x, [0.0, 2.0], dt=0.1, method="euler", bm=bm)

    message = refused(model, tmp_path)
    assert "bm is a BrownianPath that ends at the time 1, before the last time 2" in message
    assert WAY_OUT in message


def test_a_model_that_reads_its_brownian_motion_itself(tmp_path):
    message = refused(lambda x: x + interval(x)(0.0, 0.5), tmp_path)
    assert "the model reads its Brownian motion itself, outside of sdeint; draw the increments" in message


def test_extra_asks_for_what_the_solver_remembers(tmp_path):
    def model(x):
        return torchsde.sdeint(GENERAL, x, TIMES, dt=0.1, method="reversible_heun", extra=True)[0]

    assert "extra=True asks for what the solver remembers at the end" in refused(model, tmp_path)


SETTINGS = {
    "dt zero": ({"dt": 0.0}, "dt=0.0 must be a positive number"),
    "dt negative": ({"dt": -0.1}, "dt=-0.1 must be a positive number"),
    "dt not a number": ({"dt": float("nan")}, "dt=nan must be a positive number"),
    "dt too small": ({"dt": 1e-9}, "dt=1e-09 must be positive, and not too small for times from 0 to 1"),
    "dt of another dtype": (
        {"dt": torch.tensor(0.1, dtype=torch.float64)},
        "dt is a tensor of torch.float64 and the times are torch.float32",
    ),
    "rtol": ({"dt": 0.1, "adaptive": True, "rtol": -1.0}, "rtol=-1.0 must be a positive number"),
}


@pytest.mark.parametrize(("settings", "words"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_cannot_be(settings, words, tmp_path):
    message = refused(lambda x: torchsde.sdeint(SDE, x, TIMES, **settings), tmp_path)
    assert words in message
    assert "in <lambda>" not in message


# What torchsde itself refuses: its own words come through, with the user's line.
THEIRS = {
    "milstein with general noise": (GENERAL, {"method": "milstein"}, "solver only supports noise types"),
    "a method of the other calculus": (SDE, {"method": "heun"}, "SDE is of type ito but solver is for type"),
    "unknown": (SDE, {"method": "nope"}, "but found nope"),
    "times backwards": (SDE, {"ts": [1.0, 0.0]}, "must be strictly increasing"),
    "a state without a batch": (SDE, {"y0": X[0]}, "must be a 2-dimensional tensor"),
    "a state of three axes": (SDE, {"y0": X[None]}, "must be a 2-dimensional tensor"),
    "a path without an area": (
        SDE,
        {"method": "srk", "bm": "path"},
        "requires one of ('space-time', 'davie', 'foster') set as the `levy_area_approximation`",
    ),
}


@pytest.mark.parametrize(("sde", "settings", "words"), THEIRS.values(), ids=THEIRS)
def test_what_torchsde_refuses_is_refused_in_its_words(sde, settings, words, tmp_path):
    def model(x):
        given = {"y0": x, "ts": TIMES, "dt": 0.1, **settings}
        if given.get("bm") == "path":
            given["bm"] = torchsde.BrownianPath(0.0, torch.zeros_like(x))
        return torchsde.sdeint(sde, **given)  # HERE

    message = refused(model, tmp_path, error=InputError)
    assert "the model fails on its example" in message
    assert words in message


def with_drift(f):
    sde = Sde()
    sde.f = f
    return lambda x: torchsde.sdeint(sde, x, TIMES, dt=0.5)


NESTED = {
    "an SDE in a field": lambda x: odeint(
        lambda t, y: torchsde.sdeint(SDE, y, TIMES, dt=0.5)[-1], x, TIMES, method="euler"
    ),
    "an SDE in an SDE": with_drift(lambda t, y: torchsde.sdeint(SDE, y, TIMES, dt=0.5)[-1]),
    "an SDE in mark": lambda x: mark(lambda y: 0.1 * torchsde.sdeint(SDE, y, TIMES, dt=0.5)[-1], x),
    "an ODE in an SDE": with_drift(lambda t, y: odeint(lambda t, z: -z, y, TIMES, method="euler")[-1]),
    "mark in an SDE": with_drift(lambda t, y: mark(lambda z: 0.1 * torch.tanh(z) + y, y)),
}


@pytest.mark.parametrize("model", NESTED.values(), ids=NESTED)
def test_solves_inside_solves(model, tmp_path):
    message = refused(model, tmp_path)
    assert "inside a function of" in message
    assert "cannot be exported; solve one before the other" in message


def test_an_sde_under_vmap_or_with_noise_in_its_drift(tmp_path):
    def mapped(x):
        return torch.func.vmap(lambda row: torchsde.sdeint(SDE, row[None], TIMES, dt=0.5)[-1])(x)

    assert "random numbers drawn under torch.vmap" in refused(mapped, tmp_path)
    noisy = with_drift(lambda t, y: torch.randn_like(y))
    assert "random numbers drawn anew in each evaluation of the field" in refused(noisy, tmp_path)


def test_times_that_change_with_the_inputs(tmp_path):
    message = refused(lambda x, ts: torchsde.sdeint(SDE, x, ts, dt=0.1), tmp_path, X, TIMES)
    assert "the times of the SDE change with the inputs, and with them the number of steps" in message
    for way_out in ("make them constants", "(--freeze)", "(--steps)"):
        assert way_out in message


def test_dt_that_changes_with_the_inputs(tmp_path):
    message = refused(lambda x: torchsde.sdeint(SDE, x, TIMES, dt=0.1 + x.abs().max()), tmp_path)
    assert "float() of a value that depends on x" in message
    assert "--freeze" in message


def fixed():
    return traced_sde("ito_euler", "diagonal", "float64", (0.0, 1.0), (("dt", 0.1),))


def adaptive():
    return traced_sde("ito_srid2", "diagonal", "float64", (0.0, 1.0), (("adaptive", True), ("dt", 0.1)))


@pytest.mark.parametrize("captured", [fixed, adaptive])
@pytest.mark.parametrize(
    "override", [{"method": "rk4"}, {"rtol": 1e-3}, {"atol": 1e-3}, {"controller": "pi"}, {"per_sample": True}]
)
def test_overrides_that_are_for_odes(captured, override):
    (name,) = override
    with pytest.raises(FormError) as raised:
        check_overrides(captured().specs, Overrides(**override))
    assert str(raised.value).startswith(f"{name} is for solves of ODEs, but solve 0 (sde_lowering.py:")
    assert "change it in the call of torchsde, or leave it out (steps and step_size apply to SDEs too)" in str(
        raised.value
    )


@pytest.mark.parametrize("override", [{"steps": 4}, {"step_size": 0.1}])
def test_overrides_of_fixed_steps(override):
    check_overrides(fixed().specs, Overrides(**override))
    option = "--" + next(iter(override)).replace("_", "-")
    with pytest.raises(FormError, match=f"{option} is for fixed steps, but solve 0 .* has adaptive=True; leave one of"):
        check_overrides(adaptive().specs, Overrides(**override))


def test_per_sample_beside_an_adaptive_sde(tmp_path):
    def model(x):
        y = odeint(lambda t, y: -y, x, TIMES)[-1]
        return torchsde.sdeint(SDE, y, TIMES, dt=0.1, adaptive=True)

    message = refused(model, tmp_path, per_sample=True)
    assert "adaptive=True measures the error of the whole batch, as torchsde does; leave per_sample out" in message


@pytest.mark.parametrize("form", ["unrolled", "rolled", "bounded", "adaptive", "plain"])
def test_adaptive_steps_are_driven_alone(form):
    sites = sites_of(adaptive())
    with pytest.raises(FormError) as raised:
        choose(sites, form)
    message = str(raised.value)
    assert f"no solve of this model can be {form}" in message
    assert "it can be driven; or leave adaptive=True out of the model" in message
    assert "--method" not in message
    assert [choice.form.name for choice in choose(sites, "auto")] == ["driven"]


@pytest.mark.parametrize(("form", "words"), [("adaptive", "has no error estimate"), ("bounded", ""), ("plain", "")])
def test_forms_that_a_fixed_step_sde_cannot_have(form, words):
    sites = sites_of(fixed())
    with pytest.raises(FormError) as raised:
        choose(sites, form)
    assert words in str(raised.value)
    assert str(raised.value).endswith("it can be unrolled or rolled or loop_free or driven")


def sites_of(captured):
    copied = replace(captured, model=captured.model.clone())
    return [Site.of(hole, Scope.of(copied.model.graph), 100, {}) for hole in lift(copied)]


def test_a_bounded_export_of_an_sde(tmp_path):
    rows = {"x": np.ones((4, 2, 3), np.float32)}
    with pytest.raises(FormError, match="no solve of this model can be bounded: .*: ito_euler has no error estimate"):
        export(
            lambda x: torchsde.sdeint(SDE, x, TIMES, dt=0.5, method="euler"),
            (X,),
            tmp_path / "out",
            form="bounded",
            calibration=rows,
        )


@pytest.mark.parametrize("second", [{"dt": 0.125}, {"adaptive": True}, {"ts": torch.linspace(0.5, 2.0, 3)}])
def test_one_motion_for_two_solves_with_other_steps_is_refused(second, tmp_path):
    def model(x):
        bm = torchsde.BrownianInterval(0.0, 2.0, size=(len(x), 3))
        given = {"ts": TIMES, "dt": 0.25, "method": "euler", "bm": bm}
        first = torchsde.sdeint(SDE, x, **given)
        return first[-1] - torchsde.sdeint(SDE, x, **(given | second))[-1]

    message = refused(model, tmp_path)
    assert "the solve shares its bm with another solve that takes other steps over the same times" in message
    assert "give both the same times and dt" in message


def test_one_motion_for_two_solves_has_one_noise(tmp_path):
    def model(x):
        bm = torchsde.BrownianInterval(0.0, 2.0, size=(len(x), 3))
        given = {"dt": 0.25, "method": "euler", "bm": bm}
        first, again = (torchsde.sdeint(SDE, x, TIMES, **given)[-1] for _ in range(2))
        return first - again, torchsde.sdeint(SDE, x, TIMES + 1.0, **given)[-1]

    exported = export(model, (X,), tmp_path / "out", dynamic={"x": {0: "batch"}})
    assert [one.name for one in exported.card.noise] == ["noise_0", "noise_1"]
    difference, _ = odelet.load(tmp_path / "out")(np.ones((50, 3), np.float32), seed=1)
    assert (difference == 0).all()
