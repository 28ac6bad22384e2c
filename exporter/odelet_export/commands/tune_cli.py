"""The `odelet tune` command. Torch is imported when it runs, not to list it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from odelet.loops.adaptive import DEFAULT_MAX_STEPS

Option = typer.Option


def tune_command(
    target: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="The model; or package.module:NAME.")],
    data: Annotated[Path, Option(metavar="NPZ", help="Arrays by input name, and those that the metric takes.")],
    error: Annotated[float, Option("--target", help="The largest error that is good enough, see above.")],
    budget_ms: Annotated[float | None, Option(help="Milliseconds that a call may take on this machine.")] = None,
    metric: Annotated[str | None, Option(metavar="FILE.py:FUNCTION", help="A measure of your own, see above.")] = None,
    out: Annotated[Path, Option("--out", "-o", metavar="DIR", help="Folder for what is measured.")] = Path("tune"),
    inputs: Annotated[
        list[str] | None, Option("--input", metavar="SPEC", help='Axes of an input, as "x=[batch,_]".')
    ] = None,
    weights: Annotated[
        Path | None, Option("--weights", "-w", metavar="FILE", help="Its .safetensors, .pt or .pth.")
    ] = None,
    methods: Annotated[list[str] | None, Option("--method", help="Try this method, and others named so.")] = None,
    forms: Annotated[list[str] | None, Option("--form", help="Try this form, and others named so.")] = None,
    steps: Annotated[list[int] | None, Option("--steps", help="Try so many steps of fixed-step methods.")] = None,
    tolerances: Annotated[
        list[float] | None, Option("--tolerance", help="Try this tolerance of adaptive methods.")
    ] = None,
    batch: Annotated[int, Option(help="Samples in a call.")] = 1,
    samples: Annotated[int | None, Option(help="Measure on at most so many samples of the data.")] = None,
    threads: Annotated[int, Option(help="Threads inside one operator.")] = 1,
    max_steps: Annotated[int, Option(help="Limit of steps of an adaptive method.")] = DEFAULT_MAX_STEPS,
    opset: Annotated[int, Option(help="ONNX opset, 18 to 23.")] = 20,
    freeze: Annotated[
        list[str] | None, Option(metavar="INPUT", help="Hold an input that the model reads in Python.")
    ] = None,
    seed: Annotated[int, Option(help="Of the order of the samples, and of random draws.")] = 0,
    anew: Annotated[bool, Option("--anew", help="Forget what DIR holds.")] = False,
    export: Annotated[bool, Option("--export", help="Run the command that makes the choice.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find the cheapest way to solve a model that is exact enough, by measuring on your data.

    Methods, forms, and steps or tolerances are tried, all of them on a few samples and the better ones on all. An
    error is measured against the model with its solves at tight tolerances: the largest of any sample, relative to the
    largest element of that output. The choice is the fastest with an error of at most --target, and within --budget-ms
    where that is given. Every number was measured; an interrupted run goes on where it was.

    DIR gets tune.json, tune.md and pareto.png. Printed is the table, and the `odelet export` that makes the choice.

    Without --input, the first axis of all inputs that are as long as the first one counts samples. With it, that is
    the axis named `batch`. A dtype converts, as in "x=float32[batch,_]".

    A --metric is called as metric(outputs, data), dicts of numpy arrays by name: the model's outputs, and the arrays
    of the file, both for the same samples in the same order. It returns a number, which is told beside the errors.

    Exits with 2 for what cannot be tuned, with 3 when nothing that was tried is good enough.
    """
    from odelet_export.commands.export_command import reported
    from odelet_export.commands.tune_command import perform, tell

    options: dict[str, Any] = {"target": error, "budget_ms": budget_ms, "batch": batch, "samples": samples}
    options |= {"methods": methods or [], "forms": forms or [], "steps": steps or [], "tolerances": tolerances or []}
    options |= {"threads": threads, "max_steps": max_steps, "opset": opset, "freeze": freeze or [], "seed": seed}
    with reported(as_json=as_json):
        tuning = perform(target, data, inputs or [], weights, metric, out, anew=anew, **options)
        tell(tuning, target, weights, export=export, as_json=as_json)
