"""The export: capture, lift, lower, check, parity, in this order, into one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from odelet.artifact.card import Card
from odelet.errors import InputError
from odelet.loops.adaptive import DEFAULT_MAX_STEPS
from odelet_export.calibration.calibrator import Calibrator, driven_copy, with_fallback
from odelet_export.calibration.data import Calibration
from odelet_export.errors import FormError
from odelet_export.lowering.lift import time_inputs
from odelet_export.lowering.lower import lower
from odelet_export.model.axes import Dynamic, check_dynamic
from odelet_export.model.callee import Callee
from odelet_export.model.overrides import Overrides
from odelet_export.model.reference import evaluation_mode
from odelet_export.pipeline.explanation import Explanation, explained
from odelet_export.pipeline.prepare import prepare
from odelet_export.pipeline.prove import Prover
from odelet_export.proof.alone import _samples
from odelet_export.proof.judge import FreshSamples
from odelet_export.proof.report import Report
from odelet_export.targets.folder import staging
from odelet_export.targets.onnx_files import card_of, write_graphs

# The form bounded has one more, before `lower`: calibrate.
STAGES = ("capture", "lift", "replay", "lower", "check", "parity")
OPSETS = range(18, 24)


@dataclass(frozen=True)
class Exported:
    """What an export made. path: the artifact. explanation: what was captured, and by which tracer. warnings: what
    to know."""

    path: Path
    card: Card
    parity: Report
    explanation: Explanation

    @property
    def tracer(self) -> str:
        """How the model was traced: "torch.export", or "make_fx" below autograd."""
        return self.explanation.tracer

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.explanation.warnings


def export(
    model: Callable[..., Any],
    args: Sequence[Any],
    out: str | os.PathLike[str],
    *,
    kwargs: Mapping[str, Any] | None = None,
    form: str = "auto",
    dynamic: Dynamic | None = None,
    method: str | None = None,
    steps: int | None = None,
    step_size: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    controller: str | None = None,
    per_sample: bool = False,
    max_steps: int = DEFAULT_MAX_STEPS,
    opset: int = 20,
    keep_debug_info: bool = False,
    samples: int = 4,
    seed: int = 0,
    tolerance: tuple[float, float] | None = None,
    freeze: Sequence[str] = (),
    strict: bool = False,
    calibration: Mapping[str, Any] | None = None,
    quantile: float = 1.0,
    fallback: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> Exported:
    """Export a torch model that calls torchdiffeq to an artifact, and prove that it gives torch's answers.

    model: a module, or any callable; it runs in evaluation mode and is left as it was. args, kwargs: an
    example call; tensors become inputs, named as in the model's signature, those in dicts, tuples and the like with
    dots (`batch.x`, `parts.0`); other arguments are kept. out:
    the folder to make; an artifact that is there is replaced. form: auto, unrolled, rolled, bounded, adaptive or
    driven. dynamic: axes whose size may change, as in {"x": {0: "batch"}}; all others stay as in the
    example. method, steps, step_size, rtol, atol: instead of what the model's own calls say. controller: of
    step sizes in adaptive solves, a name in odelet.control.CONTROLLERS. per_sample: adaptive solves give each sample of
    a batch its own steps, acceptance and status, so that no sample's answer depends on the others. max_steps:
    limit of attempted steps in an adaptive solve. samples: how many fresh inputs parity is checked at, drawn
    with `seed`. tolerance: (rtol, atol) of the comparison, instead of the default for the dtype. freeze: names of
    inputs whose numbers the model reads in Python; they are held at those of the example. strict: refuse a model whose
    Python code decides anything by its inputs; else what it decides on the example is an assumption, which the card
    lists and the artifact checks in each call.

    For the form bounded: calibration, arrays by input name, one call with many samples along the batch axis, or with
    one axis more in front for many calls; the steps are found on it, so that the estimated error of each stays within
    rtol and atol for a share `quantile` of the samples. fallback: samples of later calls that do not stay within are
    solved again with error control, by the runtime.

    Raises CaptureError for a model that cannot be traced, FormError for a form or an override that does not
    go with it, ParityError when the answers differ (the artifact is then left in `out` + ".failed").
    """
    target = Path(out)
    tell = on_stage or (lambda stage: None)
    _check_numbers(opset, samples, max_steps)
    overrides = Overrides(
        method=method,
        steps=steps,
        step_size=step_size,
        rtol=rtol,
        atol=atol,
        controller=controller,
        per_sample=per_sample,
    )
    callee = Callee(model, tuple(args), dict(kwargs or {}))
    axes = check_dynamic(dynamic, callee.names, callee.example)
    data = _calibration(form, calibration, quantile, fallback, overrides)
    if data is not None:
        data.calls(callee, axes)
    failed = target.with_name(target.name + ".failed")
    with evaluation_mode(model), staging(target, failed=failed) as folder:
        ready = prepare(
            callee,
            axes,
            overrides,
            opset=opset,
            samples=samples,
            seed=seed,
            tolerance=tolerance,
            form=form,
            max_steps=max_steps,
            freeze=freeze,
            strict=strict,
            tell=tell,
        )
        captured, holes, again = ready.captured, ready.holes, None
        explanation = explained(ready, callee)
        times = time_inputs(captured)
        calibrated = None
        if data is not None:
            tell("calibrate")
            kind = Calibrator(
                captured, holes, ready.judge, axes, data, times={*times, *freeze}, max_steps=max_steps, opset=opset
            )
            calibrated = kind.run()
            again = driven_copy(captured, holes, max_steps=max_steps) if data.fallback else None
            holes = calibrated.holes(holes)
        tell("lower")
        lowered = lower(captured, holes, form, max_steps=max_steps, keep_debug_info=keep_debug_info)
        tell("check")
        name = type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", "model")
        card = card_of(lowered, name, ready.inputs, ready.outputs, captured.assumptions, opset, captured.noise)
        if calibrated is not None and again is not None:
            card, lowered = with_fallback(card, lowered, again, calibrated)
        card = write_graphs(lowered, card, folder)
        prover = Prover(ready, folder, failed, explanation.warnings)
        tell("parity")
        if calibrated is not None:
            drawn = partial(FreshSamples, dynamic=axes, times=times, frozen=freeze, count=samples)
            report = prover.along_grids(card, calibrated, drawn)
        else:
            alone = _samples(holes, axes, callee, card, captured) if per_sample else None
            report = prover.compared(card, replace(ready.judge, alone=alone))
        card = prover.finish(card, report)
    return Exported(target, card, report, explanation.in_forms([solve.form for solve in card.solves]))


def _check_numbers(opset: int, samples: int, max_steps: int) -> None:
    if opset not in OPSETS:
        raise InputError(f"opset={opset!r} is not supported; use {OPSETS[0]} to {OPSETS[-1]}")
    if samples < 1 or max_steps < 1:
        raise InputError(f"samples={samples!r} and max_steps={max_steps!r} must be at least 1")


def _calibration(
    form: str, data: Mapping[str, Any] | None, quantile: float, fallback: bool, overrides: Overrides
) -> Calibration | None:
    """What steps are found on, for the form that wants it."""
    if form != "bounded":
        for name, value, default in (
            ("calibration", data, None),
            ("quantile", quantile, 1.0),
            ("fallback", fallback, 0),
        ):
            if value is not default and value != default:
                raise FormError(f"{name} is for the form bounded, and form={form!r}; leave it out, or ask for bounded")
        return None
    if data is None:
        raise FormError(
            "the form bounded finds its steps on calibration data, and there are none; give calibration=, a dict of "
            "arrays by input name (--calibration FILE.npz)"
        )
    if overrides.per_sample:
        raise FormError(
            "per_sample gives each sample its own steps, and those of bounded are one grid for all; leave it out"
        )
    return Calibration(inputs=data, quantile=quantile, fallback=fallback)
