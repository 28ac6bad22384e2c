"""The options of the exporter's command lines. Options for settings are made from the settings' fields, so that each
is written once.

No torch, so that the command line lists its commands, and each command its options, without it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, TypeVar, get_args, get_origin

import typer

from odelet_export.pipeline.keywords import Keyword, keywords_of

Command = TypeVar("Command", bound=Callable[..., None])

Model = Annotated[
    str, typer.Argument(metavar="FILE.py:NAME", help="The model; for an installed one, package.module:NAME.")
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", "-w", metavar="FILE", help="Weights of the model: a .safetensors, .pt or .pth file."),
]
MetricPlace = Annotated[
    str | None, typer.Option("--metric", metavar="FILE.py:FUNCTION", help="A function that measures the outputs.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

# The types of settings that the command line takes as a file; the command reads the file.
_FILES = {"calibration": "NPZ", "data": "NPZ"}
_METAVARS = {"freeze": "INPUT", **_FILES}


def takes_settings(
    kind: type, *, called: Mapping[str, str] | None = None, without: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Make a command with `**settings` take an option for each keyword of a class of settings.

    The command then gets all keywords, as the user gave them or with their defaults. called: the names of options that
    differ from their keywords, by keyword. without: the keywords that become no options.
    """
    names = called or {}

    def with_options(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        parameters = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [
            _parameter(name, keyword, names.get(name, name))
            for name, keyword in keywords_of(kind).items()
            if name not in without
        ]
        # Typer reads the signature.
        command.__signature__ = signature.replace(parameters=[*parameters, *options])  # type: ignore[attr-defined]  # of any function
        return command

    return with_options


def _parameter(name: str, keyword: Keyword, called: str) -> inspect.Parameter:
    """The option of a keyword, as a parameter of a command."""
    kind, default = keyword.kind, keyword.default
    metavar = _METAVARS.get(name)
    if get_origin(kind) is tuple:  # a tuple of any length becomes an option that may be repeated
        of = get_args(kind)[0]
        default, metavar = [], metavar or f"<{of.__name__}>"
        kind = list[of]  # type: ignore[valid-type]  # the type is only known at run time
    elif name in _FILES:
        kind = Path | None
    flag = called.replace("_", "-")
    option = typer.Option(
        f"--{flag}/--no-{flag}" if default is True else f"--{flag}",
        metavar=metavar,
        help=keyword.help,
        show_default=default is not None and default is not False and default != [],
    )
    required = inspect.Parameter.empty
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=required if default is MISSING else default,
        annotation=Annotated[kind, option],
    )
