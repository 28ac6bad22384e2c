"""The `odelet tune` command. Torch is imported when it runs, not to list it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from odelet_export.commands.options import Json, Model, Weights, takes_settings
from odelet_export.tuning.settings import TuneSettings

_CALLED = {"methods": "method", "forms": "form", "tolerances": "tolerance", "weights": "weights_as"}


@takes_settings(TuneSettings, called=_CALLED)
def tune_command(
    target_model: Model,
    data: Annotated[Path, Option(metavar="NPZ", help="Arrays by input name, and any others that --metric takes.")],
    metric: Annotated[
        str | None, Option(metavar="FILE.py:FUNCTION", help="A function that measures the outputs, as above.")
    ] = None,
    out: Annotated[Path, Option("--out", "-o", metavar="DIR", help="Folder for the measurements.")] = Path("tune"),
    inputs: Annotated[
        list[str] | None,
        Option("--input", metavar="SPEC", help='Axes of an input, as in "x=[batch,_]"; or a number, "n=int".'),
    ] = None,
    weights_file: Weights = None,
    anew: Annotated[bool, Option("--anew", help="Discard the measurements that DIR holds.")] = False,
    export: Annotated[bool, Option("--export", help="Run the printed odelet export too.")] = False,
    as_json: Json = False,
    **settings: Any,
) -> None:
    """Find the cheapest way to solve a model that is exact enough, by measuring on your data.

    Methods, forms, and steps or tolerances are tried: all of them on a few samples, and the better ones on all
    samples. An error is measured against the model with its solves at tight tolerances: the largest error of any
    sample, relative to the largest element of that output. The choice is the fastest candidate whose error is at most
    --target, and whose time is within --budget-ms where that is given. Every number is measured; an interrupted run
    continues where it stopped.

    DIR gets tune.json, tune.md and pareto.png. The command prints the table, and the `odelet export` that makes the
    choice.

    Without --input, the first axis of every input that is as long as that of the first input counts samples. With
    --input, the axis named `batch` counts samples. A dtype converts, as in "x=float32[batch,_]".

    A --metric is called as metric(outputs, data), two dicts of numpy arrays by name: the model's outputs, and the
    arrays of the file, for the same samples in the same order. It returns a number, which is printed beside the
    errors.

    Exits with 2 for what cannot be tuned, with 3 when no candidate is good enough.
    """
    from odelet_export.commands.running import reported
    from odelet_export.commands.tune_command import perform, tell

    with reported(as_json=as_json):
        chosen = TuneSettings.of(**settings)
        tuning = perform(target_model, data, inputs or [], weights_file, metric, out, chosen, anew=anew)
        tell(tuning, target_model, weights_file, export=export, as_json=as_json)
