"""The command `odelet train`. Torch is imported when the command runs, not when commands are listed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer


def train_command(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="MODULE:CLASS or FILE.py:CLASS of a network, or a family or member of the zoo."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="NPZ|MODULE:FUNCTION", help="Arrays with a row for each sample; inputs, then targets."),
    ] = None,
    loss: Annotated[
        str | None, typer.Option(metavar="LOSS", help="mse, cross_entropy, nll, or MODULE:FUNCTION.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the rows to test on, where the data do not say which.")
    ] = 0.2,
    kinetic: Annotated[float | None, typer.Option(help="Weight of the kinetic energy of each solve.")] = None,
    jacobian: Annotated[float | None, typer.Option(help="Weight of the Jacobian of each field.")] = None,
    second: Annotated[float | None, typer.Option(help="Weight of the second derivative of each solution.")] = None,
    steer: Annotated[
        float | None, typer.Option(help="Share of the last interval by which end times move at random.")
    ] = None,
    adjoint: Annotated[
        bool, typer.Option("--adjoint", help="Compute gradients by solving backward, in constant memory.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples in each step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the one-cycle schedule of AdamW.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Decay of the weights, of AdamW.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradient of a step.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices; the same seed gives the same weights.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("models-out"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last finished epoch of an interrupted run in this folder.")
    ] = False,
    export: Annotated[
        str | None,
        typer.Option(metavar="SETTINGS", help="Export the trained network, as in --export 'form=driven rtol=1e-5'."),
    ] = None,
) -> None:
    """Train a network, and write its weights and their card; with --export also an artifact, with parity.

    TARGET is a class or function that builds a torch.nn.Module without arguments; its code is run. Or TARGET is a
    family or a member of the zoo, which has data, a loss and settings of its own.

    \b
      odelet train odenet --kinetic 0.1 --export ""
      odelet train net.py:Net --data digits.npz --loss cross_entropy --kinetic 0.1 --export "form=driven"

    An .npz has an array for each argument of the network's forward, by name, and then the targets; arrays with the
    prefix test_ are the test part. A FUNCTION for --data returns such a dict, or a tuple of arrays in this order. A
    FUNCTION for --loss is called as loss(network, *arrays of a batch). mse and cross_entropy compare the network's
    output with the last array; nll takes the network's output as log-densities.

    --kinetic, --jacobian and --second make solves cheaper on the device (docs/training.md).
    """
    try:
        if export is not None:
            from odelet_export.commands.running import switch_off_script

            switch_off_script()  # before torch is imported
        from odelet_train.commands import train
    except ModuleNotFoundError as error:
        _stop(f"training needs {error.name}; install it with: pip install 'odelet[train,export]'")
    given: dict[str, Any] = {
        "kinetic": kinetic,
        "jacobian": jacobian,
        "second": second,
        "steer": steer,
        "adjoint": adjoint or None,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "clip": clip,
        "seed": seed,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        lines = train(
            target,
            out,
            data=data,
            loss=loss,
            held_out=held_out,
            changes=changes,
            resume=resume,
            export=export,
            progress=sys.stderr.isatty(),
        )
    except (OSError, ValueError) as error:
        _stop(str(error))
    for line in lines:
        typer.echo(line)


def _stop(reason: str) -> NoReturn:
    typer.echo(f"error: {reason}", err=True)
    raise typer.Exit(2)
