"""Calibration finds steps for each embedded pair, and refuses data and settings that do not fit."""

import numpy as np
import pytest
import torch
from support.lowering import Case, inputs
from support.models_bounded import BATCH, DYNAMIC, Fields, Single, fields
from support.rosters import ADAPTIVE
from torchdiffeq import odeint

from odelet.errors import InputError
from odelet_export import export
from odelet_export.calibration.calibrator import Calibrator
from odelet_export.calibration.settings import Calibration
from odelet_export.errors import FormError
from odelet_export.lowering.lift import lift
from odelet_export.model.overrides import Overrides
from odelet_export.pipeline.prepare import name_axes
from odelet_export.proof.judge import Judge


def calibrated(case, data, **changes):
    """The calibration of a captured model: its steps, and how exact they are (`trust`)."""
    captured, callee = case.captured()
    judge = Judge(callee, captured.specs, Overrides(method=case.method, rtol=case.rtol, atol=case.atol), ["float64"])
    dynamic = {"x": {0: "batch"}, "t": {0: "times"}}
    name_axes(captured, callee, dynamic)
    settings_ = Calibration(inputs=data, **changes)
    return Calibrator(
        captured, lift(captured), judge, dynamic, settings_, times={"t"}, max_steps=1000, opset=case.opset
    ).run()


@pytest.mark.parametrize("method", ADAPTIVE)
def test_steps_are_found_for_every_embedded_pair(method):
    """All error ratios are at most 1. With fewer than 4 steps, errors are at most torchdiffeq's, or the tolerance."""
    case = Case(method=method, form="bounded", rtol=1e-3, atol=1e-3, pair=method == "bosh3")
    calibration = calibrated(case, {"x": inputs("float64", 30), "t": np.array([0.0, 0.5, 1.0])})
    (solve,) = calibration.trust.solves
    one = solve.sets["calibration"]
    assert one.ratios.max() <= 1
    assert one.errors.max() <= max(1, one.torch.max()) or len(solve.positions) > 4
    assert not calibration.trust.problems
    assert len(calibration.good) == 3


def test_each_calibration_call_may_have_its_own_times():
    """Arrays have one axis more than their inputs: each call has its own batch and its own output times."""
    t = np.array([[0.0, 0.5, 1.0], [0.0, 1.0, 2.0], [1.0, 0.3, -0.5]])
    x = np.stack([inputs("float64", 7, seed=i) for i in range(3)])
    calibration = calibrated(Case(method="dopri5", form="bounded", rtol=1e-3, atol=1e-3), {"x": x, "t": t})
    (solve,) = calibration.trust.solves
    assert len(solve.sets["calibration"].ratios) == 17
    assert len(solve.sets["held back"].ratios) == 4
    assert solve.sets["calibration"].ratios.max() <= 1


def test_a_lower_quantile_takes_no_more_steps():
    x = inputs("float64", 50)
    x[:5] *= 30
    case, t = Case(method="dopri5", form="bounded", rtol=1e-4, atol=1e-4), np.array([0.0, 1.0])
    steps = {}
    for quantile in (1.0, 0.8):
        calibration = calibrated(case, {"x": x, "t": t}, quantile=quantile)
        one = calibration.trust.solves[0].sets["calibration"]
        assert np.mean(one.fine) >= quantile
        steps[quantile] = len(calibration.trust.solves[0].positions)
    assert steps[0.8] <= steps[1.0]


