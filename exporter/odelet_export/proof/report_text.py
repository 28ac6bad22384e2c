"""The report of the comparison of an artifact with its torch model, as Markdown and as files."""

from __future__ import annotations

from pathlib import Path

from odelet_export.errors import output_errors
from odelet_export.proof.report import Report
from odelet_export.proof.rounding import OWN_ERRORS, ROUNDING_FACTOR, ROUNDING_RUNS
from odelet_export.proof.verdict import Verdict
from odelet_export.targets.replaceable import REPORT_JSON, REPORT_TEXT


def to_markdown(report: Report) -> str:
    """The whole report as text in Markdown."""
    verdict = "passed" if report.passed else "FAILED"
    if report.verdict is Verdict.AS_TORCH:
        verdict = "passed, as far as torch agrees with itself"
    sdes = any(solve.noise for sample in report.samples for solve in sample.solves)
    solver = "torchdiffeq, and torchsde on the same Brownian motion" if sdes else "torchdiffeq"
    lines = [
        f"# Parity with torch: {verdict}",
        "",
        f"The artifact, run by odelet, beside the torch model, run by {solver}. Sample 0 is the example that",
        "the model was exported with; the others are fresh inputs, drawn like it, with other batch sizes and,",
        "where the times are an input, other times."
        + (" The torch model was solved along the same grid." if report.trust is not None else ""),
        "",
        f"An output passes when its largest error is at most {report.atol:g} + {report.rtol:g} x its largest element.",
        f"Where that is exceeded: at most {ROUNDING_FACTOR:g} times what moving the inputs in their last places",
        f"does to torch's own answer, in up to {ROUNDING_RUNS} runs until they cover the difference, or "
        f"{OWN_ERRORS:g} times",
        "what float32 does to it against float64. Steps must agree: "
        f"{'yes, unless rounding changes those of torch too' if report.strict else 'no, as this is float32'}.",
        "",
        "| sample | inputs | output | max abs error | allowed | max rel error | pass |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, sample in enumerate(report.samples):
        shapes = ", ".join(f"{name} {shape}" for name, shape in sample.shapes.items())
        for check in sample.outputs:
            lines.append(
                f"| {number} | {shapes} | {check.output} | {check.max_abs:.3g} | {check.allowed:.3g} "
                f"| {check.max_rel:.3g} | {'yes' if check.passed else '**no**'} |"
            )
    lines += [
        "",
        f"| sample | solve | method | steps | accepted | evaluations | {'torch' if sdes else 'torchdiffeq'}'s | same |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, sample in enumerate(report.samples):
        for solve in sample.solves:
            theirs = f"{solve.torch.steps}, {solve.torch.accepted}, {solve.torch.evaluations}"
            lines.append(
                f"| {number} | {solve.index} | {solve.method}{f', {solve.noise} noise' if solve.noise else ''} "
                f"| {solve.steps} | {solve.accepted} "
                f"| {solve.evaluations} | {theirs} | {'yes' if solve.equal else 'no'} |"
            )
    lines += ["", *(f"- {problem}" for problem in report.problems)] if report.problems else []
    lines += ["", *(f"- {warning}" for warning in report.warnings)] if report.warnings else []
    lines += [] if report.reduced is None else report.reduced.to_markdown()
    lines += [] if report.trust is None else report.trust.to_markdown()
    if report.fallback is not None:
        again = to_markdown(report.fallback).replace("# Parity", "# The fallback: parity", 1)
        lines += ["", again.rstrip()]
    return "\n".join(lines) + "\n"


def write_report(report: Report, folder: Path) -> None:
    """Write the report as parity.json and parity.md into a folder."""
    with output_errors(Path(folder.name)):
        (folder / REPORT_JSON).write_text(report.to_json(), encoding="utf-8")
        (folder / REPORT_TEXT).write_text(to_markdown(report), encoding="utf-8")
