"""The command line of the runtime. The law here: commands parse and print; the library does the work.

Other packages add commands under the entry-point group `odelet.commands`: a function is a command, a Typer
app a group of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from odelet import __version__
from odelet.artifact.array_files import check_output, read_inputs, write_outputs
from odelet.artifact.folder import check
from odelet.commands.bench import bench as bench_artifact
from odelet.commands.verify import verify as verify_artifact
from odelet.errors import OdeletError
from odelet.loops.solution import Solution
from odelet.model.model import load
from odelet.status import Status

GROUP = "odelet.commands"
EXTRAS = {"odelet_export": "export", "odelet_train": "train"}

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would swallow brackets: odelet[export], float32[batch,64]
    help="Run exported neural differential equations with numpy and onnxruntime.",
)

# click is a package of its own below some versions of typer, and a part of typer in others.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="An artifact's folder, or a lone .onnx file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(help="Threads inside one operator; by the model's size.")]


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
    source: Annotated[Path, typer.Option("--input", help=".npz by input name; .npy or .csv for one input.")],
    target: Annotated[Path, typer.Option("--output", help=".npz, .npy or .csv; replaced if it is there.")],
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance, for the forms that take it.")] = None,
    atol: Annotated[float | None, typer.Option(help="Absolute tolerance, for the forms that take it.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Limit of attempted steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise that the model takes and the file lacks.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Run a model on a file of inputs and write its outputs."""
    model = load(path, device=device, threads=threads)
    check_output(target, model.card)
    inputs: dict[str, Any] = read_inputs(source, model.card)
    solution = model.solve(rtol=rtol, atol=atol, max_steps=max_steps, seed=seed, **inputs)
    if solution.status is Status.OK:
        write_outputs(target, solution.outputs)
    typer.echo(_run_text(solution, as_json=as_json))
    solution.raise_if_failed()


@app.command()
def verify(path: Folder, device: Device = "cpu", threads: Threads = None, as_json: Json = False) -> None:
    """Run the samples of an artifact and compare with what torch gave; exit 3 when they differ."""
    report = verify_artifact(path, device=device, threads=threads)
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.summary())
    if not report.passed:
        raise typer.Exit(3)


@app.command()
def bench(
    path: Folder,
    against: Annotated[
        str | None, typer.Option(metavar="FILE.py:NAME", help="The torch model, to time beside it; its code is run.")
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", "-w", help="Of the torch model.")] = None,
    source: Annotated[
        Path | None, typer.Option("--input", help="As for run; else the first sample of the artifact.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Size of the batch: the rows that are there, repeated.")] = None,
    seconds: Annotated[float, typer.Option(help="To measure for, all together.")] = 3.0,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Time calls of an artifact: percentiles, evaluations of the field, and how far they are from the floor.

    The floor is the same model with each solve replaced by a straight chain of as many evaluations of its field, in
    one graph. It needs the package onnx-ir; the torch model, --against, needs odelet[export].
    """
    report = bench_artifact(
        path,
        source=source,
        batch=batch,
        against=against,
        weights=weights,
        seconds=seconds,
        device=device,
        threads=threads,
    )
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.summary())


@app.command()
def plot(
    path: Folder,
    source: Annotated[Path, typer.Option("--input", help=".npz by input name; .npy or .csv for one input.")],
    target: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Picture: .png, .svg or .pdf.")],
    solve: Annotated[int, typer.Option(help="Which solve, by its index in the card.")] = 0,
    sample: Annotated[int, typer.Option(help="Which sample of the batch.")] = 0,
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance, in place of the artifact's.")] = None,
    atol: Annotated[float | None, typer.Option(help="Absolute tolerance, in place of the artifact's.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Limit of attempted steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise that the model takes and the file lacks.")] = None,
    threads: Threads = None,
) -> None:
    """Draw a solve: the state, the steps it tried, and the error of each; of an artifact in the form driven.

    The steps of the other forms are inside the graph, where nobody sees them.
    """
    from odelet.commands.plot import check_picture, draw, record, write_picture

    check_picture(target)
    model = load(path, threads=threads)
    inputs = read_inputs(source, model.card)
    settings: dict[str, Any] = {"rtol": rtol, "atol": atol, "max_steps": max_steps}
    recording = record(model, inputs, solve=solve, sample=sample, seed=seed, **settings)
    write_picture(target, draw(recording))
    typer.echo(f"{recording.title}\nwrote {target}")


@app.command()
def info(path: Folder, as_json: Json = False) -> None:
    """Show what an artifact says about itself, after checking its files."""
    card = check(path).card
    typer.echo(card.to_json() if as_json else card.summary())


def _run_text(solution: Solution, *, as_json: bool) -> str:
    shapes = {name: list(array.shape) for name, array in solution.outputs.items()}
    stats = solution.stats.to_dict()
    if as_json:
        return json.dumps({"status": solution.status.name, "outputs": shapes, "stats": stats}, indent=2)
    known = [f"{key} {value}" for key, value in stats.items() if key != "solves" and value is not None]
    lines = [f"{name} {shape}" for name, shape in shapes.items()]
    return "\n".join([*lines, ", ".join(known), f"status {solution.status.name}"])


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
    """A command that says why it is not there; the other commands, and --help, still work."""

    def missing() -> None:
        raise OdeletError(message)

    missing.__doc__ = message
    return missing


def _advice(command: EntryPoint, error: ImportError) -> str:
    package = command.value.split(":")[0].split(".")[0]
    wanted = f'"odelet[{EXTRAS[package]}]"' if package in EXTRAS else package
    return f"{command.name}: {error}; install what this command needs with: pip install {wanted}"


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    With 0 for ok, 1 unexpected, 2 bad input or artifact, 3 a comparison that failed, 4 a solve that failed.
    """
    args = sys.argv[1:] if args is None else args
    raise SystemExit(_main(args or ["--help"]))


def _main(args: list[str]) -> int:
    own = {"run", "verify", "bench", "info", "plot", "--version"}
    # An extension may take long to import; the commands that run on a device must not wait for one.
    commands = [] if args[0] in own else list(entry_points(group=GROUP))
    add_commands(app, commands)
    try:
        code = app(args, prog_name="odelet", standalone_mode=False)
    except OdeletError as error:
        return _fail(str(error), error.exit_code)
    except _UsageError as error:
        format_message: Callable[[], str] = error.format_message  # type: ignore[attr-defined]
        return _fail(f"{format_message()} (try: odelet --help)", 2)
    except ImportError as error:
        for command in commands:
            if command.name == args[0]:
                return _fail(_advice(command, error), 2)
        raise
    except typer.Abort:
        return _fail("stopped", 1)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    typer.echo(f"odelet: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
