"""Cards of SDEs: what they say is read again, and a card that does not go with its graphs is refused by name."""

import shutil

import numpy as np
import pytest

pytest.importorskip("torchsde")

from support.artifacts import edit_card
from support.sde_lowering import load_sde

import odelet
from odelet.artifact.card import Card
from odelet.errors import ArtifactError


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Two driven artifacts: of fixed steps with a memory, and of steps that follow an error estimate."""
    folder = tmp_path_factory.mktemp("sdes")
    fixed = load_sde(
        "stratonovich_reversible_heun", "general", "float64", "driven", folder / "fixed", times=(0.0, 0.3), dt=0.1
    )
    settings = {"dt": 0.1, "rtol": 1e-2, "atol": 1e-2, "adaptive": True}
    adaptive = load_sde("ito_srid2", "diagonal", "float64", "driven", folder / "adaptive", times=(0.0, 0.3), **settings)
    rolled = load_sde("ito_srid2", "scalar", "float64", "rolled", folder / "rolled", times=(0.0, 0.3), dt=0.1)
    return {"fixed": fixed, "adaptive": adaptive, "rolled": rolled}, folder


def test_a_card_is_read_as_it_was_written(artifacts):
    models, _ = artifacts
    for model in models.values():
        assert Card.from_json(model.card.to_json()) == model.card
    fixed, adaptive, rolled = (models[name].card.solves[0] for name in ("fixed", "adaptive", "rolled"))
    assert (fixed.brownian.noise, fixed.brownian.channels, len(fixed.brownian.memory)) == ("general", 3, 3)
    assert (adaptive.brownian.first_step, adaptive.brownian.least_step) == (0.1, 1e-5)
    assert [one.distribution for one in models["adaptive"].card.noise] == ["key"]
    assert (len(rolled.brownian.inputs), rolled.brownian.memory, rolled.steps) == (2, (), 3)
    assert str(rolled).startswith("0: ito_srid2, rolled, scalar noise in 1 channel, sde_lowering.py:")
    assert str(rolled).endswith("steps 3")


CARDS = {
    "unknown noise": ("fixed", {"noise": "strange"}, "noise of an SDE"),
    "another noise": ("fixed", {"noise": "diagonal"}, r"expected float64 \[\?, \?\]|the driver has"),
    "no channels": ("fixed", {"channels": 0}, "a Brownian motion has 0 channels; expected 1 or more"),
    "other channels": ("fixed", {"channels": 5}, r"'noise_0' is float64 \[.*3\]; expected float64 \[\?, \?, 5\]"),
    "no inputs": ("fixed", {"inputs": []}, "it names 0 noise inputs; stratonovich_reversible_heun has 1"),
    "another input": ("fixed", {"inputs": ["x"]}, r"'x' is float64 \[.*\]; expected float64 \[\?, \?, 3\]"),
    "no such input": ("fixed", {"inputs": ["nothing"]}, "it needs 'nothing', which is made by no earlier step"),
    "no memory": ("fixed", {"memory": []}, "it names 0 values of memory, not 3"),
    "no such memory": ("fixed", {"memory": ["a", "b", "c"]}, "it needs 'a', which is made by no earlier step"),
    "lengths of fixed steps": (
        "fixed",
        {"first_step": 0.1, "least_step": 0.1},
        "first_step and least_step go with an error",
    ),
    "no least length": (
        "adaptive",
        {"least_step": None},
        "first_step and least_step go with an error estimate, and only it",
    ),
    "a negative length": ("adaptive", {"least_step": -1.0}, "a length of steps is .*; expected above 0"),
    "normals as keys": ("adaptive", {"inputs": ["x"]}, r"'x' is float64 \[.*\]; expected int64 \[\?\]"),
    "memory that no step has": ("adaptive", {"memory": ["x"]}, "it names 1 values of memory, not 0"),
}


@pytest.mark.parametrize(("which", "changes", "message"), CARDS.values(), ids=CARDS)
def test_a_motion_that_does_not_go_with_its_solve(artifacts, tmp_path, which, changes, message):
    def change(card):
        card["solves"][0]["brownian"].update(changes)

    refuse(artifacts, tmp_path, which, change, message)


SOLVES = {
    "no motion": ("fixed", {"brownian": None}, "a method for SDEs goes with a Brownian motion, and only it"),
    "a method for ODEs": ("fixed", {"method": "rk4"}, "a method for SDEs goes with a Brownian motion, and only it"),
    "other noise": ("fixed", {"method": "ito_milstein"}, "ito_milstein does not solve general noise"),
    "other memory": ("fixed", {"method": "stratonovich_midpoint"}, "it names 3 values of memory, not 0"),
    "an unknown method": ("fixed", {"method": "ito_nothing"}, "method"),
    "no tolerance": ("adaptive", {"rtol": None}, "it has no rtol, which ito_srid2 reads"),
    "two tolerances": ("adaptive", {"atol": [0.1, 0.1]}, "atol has 2 numbers for 1 parts of the state"),
    "a negative tolerance": ("adaptive", {"rtol": -1.0}, "rtol is -1.0; expected 0 or more"),
}


@pytest.mark.parametrize(("which", "changes", "message"), SOLVES.values(), ids=SOLVES)
def test_a_solve_that_does_not_go_with_its_motion(artifacts, tmp_path, which, changes, message):
    refuse(artifacts, tmp_path, which, lambda card: card["solves"][0].update(changes), message)


DRIVES = {
    "no grid": ("fixed", {"grid": None}, "an SDE of fixed steps has a grid, or a number of steps, as its noise has"),
    "other steps": ("fixed", {"grid": None, "options": {"steps": 2}}, "takes 2 steps, and 'noise_0' has numbers for 3"),
    "no step": ("fixed", {"step": None}, "does not go with its drive entry"),
    "steps of two kinds": ("fixed", {"options": {"step_doubling": True}}, "first_step and least_step go with an error"),
    "an unknown option": (
        "adaptive",
        {"options": {"step_doubling": True, "safty": 1.0}},
        "options safty are not known",
    ),
    "a state of two parts": ("adaptive", {"y0": ["x", "x"], "solution": ["a", "b"]}, "an SDE has a state of one part"),
}


@pytest.mark.parametrize(("which", "changes", "message"), DRIVES.values(), ids=DRIVES)
def test_a_drive_entry_that_does_not_go_with_an_sde(artifacts, tmp_path, which, changes, message):
    refuse(artifacts, tmp_path, which, lambda card: card["solves"][0]["drive"].update(changes), message)


def refuse(artifacts, tmp_path, which, change, message):
    _, folder = artifacts
    shutil.copytree(folder / which, tmp_path / which)
    edit_card(tmp_path / which, change)
    with pytest.raises(ArtifactError, match=message):
        odelet.load(tmp_path / which)(np.ones((2, 4)), seed=0)


def test_noise_of_another_shape_is_refused(artifacts):
    models, _ = artifacts
    x = np.ones((2, 4))
    with pytest.raises(odelet.InputError, match="noise_0"):
        models["rolled"](x, noise_0=np.zeros((4, 2, 1)))
    with pytest.raises(odelet.InputError, match="noise_0"):
        models["adaptive"](x, noise_0=np.zeros((3,), np.int64))
