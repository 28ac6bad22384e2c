"""The command line of the runtime. The law here: commands parse and print; the library does the work.

Other packages add commands under the entry-point group `odelet.commands`: a function becomes a command, and a Typer app
becomes a group of commands.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from odelet import __version__
from odelet.artifact.array_files import check_output, read_inputs, write_outputs
from odelet.artifact.folder import check
from odelet.cli.options import (
    Atol,
    Deadline,
    Device,
    Engine,
    Folder,
    Inputs,
    Json,
    Library,
    MaxSteps,
    Memory,
    Rtol,
    Seed,
    Threads,
    engine_of,
    threads_of,
)
from odelet.cli.plot import plot
from odelet.cli.progress import solve_paths, solve_quietly, solve_shown
from odelet.commands.bench import DEFAULT_SECONDS
from odelet.commands.bench import bench as bench_artifact
from odelet.commands.paths_report import QUANTILES, paths_arrays, paths_text, quantiles_of
from odelet.commands.run_report import run_text
from odelet.commands.verify import verify as verify_artifact
from odelet.errors import InputError, OdeletError
from odelet.model.interruption import interruptible, is_work_left
from odelet.model.loading import load
from odelet.model.settings import CallSettings
from odelet.status import Status
from odelet.text import printable

GROUP = "odelet.commands"
# What a shell gives a command that Ctrl-C ended.
INTERRUPTED = 130
EXTRAS = {"odelet_export": "export", "odelet_train": "train"}

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would swallow brackets: odelet[export], float32[batch,64]
    help="Run, check and time exported neural differential equations with numpy and onnxruntime.",
)

# Some versions of typer stand on the package click, and others bring click's classes along as their own.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"odelet {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def run(
    path: Folder,
    source: Inputs,
    target: Annotated[
        Path, typer.Option("--output", help="File to write the outputs to: .npz, .npy or .csv; an old one is replaced.")
    ],
    rtol: Rtol = None,
    atol: Atol = None,
    max_steps: MaxSteps = None,
    deadline: Deadline = None,
    seed: Seed = None,
    paths: Annotated[
        int | None,
        typer.Option(
            help="Solve so many paths, each with random numbers of its own, and write NAME.mean, NAME.std and "
            "NAME.quantiles of each output to the .npz."
        ),
    ] = None,
    quantiles: Annotated[str, typer.Option(help="Shares of the quantiles of --paths, from 0 to 1.")] = ",".join(
        map(str, QUANTILES)
    ),
    device: Device = "cpu",
    threads: Threads = None,
    memory: Memory = None,
    shows: Annotated[
        bool, typer.Option("--progress", help="Show on a terminal how far each solve is (forms driven and loop_free).")
    ] = False,
    engine: Engine = None,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Run a model on a file of inputs and write its outputs. Ctrl-C ends it at once, as it ends all commands."""
    shares = quantiles_of(quantiles)
    chosen = engine_of(engine, library)
    model = load(
        path,
        device=device,
        threads=threads_of(threads),
        memory=memory,
        engine=chosen,
        library=library,
        deadline=deadline,
    )
    if paths is not None and target.suffix != ".npz":
        raise InputError(f"{target}: --paths writes several arrays, which need an .npz")
    check_output(target, model.card)
    settings = CallSettings(rtol=rtol, atol=atol, max_steps=max_steps, deadline=deadline, seed=seed)
    inputs = read_inputs(source, model.card)
    if paths is not None:
        found = solve_paths(model, paths, settings, inputs)
        arrays = paths_arrays(found, shares)
        write_outputs(target, arrays)
        typer.echo(paths_text(found, arrays, as_json=as_json))
        return
    solution = solve_shown(model, settings, inputs) if shows else solve_quietly(model, settings, inputs)
    if solution.status is Status.OK:
        write_outputs(target, solution.outputs)
    typer.echo(run_text(solution, as_json=as_json))
    solution.raise_if_failed()


