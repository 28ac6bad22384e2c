"""The `odelet train` commands. Torch is imported when a command runs, not when the commands are listed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(no_args_is_help=True, help="Train a model that is worth exporting.")


@app.callback()
def _train() -> None:
    """Train a model that is worth exporting."""


@app.command("odenet-digits")
def odenet_digits(
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of all random choices; the same seed gives the same weights.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the weights and their card to.")] = Path(
        "models-out"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last finished epoch of an interrupted run in this folder.")
    ] = False,
) -> None:
    """Train the ODENet on 8 x 8 digits, and write its weights and their card."""
    try:
        from odelet_train.fit import Settings, train_odenet_digits
    except ModuleNotFoundError as error:
        _stop(f"training needs {error.name}; install it with: pip install 'odelet[train]'")
    try:
        settings = Settings(epochs=epochs, seed=seed)
        card = train_odenet_digits(out, settings=settings, resume=resume, progress=sys.stderr.isatty())
    except (OSError, ValueError) as error:
        _stop(str(error))
    typer.echo(f"test accuracy {card.test_accuracy:.2%} on {card.split['test']} digits; wrote {out / card.weights}")


def _stop(reason: str) -> NoReturn:
    typer.echo(f"error: {reason}", err=True)
    raise typer.Exit(2)
