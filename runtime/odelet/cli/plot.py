"""The command `odelet plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from odelet.artifact.array_files import read_inputs
from odelet.cli.options import Atol, Deadline, Folder, Inputs, MaxSteps, Memory, Rtol, Seed, Threads, threads_of
from odelet.cli.progress import solve_paths
from odelet.model.interruption import interruptible
from odelet.model.loading import load
from odelet.model.settings import CallSettings


def plot(
    path: Folder,
    source: Inputs,
    target: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Picture to write: .png, .svg or .pdf.")
    ],
    solve: Annotated[
        int | None, typer.Option(help="Index of the solve to draw, as `odelet info` shows it; the first if left out.")
    ] = None,
    sample: Annotated[int, typer.Option(help="Index of the batch row to draw.")] = 0,
    paths: Annotated[
        int | None,
        typer.Option(help="Draw the quantiles of so many paths over time, each with random numbers of its own."),
    ] = None,
    rtol: Rtol = None,
    atol: Atol = None,
    max_steps: MaxSteps = None,
    deadline: Deadline = None,
    seed: Seed = None,
    threads: Threads = None,
    memory: Memory = None,
) -> None:
    """Draw the state and the steps of a solve in the form driven, or many paths of a model in any form (--paths).

    Without --paths the picture shows the state over time, and the length and the error of each attempted step. In the
    other forms the steps are taken inside the graph, where they cannot be seen. With --paths it shows the median,
    bands between quantiles, and a few of the paths. Drawing needs odelet[plot].
    """
    from odelet.commands.fan import draw_fan, fan_of, fan_output
    from odelet.commands.plot import check_picture, draw, record, write_picture

    check_picture(target)
    model = load(path, threads=threads_of(threads), memory=memory, deadline=deadline)
    settings = CallSettings(rtol=rtol, atol=atol, max_steps=max_steps, deadline=deadline, seed=seed)
    inputs = read_inputs(source, model.card)
    if paths is not None:
        output = fan_output(model.card, solve=solve)
        fan = fan_of(output, solve_paths(model, paths, settings, inputs), inputs, sample=sample)
        title, figure = fan.title, draw_fan(fan)
    else:
        recording = interruptible(lambda: record(model, inputs, settings=settings, solve=solve or 0, sample=sample))
        title, figure = recording.title, draw(recording)
    write_picture(target, figure)
    typer.echo(f"{title}\nwrote {target}")
