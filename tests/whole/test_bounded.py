"""The form bounded from end to end: calibration, error ratios as a guard, the fallback, and refusals."""

import json
import shutil

import numpy as np
import onnxruntime as ort
import pytest
import torch
from support.artifacts import edit_card
from support.models_bounded import BATCH, DYNAMIC, WIDTH, Fields, Single, fields
from torch import nn
from torchdiffeq import odeint

import odelet
from odelet.artifact.card import Card
from odelet.commands.verify import verify
from odelet.errors import SolveError
from odelet.status import Status
from odelet_export import export


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """An artifact with a fallback."""
    out = tmp_path_factory.mktemp("guarded") / "out"
    example = tuple(torch.from_numpy(x) for x in fields(4, 0).values())
    export(Fields(), example, out, form="bounded", calibration=fields(80, 1), fallback=True, dynamic=DYNAMIC, samples=2)
    return out


@pytest.fixture(scope="module")
def plain(guarded, tmp_path_factory):
    """The same artifact without its fallback."""
    out = tmp_path_factory.mktemp("plain") / "out"
    shutil.copytree(guarded, out)
    edit_card(out, lambda card: card.pop("fallback"))
    return out


def solved(arrays, tolerance=1e-11):
    """The solutions of `Fields`, by an adaptive solve of each sample on its own."""

    def field(t, y):
        return np.tanh(np.einsum("bij,bj->bi", arrays["w"], y)) + np.sin(arrays["c"] * t)

    y0 = arrays["y0"].astype(np.float64)
    return odelet.odeint(field, y0, [0.0, 0.7, 2.0], rtol=tolerance, atol=tolerance, per_sample=True).outputs["y"]


def over(y, reference, tolerance=1e-4):
    """The distance of two solutions over the tolerance, the largest over all times, for each sample: (samples,)."""
    scaled = (y - reference) / (tolerance + tolerance * np.maximum(np.abs(y), np.abs(reference)))
    return np.sqrt((scaled**2).mean(axis=2)).max(axis=0)


class TestGuard:
    def test_the_calibration_samples_are_within_the_tolerance(self, plain):
        arrays = fields(80, 1)
        solution = odelet.load(plain).solve(**arrays)
        (stats,) = solution.stats.solves
        calibrated = [i for i in range(80) if i % 5 != 4]
        assert max(stats.error_ratio[i] for i in calibrated) <= 1
        assert stats.steps == stats.accepted > 1
        assert stats.evaluations == 1 + 6 * stats.steps

    def test_samples_above_the_tolerance_are_reported_and_raised(self, plain):
        model = odelet.load(plain)
        good, bad = fields(80, 1), fields(3, 2, strength=8)
        mixed = {name: np.concatenate([good[name][:2], bad[name]]) for name in good}
        solution = model.solve(**mixed)
        (stats,) = solution.stats.solves
        assert solution.status is stats.status is Status.OUT_OF_TOLERANCE
        assert set(stats.guarded) <= {2, 3, 4}
        assert stats.guarded
        assert solution.outputs["output"].shape == (3, 5, WIDTH)
        with pytest.raises(SolveError, match=r"not to be trusted for \d of 5 samples, the first .* \(error_ratio"):
            model(**mixed)
        assert stats.to_dict()["error_ratio"] == list(stats.error_ratio)

    def test_nan_in_one_sample_does_not_change_the_others(self, plain):
        arrays = fields(80, 1)
        arrays = {name: x[:3].copy() for name, x in arrays.items()}
        expected = odelet.load(plain).solve(**arrays)
        arrays["y0"][1, 0] = np.nan
        solution = odelet.load(plain).solve(**arrays)
        assert solution.status is Status.NOT_FINITE
        assert solution.stats.solves[0].guarded == (1,)
        assert solution.stats.solves[0].to_dict()["error_ratio"][1] is None
        for i in (0, 2):
            assert np.array_equal(solution.outputs["output"][:, i], expected.outputs["output"][:, i])

    def test_the_graph_alone_returns_error_ratios(self, plain):
        session = ort.InferenceSession(plain / "model.onnx", providers=["CPUExecutionProvider"])
        arrays = fields(3, 2, strength=8)
        arrays["y0"][0] = np.nan
        (ratios,) = session.run(["solve_0.error_ratio"], arrays)
        assert ratios.shape == (3,)
        assert ratios[0] == np.inf

    def test_errors_are_within_ten_tolerances_where_error_ratios_are_at_most_1(self, plain):
        """Fields and ranges are those of the calibration and others. The error ratio estimates the error of single
        steps, not how the field amplifies it; for fields that amplify errors, the standard is dopri5 itself."""
        model, rows = odelet.load(plain), []

        generator = np.random.default_rng(0)
        for seed in range(120):
            scale, strength = generator.uniform(0.1, 6, 2)
            arrays = fields(8, seed, scale=scale, strength=strength)
            solution = model.solve(**arrays)
            reference, dopri5_answers = solved(arrays), solved(arrays, 1e-4)
            errors = [over(y, reference) for y in (solution.outputs["output"], dopri5_answers)]
            rows.extend(zip(solution.stats.solves[0].error_ratio, *errors, strict=True))

        ratios, errors, errors_of_dopri5 = np.array(rows).T
        fine = ratios <= 1
        assert fine.sum() > 450
        # The draws are fixed: Hypothesis takes numbers from the sources, and would move the shares. Over 240 draws,
        # 2.7 % of the answers, and 14 % of dopri5's own, are further off; the second share is 0.2 %.
        assert np.mean(errors[fine] > 10) <= 0.03 < np.mean(errors_of_dopri5[fine] > 10)
        assert np.mean((errors > 10 * np.maximum(errors_of_dopri5, 1))[fine]) <= 0.01
        # Most answers with error ratios above 1 are indeed outside the tolerance.
        assert np.mean(errors[~fine] > 1) > 0.9