class TestRefusals:
    """A refusal names the argument and the fix, and comes before anything is traced."""

    GOOD = fields(8, 0)
    BAD = {
        "empty": ({**GOOD, "y0": np.zeros((0, 3))}, r"calibration 'y0' is empty: .*give at least one sample"),
        "nan": ({**GOOD, "w": GOOD["w"] * np.nan}, r"calibration 'w' holds nan at \[0, 0, 0\]; leave out"),
        "shape": ({**GOOD, "y0": np.zeros((8, 4))}, r"calibration 'y0' has shape \[8, 4\]; expected \[batch, 3\]"),
        "rank": ({**GOOD, "y0": np.zeros(8)}, r"calibration 'y0' has shape \[8\]; expected \[batch, 3\]"),
        "dtype": ({**GOOD, "y0": np.zeros((8, 3), "float32")}, r"'y0' has dtype float32; expected float64: .*astype"),
        "unknown": ({**GOOD, "z": GOOD["y0"]}, r"calibration names input 'z'; the model's inputs are y0, w, c"),
        "missing": ({"y0": GOOD["y0"]}, r"calibration lacks input 'w'; the model's inputs are y0, w, c"),
        "sizes": ({**GOOD, "c": GOOD["c"][:5]}, r"calibration 'c' has 5 along its axis 'batch', and 'y0' has 8"),
        "kind": ([GOOD["y0"]], r"calibration is a list; give a dict of arrays by input name"),
        "calls": (
            {**GOOD, "y0": np.zeros((2, 8, 3)), "w": np.zeros((3, 8, 3, 3))},
            r"not the same number of samples for each input: 2 of y0, 3 of w",
        ),
    }

    def refused(self, tmp_path, error, match, model=None, **changes):
        example = tuple(torch.from_numpy(x) for x in fields(4, 0).values())
        with pytest.raises(error, match=match):
            export(
                model or Fields(),
                changes.pop("example", example),
                tmp_path / "out",
                dynamic=changes.pop("dynamic", DYNAMIC),
                **{"form": "bounded", "calibration": self.GOOD, **changes},
            )
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("what", BAD)
    def test_data_that_do_not_fit_are_refused(self, what, tmp_path):
        data, match = self.BAD[what]
        self.refused(tmp_path, InputError, match, calibration=data)

    @pytest.mark.parametrize("quantile", [0, -1, 1.1, float("nan"), "0.9", True])
    def test_a_quantile_outside_0_to_1_is_refused(self, quantile, tmp_path):
        self.refused(tmp_path, InputError, r"quantile=.* must be above 0 and at most 1", quantile=quantile)

    def test_missing_data_are_refused(self, tmp_path):
        self.refused(tmp_path, FormError, r"give calibration=.*--calibration FILE\.npz", calibration=None)

    @pytest.mark.parametrize("name", ["calibration", "quantile", "fallback"])
    def test_settings_of_bounded_are_refused_for_other_forms(self, name, tmp_path):
        settings_of_bounded = {"calibration": None} | {
            name: {"calibration": self.GOOD, "quantile": 0.5, "fallback": True}[name]
        }
        self.refused(
            tmp_path,
            FormError,
            rf"{name} is for the form bounded, and form='adaptive'",
            form="adaptive",
            **settings_of_bounded,
        )

    def test_per_sample_is_refused(self, tmp_path):
        self.refused(tmp_path, FormError, "per_sample gives each sample its own steps", per_sample=True)

    def test_a_method_without_an_error_estimate_is_refused(self, tmp_path):
        match = r"no solve of this model can be bounded: .*rk4 has no error estimate"
        self.refused(tmp_path, FormError, match, method="rk4", steps=4)

    def test_fallback_is_refused_where_samples_change_each_other(self, tmp_path):
        class Mixing(Single):
            def forward(self, x):
                t = torch.tensor([0.0, 1.0], dtype=x.dtype)
                return torch.softmax(odeint(lambda t, y: torch.cos(y), x, t, rtol=1e-3, atol=1e-3)[-1], dim=0)

        x = np.random.default_rng(0).normal(size=(8, 2))
        self.refused(
            tmp_path,
            FormError,
            "the samples of a batch change each other's outputs; leave fallback out",
            Mixing(),
            example=(torch.from_numpy(x),),
            dynamic={"x": BATCH},
            calibration={"x": x},
            fallback=True,
        )
