"""The command `odelet train`. Torch is imported when the command runs, not when commands are listed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer


def train_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A family of the zoo, or a member of one.")],
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training data; by default the member's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices; the same seed gives the same weights.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the weights and their card to.")] = Path(
        "models-out"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last finished epoch of an interrupted run in this folder.")
    ] = False,
) -> None:
    """Train a member of the zoo, and write its weights and their card."""
    try:
        from odelet_train.zoo import train_member
    except ModuleNotFoundError as error:
        _stop(f"training needs {error.name}; install it with: pip install 'odelet[train]'")
    changes = {"seed": seed} | ({} if epochs is None else {"epochs": epochs})
    try:
        card = train_member(name, out, changes=changes, resume=resume, progress=sys.stderr.isatty())
    except (OSError, ValueError) as error:
        _stop(str(error))
    typer.echo(f"{card.metric} {card.score:.4g} on {card.data['test']} test samples; wrote {out / card.weights}")


def _stop(reason: str) -> NoReturn:
    typer.echo(f"error: {reason}", err=True)
    raise typer.Exit(2)
