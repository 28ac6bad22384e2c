"""An export says which of three verdicts it reached: agrees, agrees as far as torch does with itself, or differs."""

import json

import pytest
import torch
from torchdiffeq import odeint

import odelet
from odelet.artifact.samples import OutputCheck
from odelet_export import export
from odelet_export.commands.screen import _parity
from odelet_export.proof.report import Report, SampleCheck
from odelet_export.proof.report_text import to_markdown
from odelet_export.proof.rough import Cause, Rough, SecondProof
from odelet_export.proof.verdict import Verdict

TIMES = torch.tensor([0.0, 1.0])


def report(error, *, allowed=0.5, base=1e-3, **more):
    check = OutputCheck(0, "y", error <= allowed, error, error / 2, allowed)
    return Report(1e-4, 1e-6, False, [SampleCheck({"x": [2]}, [check], [], base=[base], scales=[2.0])], **more)


ROUGH = Rough(0, "y", 0.25, 0.05, [Cause("the field jumps", "give jump_t")], SecondProof(max_rel=1e-10))


@pytest.mark.parametrize(
    ("error", "verdict"), [(1e-4, Verdict.AGREES), (0.1, Verdict.AS_TORCH), (0.6, Verdict.DIFFERS)]
)
def test_the_verdict_is_one_of_three_in_the_report_and_in_the_card(error, verdict):
    one = report(error)
    assert one.verdict is verdict
    assert one.card()["verdict"] == str(verdict)
    assert json.loads(one.to_json())["checks"][0]["verdict"] == str(verdict)
    assert (verdict is Verdict.DIFFERS) == (not one.passed)


def test_the_screen_says_where_torch_agrees_only_roughly_with_itself():
    assert _parity(report(1e-4)).startswith("passed: 1 samples")
    assert _parity(report(0.1)).startswith("passed, as far as torch agrees with itself: 1 samples")


def test_the_share_of_an_allowance_counts_only_what_rounding_adds():
    assert report(1e-4, allowed=0.5, base=0.5).roughness == 0
    assert report(1e-4, allowed=0.5, base=0.1).roughness == 0.25


def test_a_rough_agreement_has_its_reason_and_its_remedy_in_card_warnings_and_parity_md():
    one = report(0.1, rough=ROUGH)
    card = one.card()
    assert (card["allowance"], card["why"], card["advice"]) == (0.25, "the field jumps", "give jump_t")
    assert card["float64"] == "In float64 it takes torch's steps and differs from torch by at most 1e-10 (relative)."
    (warning,) = one.warnings
    assert "an error of 25% of the largest element passes (the artifact's is 5%), as the field jumps" in warning
    assert warning.endswith("To do: give jump_t")
    assert warning in to_markdown(one)


def test_a_difference_in_float64_is_a_failure():
    second = SecondProof(problems=["sample 0: the steps differ from torchdiffeq's"])
    one = report(0.1, rough=Rough(0, "y", 0.25, 0.05, ROUGH.causes, second))
    assert not one.passed
    assert one.problems == ["in float64, sample 0: the steps differ from torchdiffeq's"]


def test_samples_that_were_wanted_and_not_compared_are_a_warning():
    one = report(1e-4, wanted=3, left_out=["24 because torch raises ValueError"])
    assert one.warnings == [
        "0 of 3 fresh samples were compared with torch; left out: 24 because torch raises ValueError"
    ]


def lorenz(x):
    """A chaotic system: after 16 units of time, rounding in float32 has grown by a factor of a million."""

    def field(t, y):
        a, b, c = y.unbind(-1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)

    return odeint(field, x, torch.tensor([0.0, 16.0]).to(x), method="rk4", options={"step_size": 0.02})[-1]


@pytest.mark.slow
def test_a_chaotic_model_is_proved_again_in_float64(tmp_path):
    x = torch.tensor([[1.0, 1.0, 20.0], [-3.0, 2.0, 15.0]])
    exported = export(lorenz, (x,), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=1, form="rolled")
    assert exported.parity.verdict is Verdict.AS_TORCH
    parity = odelet.load(tmp_path / "out").card.parity
    assert parity["verdict"] == "agrees as far as torch agrees with itself"
    assert parity["allowance"] > 0.01
    assert "amplifies rounding" in parity["why"]
    assert parity["float64"].startswith("In float64 it takes torch's steps and differs from torch by at most")
    assert any("torch agrees with itself only roughly" in warning for warning in exported.warnings)