class TestFallback:
    def test_exactly_the_rows_above_the_tolerance_are_solved_again_by_the_driver(self, guarded, plain):
        good, bad = fields(80, 1), fields(3, 2, strength=8)
        order = [0, 1, 2, 3, 4]
        arrays = {name: np.concatenate([bad[name], good[name][:2]])[order] for name in good}
        straight = odelet.load(plain).solve(**arrays)
        model = odelet.load(guarded)
        solution = model.solve(**arrays)
        (stats,) = solution.stats.solves
        bad_rows = straight.stats.solves[0].guarded
        assert solution.status is Status.OK
        assert stats.resolved == bad_rows
        assert stats.error_ratio == straight.stats.solves[0].error_ratio
        assert stats.evaluations > straight.stats.evaluations
        for i in range(5):
            same = np.array_equal(solution.outputs["output"][:, i], straight.outputs["output"][:, i])
            assert same == (i not in bad_rows)
        driven = solved(arrays, 1e-4)[:, list(bad_rows)]
        assert np.abs(solution.outputs["output"][:, list(bad_rows)] - driven).max() < 1e-9
        assert np.array_equal(model(**arrays), solution.outputs["output"])
        alone = model({name: x[:1] for name, x in arrays.items()}["y0"], *(arrays[n][:1] for n in ("w", "c")))
        assert np.array_equal(alone[:, 0], solution.outputs["output"][:, 0])

    def test_the_inputs_are_not_changed(self, guarded):
        arrays = fields(3, 2, strength=8)
        before = {name: x.copy() for name, x in arrays.items()}
        odelet.load(guarded)(**arrays)
        assert all(np.array_equal(arrays[name], before[name]) for name in arrays)

    def test_a_sample_that_fails_again_is_a_failure(self, guarded):
        arrays = fields(3, 1)
        arrays["y0"][1, 0] = np.nan
        solution = odelet.load(guarded).solve(**arrays)
        assert solution.status is Status.NOT_FINITE
        assert solution.stats.solves[0].resolved == ()
        with pytest.raises(SolveError, match="became infinite or NaN"):
            odelet.load(guarded)(**arrays)

    def test_the_fallback_obeys_a_tighter_tolerance_of_the_call(self, guarded):
        arrays = {name: x[:4] for name, x in fields(80, 1).items()}
        solution = odelet.load(guarded).solve(rtol=1e-9, atol=1e-9, **arrays)
        assert solution.stats.solves[0].resolved == (0, 1, 2, 3)
        assert over(solution.outputs["output"], solved(arrays), 1e-9).max() < 20

    def test_the_artifact_verifies_and_its_card_reads_back(self, guarded):
        assert verify(guarded).passed
        text = (guarded / "odelet.json").read_text()
        card = Card.from_json(text)
        assert card.fallback.axis == "batch"
        assert json.loads(card.to_json()) == json.loads(text)
        assert "each sample (batch) by itself is solved again" in card.summary()

    def test_a_single_graph_of_the_artifact_cannot_be_loaded(self, guarded):
        with pytest.raises(odelet.ArtifactError, match="one of several graphs"):
            odelet.load(guarded / "model.onnx")

    def test_the_report_has_the_calibration_and_the_parity_of_the_fallback(self, guarded):
        report = json.loads((guarded / "parity.json").read_text())
        assert report["passed"]
        assert report["fallback"]["passed"]
        assert report["fallback"]["same_steps"]
        (solve,) = report["calibration"]["solves"]
        assert [solve["sets"][name]["samples"] for name in ("calibration", "held back", "shifted")] == [64, 16, 16]
        assert solve["sets"]["calibration"]["error_ratio"]["largest"] <= 1
        assert solve["sets"]["calibration"]["guarded"] == 0
        assert solve["positions"][0] == 0
        text = (guarded / "parity.md").read_text()
        for line in ("# Calibration", "held back, 16", "shifted, 16", "said to be fine", "# The fallback: parity"):
            assert line in text


