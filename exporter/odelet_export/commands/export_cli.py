"""The `odelet export` command. Torch is imported when it runs, not to list it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from odelet.loops.adaptive import DEFAULT_MAX_STEPS

Option = typer.Option


def export_command(
    target: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="The model; or package.module:NAME.")],
    out: Annotated[
        Path | None, Option("--out", "-o", metavar="DIR", help="Folder to make; an artifact there is replaced.")
    ] = None,
    inputs: Annotated[
        list[str] | None, Option("--input", metavar="SPEC", help="An input, see above; once for each.")
    ] = None,
    example: Annotated[
        Path | None, Option(metavar="NPZ", help="Arrays by input name, to trace the model with; see above.")
    ] = None,
    weights: Annotated[
        Path | None, Option("--weights", "-w", metavar="FILE", help="Its .safetensors, .pt or .pth.")
    ] = None,
    form: Annotated[str, Option(help="auto, unrolled, rolled, bounded, adaptive or driven.")] = "auto",
    method: Annotated[str | None, Option(help="Instead of the model's, as torchdiffeq names it.")] = None,
    steps: Annotated[int | None, Option(help="Steps of a fixed-step method, first time to last.")] = None,
    step_size: Annotated[float | None, Option(help="Step of a fixed-step method, instead of --steps.")] = None,
    rtol: Annotated[float | None, Option(help="Relative tolerance of an adaptive method.")] = None,
    atol: Annotated[float | None, Option(help="Absolute tolerance of an adaptive method.")] = None,
    controller: Annotated[str | None, Option(help="Of adaptive steps: integral, pi or pid.")] = None,
    per_sample: Annotated[bool, Option("--per-sample", help="Steps of its own for each sample of a batch.")] = False,
    max_steps: Annotated[int, Option(help="Limit of steps of an adaptive method.")] = DEFAULT_MAX_STEPS,
    opset: Annotated[int, Option(help="ONNX opset, 18 to 23.")] = 20,
    keep_debug_info: Annotated[bool, Option("--keep-debug-info", help="Keep source paths in the graphs.")] = False,
    freeze: Annotated[
        list[str] | None, Option(metavar="INPUT", help="Hold an input that the model reads in Python.")
    ] = None,
    strict: Annotated[bool, Option("--strict", help="Refuse a model that decides by its inputs in Python.")] = False,
    calibration: Annotated[
        Path | None, Option(metavar="NPZ", help="For bounded: samples by input name, to find the steps on.")
    ] = None,
    quantile: Annotated[float, Option(help="Share of them to keep within the tolerance.")] = 1.0,
    fallback: Annotated[bool, Option("--fallback", help="Solve samples again that do not stay within it.")] = False,
    samples: Annotated[int, Option(help="Fresh inputs to compare with torch at.")] = 4,
    seed: Annotated[int, Option(help="Of the example and the samples.")] = 0,
    explained: Annotated[bool, Option("--explain", help="Tell what was captured; without --out, that alone.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Export a torch model that calls torchdiffeq, and prove that it gives torch's answers.

    The code of the target is run, so export only what you trust. NAME is a torch.nn.Module, or a function or
    class that gives one when called without arguments. A FILE.py is imported as `python FILE.py` would.

    --input says what goes into the model, and is drawn at random, the same for the same --seed:

    \b
      "x=float32[batch,64]"            normal numbers; the size of `batch` may change
      "x=float32[batch=8,64]:0..1"     even between 0 and 1, traced with 8 rows
      "n=int64[batch]:0..9"            whole numbers from 0 to 9
      "t=float32[times]:linspace(0,1)" times, in order, for a solve
      "s=float32[]:0.5"                a scalar

    A dot leads into a dict ("batch.x=..."), or into a tuple, by number ("parts.0=...").

    One name is one size, in all inputs. With --example the arrays come from the file, and --input is needed
    only to name the axes that may change, as in "x=[batch,_]", or to convert, as in "x=float32[batch,_]".

    A decision in Python (`if mask.any():`) is taken as on the example; the artifact checks in each call that it
    still holds, and the result lists it. --strict refuses such a model. --freeze holds an input at its example value
    where the model needs its number in Python, as in range(n).
    With --explain it tells what was captured: each solve with its place in the code, what its field reads, what is
    computed once. Without --out it then stops there, and writes nothing.

    Exits with 2 for what cannot be exported, with 3 when the answers differ from torch's; what was made is
    then left in DIR.failed.
    """
    from odelet_export.commands.export_command import perform, reported

    options: dict[str, Any] = {
        "form": form,
        "method": method,
        "steps": steps,
        "step_size": step_size,
        "rtol": rtol,
        "atol": atol,
    }
    options |= {"controller": controller, "per_sample": per_sample, "freeze": freeze or [], "strict": strict}
    options |= {"quantile": quantile, "fallback": fallback}
    options |= {"max_steps": max_steps, "opset": opset, "keep_debug_info": keep_debug_info, "samples": samples}
    with reported(as_json=as_json):
        options |= {"seed": seed, "explained": explained, "calibration": calibration}
        result = perform(target, inputs or [], example, weights, out, **options)
    result.show(as_json=as_json)
