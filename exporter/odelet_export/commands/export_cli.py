"""The `odelet export` command. Torch is imported when it runs, not to list it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from odelet_export.commands.options import Json, MetricPlace, Model, Weights, takes_settings
from odelet_export.pipeline.settings import ExportSettings


@takes_settings(ExportSettings, called={"weights": "weights_as"}, without=("tolerance", "metric"))
def export_command(
    target: Model,
    out: Annotated[
        Path | None, Option("--out", "-o", metavar="DIR", help="Folder to write; an artifact there is replaced.")
    ] = None,
    inputs: Annotated[
        list[str] | None, Option("--input", metavar="SPEC", help="An input of the model, as above; once for each.")
    ] = None,
    example: Annotated[
        Path | None, Option(metavar="NPZ", help="Arrays by input name to trace the model with, instead of random ones.")
    ] = None,
    weights_file: Weights = None,
    metric: MetricPlace = None,
    explained: Annotated[
        bool, Option("--explain", help="Print what was captured; without --out, write nothing.")
    ] = False,
    as_json: Json = False,
    **settings: Any,
) -> None:
    """Export a torch model that calls torchdiffeq, and prove that the artifact gives torch's answers.

    The code of the target is run, so export only what you trust. NAME is a torch.nn.Module, or a function or
    class that gives one when called without arguments. A FILE.py is imported as `python FILE.py` would.

    Each --input describes one input of the model. Its example is drawn at random, the same for the same --seed:

    \b
      "x=float32[batch,64]"            normal numbers; the size of `batch` may change
      "x=float32[batch=8,64]:0..1"     uniform between 0 and 1, traced with 8 rows
      "n=int64[batch]:0..9"            whole numbers from 0 to 9
      "t=float32[times]:linspace(0,1)" times, in order, for a solve
      "s=float32[]:0.5"                a scalar
      "n=int:10", "scale=float:1.5"    a number of Python, such as a number of steps; each call gives its own

    A dot leads into a dict ("batch.x=..."), or into a tuple, by number ("parts.0=...").
    An axis name stands for one size, in all inputs. With --example the arrays come from the file; --input then only
    names the axes that may change, as in "x=[batch,_]", or converts, as in "x=float32[batch,_]".

    A decision in Python (`if mask.any():`) is taken as on the example. The artifact checks in each call that the
    decision still holds, and the result lists it. --strict refuses such a model instead. --freeze holds the
    numbers that the model reads off an input in Python, as an array of x.numpy(), at those of the example; the input
    itself may change as long as these numbers stay.

    --explain prints what was captured: each solve with its place in the code, what its field reads, and what is
    computed once. Without --out nothing else is done.

    --weights-as stores the weights in fewer bits. The artifact is first proved as it is; then its errors are
    measured with such weights, at the same inputs and on --data, and must be within --max-error. A --metric is
    called as metric(outputs, data), two dicts of numpy arrays by name, and returns a number.

    Exits with 2 for what cannot be exported, with 3 when the answers differ from torch's; the artifact is then left
    in DIR.failed.
    """
    from odelet_export.commands.export_command import Request, perform_with
    from odelet_export.commands.running import reported

    with reported(as_json=as_json):
        request = Request(target, inputs or [], example, weights_file, out, explained=explained)
        result = perform_with(request, metric, settings)
    result.show(as_json=as_json)