class Two(nn.Module):
    """Two adaptive solves and an Euler solve, each from where the last ended."""

    rtol = 1e-4

    def forward(self, x):
        t = torch.tensor([0.0, 1.0], dtype=x.dtype)
        how = {"rtol": self.rtol, "atol": 1e-5}
        first = odeint(lambda t, y: torch.cos(y) * 2, x, t, **how)[-1]
        a, b = odeint(lambda t, s: (-s[0] * s[1], torch.sin(3 * s[0])), (first, x), t, **how)
        return odeint(lambda t, y: -y, a[-1] + b[-1], t, method="euler", options={"step_size": 0.25})[-1]


def test_several_bounded_solves_and_an_unrolled_one_share_a_graph(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    out = tmp_path / "out"
    export(
        Two(),
        (torch.from_numpy(x[:3]),),
        out,
        form="bounded",
        calibration={"x": x},
        dynamic={"x": BATCH},
        fallback=True,
        samples=2,
    )
    model = odelet.load(out)
    assert [solve.form for solve in model.card.solves] == ["bounded", "bounded", "unrolled"]
    far = x[:5].copy()
    far[3] *= 40
    solution = model.solve(far)
    assert solution.status is Status.OK
    assert [solve.resolved for solve in solution.stats.solves[:2]] == [(3,), (3,)]
    assert [len(solve.error_ratio) for solve in solution.stats.solves[:2]] == [5, 5]
    exact = Two()
    exact.rtol = 1e-9
    with torch.no_grad():
        errors = np.abs(solution.outputs["output"] - exact(torch.from_numpy(far).double()).numpy())
    assert errors.max() < 10 * 1e-4 * np.abs(far).max()


def test_a_state_without_samples_has_one_error_ratio_and_is_solved_again_whole(tmp_path):
    data = np.random.default_rng(0).normal(size=(20, 2))
    example, out = (torch.from_numpy(data[0]),), tmp_path / "out"
    export(Single(), example, out, form="bounded", calibration={"y0": data}, fallback=True, samples=2)
    model = odelet.load(out)
    solution = model.solve(data[3])
    assert len(solution.stats.solves[0].error_ratio) == 1
    assert solution.stats.solves[0].resolved == ()
    assert model.card.fallback.axis is None
    far = model.solve(np.array([0.0, 40.0]))
    assert far.stats.solves[0].resolved == (0,)
    assert far.status is Status.OK
