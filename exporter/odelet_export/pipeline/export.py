"""The function `export`: it runs capture, lift, replay, lower, check and parity, in this order, into one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn

from odelet.artifact.card import Card
from odelet_export.calibration.calibrated import Calibrated
from odelet_export.calibration.data import calls_of
from odelet_export.capture import progress
from odelet_export.lowering.lower import LoweredModel, lower
from odelet_export.lowering.profiles import PROFILES
from odelet_export.lowering.sample_axis import axis_of_samples
from odelet_export.model.given import check_out
from odelet_export.model.reference import evaluation_mode
from odelet_export.pipeline.calibrate import Calibrating
from odelet_export.pipeline.collecting import old_objects_left_out
from odelet_export.pipeline.describe import describe
from odelet_export.pipeline.explanation import Explanation
from odelet_export.pipeline.given_call import read_call
from odelet_export.pipeline.keywords import changed
from odelet_export.pipeline.prepare import Prepared, prepare
from odelet_export.pipeline.prove import Prover
from odelet_export.pipeline.reduce import check_reducible, reduced
from odelet_export.pipeline.settings import ExportChanges, ExportSettings
from odelet_export.proof.report import Report
from odelet_export.proof.torch_clock import TorchClock
from odelet_export.targets.build.hosts.fitting import check_fits
from odelet_export.targets.folder import staging
from odelet_export.targets.onnx_files import card_of, write_graphs
from odelet_export.targets.weights_file import kept_outside

# With calibration data there is one more stage, before `lower`: calibrate. Where weights are stored in fewer bits, the
# last stage is another one: reduce.
STAGES = ("look", "capture", "lift", "replay", "lower", "check", "parity")


@dataclass(frozen=True)
class Exported:
    """A finished export.

    path: the folder of the artifact. card: the contents of its odelet.json. parity: the report of the comparison with
    torch. explanation: the explanation of the captured model.

    >>> import tempfile, torch
    >>> from torchdiffeq import odeint
    >>> def decay(x):
    ...     return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export(decay, (torch.ones(2, 3),), folder + "/decay", steps=4, samples=1)
    >>> exported.path.name, exported.tracer, exported.card.solves[0].steps, exported.warnings
    ('decay', 'torch.export', 4, ())
    """

    path: Path
    card: Card
    parity: Report
    explanation: Explanation

    @property
    def tracer(self) -> str:
        """The name of the tracer of the model: "torch.export", or "make_fx" below autograd."""
        return self.explanation.tracer

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the model and the artifact, a sentence each."""
        return self.explanation.warnings


