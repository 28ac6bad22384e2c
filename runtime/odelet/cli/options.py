"""The arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from odelet.engine.opening import NATIVE, ONNX_RUNTIME

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `odelet export` wrote, or a lone .onnx file.")]
Inputs = Annotated[
    Path,
    typer.Option("--input", help="File of inputs: .npz with one array per input name; .npy or .csv for one input."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]
Device = Annotated[str, typer.Option(help="Where the model runs: cpu or cuda.")]
Threads = Annotated[
    str | None,
    typer.Option(
        metavar="N|measured",
        help="Threads that work inside one operator; measured finds the fastest number by a few calls and keeps it in "
        "this user's cache. If it is left out, the size of the operators decides: 1 to 4.",
    ),
]
Rtol = Annotated[
    float | None, typer.Option(help="Relative tolerance, where the solver chooses its steps on the device.")
]
Atol = Annotated[
    float | None, typer.Option(help="Absolute tolerance, where the solver chooses its steps on the device.")
]
MaxSteps = Annotated[
    int | None,
    typer.Option(help="Most steps that a solve may attempt (forms adaptive and driven, and the fallback of bounded)."),
]
Deadline = Annotated[
    float | None,
    typer.Option(help="Seconds after which all calls have ended, in any form; nothing is written then (exit code 4)."),
]
Memory = Annotated[
    int | None, typer.Option(help="Most bytes that the graphs of the model take while they run: docs/serving.md.")
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of random inputs that the file lacks. If it is left out, each run draws other numbers."),
]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What runs the model: onnxruntime, or native for the library that `odelet build --target native` made.",
    ),
]
Library = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of that library, in place of this user's cache; with it, the engine is native."
    ),
]


def engine_of(engine: str | None, library: Path | None) -> str:
    """The engine of a command: the one that is named, or the one of the library that is named."""
    return engine or (ONNX_RUNTIME if library is None else NATIVE)


def threads_of(threads: str | None) -> int | str | None:
    """The number of threads of a command, or the word that stands for it."""
    try:
        return None if threads is None else int(threads)
    except ValueError:
        assert threads is not None
        return threads
