"""The first half of an export: capture, lift, replay. Its result is checked, but has no form yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice

import onnx_ir as ir
import torch

from odelet.artifact.card import Tensor
from odelet.errors import InputError
from odelet_export.capture.cache import capture
from odelet_export.capture.call_values import check_call
from odelet_export.capture.captured import Captured
from odelet_export.capture.number_inputs import inputs_for_numbers
from odelet_export.errors import FormError
from odelet_export.graphs.rewrite.roster import rewrite
from odelet_export.lowering.choose import check_form_of_stepped, needs_a_solve
from odelet_export.lowering.hole import Hole
from odelet_export.lowering.lift import lift, time_inputs
from odelet_export.lowering.nested import fill_nested
from odelet_export.lowering.profiles import PROFILES, Profile
from odelet_export.model.axes import Dynamic
from odelet_export.model.callee import Callee
from odelet_export.model.first_run import first_run
from odelet_export.model.other_solvers import no_solver_called
from odelet_export.model.real_numbers import check_real
from odelet_export.model.reference import as_arrays
from odelet_export.model.spec import check_overrides
from odelet_export.pipeline.comparing import Comparing
from odelet_export.pipeline.settings import ExportSettings
from odelet_export.pipeline.widen import widened
from odelet_export.proof.capture_check import CaptureCheck
from odelet_export.proof.fresh_samples import FreshSamples
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.torch_clock import TorchClock
from odelet_export.targets.onnx_files import check_unique, host_tensors
from odelet_intercept.errors import CaptureError

_FLOAT = "float32"


@dataclass(frozen=True)
class Prepared:
    """A captured model with holes for its solves, checked beside the torch model, before its solves have forms.

    settings, dynamic: the settings and dynamic axes of the export. inputs, outputs: those of the host graph, without
    the outputs that check assumptions. times: the names of the inputs from which output times are computed. judge: the
    torch model, with which answers are compared. drawn: its answers on the example and on fresh inputs. check: the
    comparison of the capture with the model, on any such inputs. warnings: sentences for the user.
    """

    settings: ExportSettings
    dynamic: Dynamic
    captured: Captured
    holes: list[Hole]
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    times: Collection[str]
    judge: Judge
    drawn: FreshSamples
    check: CaptureCheck
    warnings: Sequence[str]


def prepare(
    callee: Callee,
    dynamic: Dynamic,
    settings: ExportSettings,
    *,
    tell: Callable[[str], None],
    clock: TorchClock | None = None,
) -> Prepared:
    """Run a model once, capture it, fill the solves inside others, lift the fields, and run the capture beside it.

    tell: called with the name of each stage when it begins. clock: counts and limits torch's time. Raises InputError
    for a model that fails on its example in plain torch; CaptureError for a model that cannot be traced or that was
    traced wrongly, for one without a solve in a form of solves, and with `strict` for one that decides by its inputs;
    FormError for an override that no solve can take; InputError for a name in `freeze` that no input has.
    """
    _check_frozen(callee, settings)
    profile, asked = _profile(settings, dynamic), settings.solves
    settings = settings if profile.doubles else settings.having(time_dtype=_FLOAT)
    tell("look")
    first = first_run(callee, settings.solves, max_steps=settings.max_steps, seed=settings.proof.seed, check=check_call)
    check_real(callee, first.leaves)
    if not first.counts and needs_a_solve(settings.form):
        raise no_solver_called(callee)
    tell("capture")
    clock = clock or TorchClock(settings.proof.torch_seconds)
    comparing = Comparing(callee, dynamic, settings, first.most_calls, clock)
    quick = settings.proof.quick
    captured = capture(
        callee,
        dynamic,
        settings.solves,
        opset=settings.opset,
        frozen=settings.freeze,
        widen=lambda captured: captured if quick else widened(captured, comparing),
    )
    if settings.strict:
        _refuse_assumptions(captured)
    check_overrides([*captured.specs, *captured.nested, *captured.stepped], asked)
    check_form_of_stepped(captured, settings.form)
    name_axes(captured, callee, dynamic)
    inputs_for_numbers(captured.model, captured.numbers)
    check_unique([*callee.names, *callee.output_names, *(noise.name for noise in captured.noise)])
    inputs, outputs = host_tensors(captured)
    tell("lift")
    times = time_inputs(captured)
    check, judge = comparing.of(captured)
    holes = _holes(captured, settings, profile)
    if not quick:
        tell("replay")
    on_example = Sample(0, callee.example, first.noise, as_arrays(callee.outputs_of(first.leaves)), first.counts)
    drawn = fresh_samples(judge, check, settings, first=on_example)
    if not quick:
        check.check(islice(drawn, 2))
    warnings = [*first.writes.warnings, *_times_in_float32(captured, profile)]
    return Prepared(settings, dynamic, captured, holes, inputs, outputs, times, judge, drawn, check, warnings)


def _check_frozen(callee: Callee, settings: ExportSettings) -> None:
    unknown = [name for name in settings.freeze if name not in callee.names]
    if unknown:
        raise InputError(f"freeze names input {unknown[0]!r}, but the model's inputs are {', '.join(callee.names)}")


def _holes(captured: Captured, settings: ExportSettings, profile: Profile) -> list[Hole]:
    """Rewrite the operators of the captured graph, fill its nested solves, and lift the others."""
    if settings.rewrite:
        rewrite(captured.model, onnxruntime=profile.onnxruntime)
    return lift(captured, fill_nested(captured, settings.form, max_steps=settings.max_steps, profile=profile))


def fresh_samples(
    judge: Judge, check: CaptureCheck, settings: ExportSettings, *, first: Sample | None = None
) -> FreshSamples:
    """The example and the fresh inputs of the comparison, with the answers of `judge`. first: its answer on the
    example, where it is known."""
    count = settings.proof.samples
    return FreshSamples(
        judge, check.drawing, traced=check.traced_sizes, count=count, conditions=check.conditions, first=first
    )


def _profile(settings: ExportSettings, dynamic: Dynamic) -> Profile:
    """The profile of an export. Raises InputError for dynamic axes, where the profile has none."""
    profile = PROFILES[settings.profile]
    if dynamic and not profile.dynamic:
        raise InputError(
            f"dynamic names axes of {', '.join(map(repr, dynamic))}, and the profile {profile.name} is for "
            f"{profile.about}, with the sizes of the example; leave dynamic (--dynamic) out"
        )
    if settings.solves.per_sample and not profile.dynamic:
        raise FormError(
            f"per_sample needs a dynamic axis that counts samples, and the profile {profile.name}, for "
            f"{profile.about}, has none; leave per_sample out, and export an example of one sample, which then has "
            "steps of its own"
        )
    if not profile.doubles and settings.solves.time_dtype not in (None, _FLOAT):
        raise FormError(
            f"time_dtype={settings.solves.time_dtype!r} and the profile {profile.name} do not go together, as its "
            "graphs have no float64; leave one of them out"
        )
    return profile


def _times_in_float32(captured: Captured, profile: Profile) -> list[str]:
    """A sentence for each solve whose times are in float32 for the sake of the profile."""
    times = {
        spec.source: captured.calls[spec.mark]
        for spec in (*captured.specs, *captured.nested)
        if not profile.doubles and spec.control is not None
    }
    return [
        f"{source}: the times of the solve are in float32, as with options={{'dtype': torch.float32}}, since the "
        f"profile {profile.name} has no float64"
        for source, call in times.items()
        if (call.options or {}).get("dtype") != torch.float32
    ]


def _refuse_assumptions(captured: Captured) -> None:
    if captured.assumptions:
        lines = "".join(f"\n  {one}" for one in captured.assumptions)
        raise CaptureError(
            f"the model's Python code decides by its inputs, which strict refuses:{lines}\n"
            "  do: make the choices with torch.where, or leave strict out"
        )


def name_axes(captured: Captured, callee: Callee, dynamic: Dynamic) -> None:
    """Replace torch's symbols for sizes (s77) by the names that the user gave."""
    graph = captured.model.graph
    names: dict[str, str] = {}
    for value in graph.inputs:
        for axis, label in dynamic.get(str(value.name), {}).items():
            dim = value.shape[axis] if value.shape is not None else None
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                names[dim.value] = label
    if not names:
        return
    pattern = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in names))
    values = [*graph.inputs, *(output for node in graph.all_nodes() for output in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape(
                dim
                if isinstance(dim, int) or dim.value is None
                else pattern.sub(lambda match: names[match.group()], dim.value)
                for dim in value.shape
            )