def export(
    model: Callable[..., Any],
    args: Sequence[Any] | torch.Tensor,
    out: str | os.PathLike[str],
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic: Any = None,
    on_stage: Callable[[str], None] | None = None,
    settings: ExportSettings | None = None,
    **changes: Unpack[ExportChanges],
) -> Exported:
    """Export a torch model that calls torchdiffeq to an artifact, and prove that the artifact gives torch's answers.

    model: a module, or any callable; it runs in evaluation mode and is left as it was. args, kwargs: an example call; a
    tensor in place of the tuple is one argument. Each tensor becomes an input, named as in the model's signature; a
    tensor in a dict or tuple has dots in its name (`batch.x`, `parts.0`). Other arguments become constants. out: the
    folder to make; an artifact there is replaced in one step, and where `out` is a link, it stays one.
    dynamic: the axes whose size may change, as in {"x": {0: "batch"}}, or by position, as torch takes them; all others
    keep the size of the example.
    on_stage: called with the name of each stage when it begins; where it has a method `progress`, that is called with a
    line now and then during a long capture, and while torch runs for the comparison. settings: see `ExportSettings`;
    changes: flat keywords that change some of them, such as method="rk4", steps=8.

    Raises CaptureError for a model that cannot be traced, FormError for a form or an override that no solve can have,
    ParityError when the answers differ (the artifact is then left in `out` + ".failed"), OutputError where the artifact
    cannot be written, InputError for other bad arguments and where anything but an artifact would be replaced,
    TypeError for an unknown keyword. After any of them nothing half-written is left, and an artifact that was in `out`
    is still there.

    >>> import tempfile, torch
    >>> from torchdiffeq import odeint
    >>> def decay(x):
    ...     return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]), method="rk4")[-1]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = export(decay, (torch.ones(2, 3),), folder + "/decay", dynamic={"x": {0: "batch"}}, steps=4)
    >>> exported.parity.passed, [str(tensor) for tensor in exported.card.inputs]
    (True, ['float32 [batch, 3]'])
    """
    settings = changed(settings or ExportSettings(), changes)
    check_out(out)
    callee, axes = read_call(model, args, kwargs, dynamic)
    settings.check_calibration()
    check_reducible(settings)
    if settings.calibration.inputs is not None:
        calls_of(settings.calibration.inputs, callee, axes)  # raises for bad data before anything is traced
    target, tell = Path(out), on_stage or (lambda stage: None)
    failed = target.parent / f"{target.name}.failed"
    with evaluation_mode(model), staging(target, failed=failed) as folder, old_objects_left_out():
        tell_line: Callable[[str], None] | None = getattr(on_stage, "progress", None)
        clock = TorchClock(settings.proof.torch_seconds, tell_line)
        with progress.told(tell_line):
            ready = prepare(callee, axes, settings, tell=tell, clock=clock)
        explanation = describe(ready)
        prover = Prover(ready, folder, failed, explanation.warnings, _write_again)
        card, report = _written_and_proved(prover, tell)
    told = [*ready.drawn.skipped, *report.warnings, *kept_outside(card)]
    return Exported(target, card, report, explanation.in_forms([solve.form for solve in card.solves]).warned(told))


def _written_and_proved(prover: Prover, tell: Callable[[str], None]) -> tuple[Card, Report]:
    """Write the artifact and compare it with torch. Raises ParityError where answers differ."""
    settings, ready = prover.ready.settings, prover.ready
    card, lowered, calibrated = _write(ready, _name_of(ready.judge.callee.model), prover.folder, tell)
    check_fits(card, prover.folder, PROFILES[settings.profile])
    tell("parity")
    report = prover.report(card, calibrated)
    if settings.storage.reduced and report.passed:
        tell("reduce")
        card, report = reduced(prover, card, lowered, calibrated, report)
    return prover.finish(card, report), report


def _write_again(ready: Prepared, folder: Path) -> Card:
    """Write the graphs of a model without calibrated steps, for a second proof."""
    return _write(ready, "again", folder, lambda stage: None)[0]


def _write(
    ready: Prepared, name: str, folder: Path, tell: Callable[[str], None]
) -> tuple[Card, LoweredModel, Calibrated | None]:
    """Put the solves into their forms and write the graphs; returns the card, the graphs, and the steps found on data
    if any."""
    settings, captured, holes, calibrating = ready.settings, ready.captured, ready.holes, None
    if settings.calibration.inputs is not None:
        tell("calibrate")
        calibrating = Calibrating.of(ready)
        holes = calibrating.calibrated.holes(holes)
    tell("lower")
    profile = PROFILES[settings.profile]
    lowered = lower(
        captured,
        holes,
        settings.form,
        max_steps=settings.max_steps,
        keep_debug_info=settings.keep_debug_info,
        profile=profile,
        ahead=settings.rewrite and profile.onnxruntime,
        weights_inside=settings.rewrite and not settings.storage.reduced,
    )
    tell("check")
    call = ready.judge.callee.card()
    samples = axis_of_samples(ready.holes, ready.inputs[: len(ready.inputs) - len(captured.noise)])
    card = card_of(
        *(lowered, name, ready.inputs, ready.outputs, captured.assumptions, settings.opset, captured.noise, call),
        samples=samples,
    )
    if calibrating is None:
        return write_graphs(lowered, card, folder), lowered, None
    card, lowered = calibrating.with_fallback(card, lowered)
    return write_graphs(lowered, card, folder), lowered, calibrating.calibrated


def _name_of(model: Callable[..., Any]) -> str:
    return type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", "model")