@app.command()
def verify(
    path: Folder,
    deadline: Deadline = None,
    device: Device = "cpu",
    threads: Threads = None,
    memory: Memory = None,
    engine: Engine = None,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Compare an artifact's outputs for its sample inputs with torch's.

    The sample inputs and torch's outputs were put into the artifact by its export; torch is not needed. The exit code
    is 3 if an output differs by more than the artifact allows.
    """
    checked = partial(
        verify_artifact, path, device=device, threads=threads_of(threads), memory=memory, deadline=deadline
    )
    report = interruptible(partial(checked, engine=engine_of(engine, library), library=library))
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.summary())
    if not report.passed:
        raise typer.Exit(3)


@app.command()
def bench(
    path: Folder,
    against: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:NAME", help="Torch model to time beside the artifact; its code is run."),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", "-w", help="File of weights for --against.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--input", help="File of inputs, as for `odelet run`. If left out: the artifact's first sample."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Size of the batch; the rows of the inputs are repeated.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to measure in all, in seconds.")] = DEFAULT_SECONDS,
    deadline: Deadline = None,
    device: Device = "cpu",
    threads: Threads = None,
    memory: Memory = None,
    engine: Engine = None,
    library: Library = None,
    as_json: Json = False,
) -> None:
    """Time calls of an artifact, beside its floor, its library of native code and the torch model.

    The floor is the same model with each solve replaced by a straight chain of as many evaluations of its field, in
    one graph. It is timed if the package onnx-ir is installed. A library is code, and is loaded only if --engine native
    or --library asks for it. The torch model is timed if --against names it, which needs odelet[export].
    """
    timed = partial(bench_artifact, path, source=source, batch=batch, against=against, weights=weights, memory=memory)
    timed = partial(timed, seconds=seconds, device=device, threads=threads_of(threads), deadline=deadline)
    report = interruptible(partial(timed, engine=engine_of(engine, library), library=library))
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.summary())


app.command()(plot)


@app.command()
def info(path: Folder, as_json: Json = False) -> None:
    """Check the files of an artifact and show what its card says."""
    card = check(path).card
    typer.echo(card.to_json() if as_json else card.summary())


def add_commands(target: typer.Typer, commands: list[EntryPoint]) -> None:
    """Add commands of other packages to an app, under the names of their entry points."""
    for command in commands:
        try:
            loaded = command.load()
        except ImportError as error:
            anything = {"allow_extra_args": True, "ignore_unknown_options": True}
            target.command(command.name, context_settings=anything)(_missing(_advice(command, error)))
            continue
        if isinstance(loaded, typer.Typer):
            target.add_typer(loaded, name=command.name)
        else:
            target.command(command.name)(loaded)


def _missing(message: str) -> Callable[[], None]:
    """Return a command that fails with a message; the other commands, and --help, still work."""

    def fail() -> None:
        raise OdeletError(message)

    fail.__doc__ = message
    return fail


def _advice(command: EntryPoint, error: ImportError) -> str:
    if error.name is None:  # Python's own errors name a module; others say the way out themselves
        return f"{command.name}: {error}"
    package = command.value.split(":")[0].split(".")[0]
    requirement = f'"odelet[{EXTRAS[package]}]"' if package in EXTRAS else package
    return f"{command.name}: {error}; install what this command needs with: pip install {requirement}"


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with a code.

    0: all went well. 1: an unexpected error. 2: a bad argument or artifact. 3: a comparison failed. 4: a solve failed.
    130: Ctrl-C.
    """
    args = sys.argv[1:] if args is None else args
    try:
        code = _main(args or ["--help"])
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        _fail("interrupted", code)
        if is_work_left():  # the interpreter would wait for it
            sys.stdout.flush()
            os._exit(code)
    raise SystemExit(code)


def _main(args: list[str]) -> int:
    runtime_commands = {"run", "verify", "bench", "info", "plot", "--version"}
    # An extension may take long to import; the commands that run on a device must not wait for one.
    commands = [] if args[0] in runtime_commands else list(entry_points(group=GROUP))
    add_commands(app, commands)
    try:
        code = app(args, prog_name="odelet", standalone_mode=False)
    except OdeletError as error:
        return _fail(str(error), error.exit_code)
    except _UsageError as error:
        format_message: Callable[[], str] = error.format_message  # type: ignore[attr-defined]  # see _UsageError
        return _fail(f"{format_message()} (try: odelet --help)", 2)
    except ImportError as error:
        for command in commands:
            if command.name == args[0]:
                return _fail(_advice(command, error), 2)
        raise
    except typer.Abort as error:  # some versions of typer turn an interruption into it, and others into a code
        return INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else _fail("stopped", 1)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    typer.echo(f"odelet: {printable(' '.join(message.split()))}", err=True)
    return code
