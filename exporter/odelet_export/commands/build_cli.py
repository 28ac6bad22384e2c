"""The `odelet build` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from odelet_export.commands.options import Json


def build_command(
    artifact: Annotated[Path, Argument(metavar="ARTIFACT", help="The folder that `odelet export` wrote.")],
    target: Annotated[
        str, Option("--target", "-t", metavar="TARGET", help="What to build: c, native, web, ort or triton.")
    ] = "c",
    out: Annotated[
        Path | None,
        Option("--out", "-o", metavar="DIR", help="Folder to write; an earlier build is replaced. native has its own."),
    ] = None,
    name: Annotated[
        str | None, Option(metavar="NAME", help="Name of functions, files and folders; by default that of the model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the files of a target from an artifact, and test them on the artifact's samples.

    The target c is plain C99 for any compiler and any device: one function that solves, in memory that the caller
    gives. It takes artifacts whose arrays have fixed sizes, as `odelet export --profile c` writes them.

    The target native is a library for this machine, in a cache of this user; `odelet.load(..., engine="native")` calls
    it in place of ONNX Runtime.

    The target web is an artifact for ONNX Runtime in JavaScript, in a browser or in Node: without float64, and with
    settings that the host has to feed (settings.json has their defaults). ort is a file in ONNX Runtime's format .ort.
    triton is a model repository of NVIDIA's Triton server. They take artifacts of any profile that fit; those that
    `odelet export --profile web` writes fit web.

    The test of c and native is compiled and run where a C compiler is found; CC in the environment names another one.

    Exits with 2 for what the target cannot have, with 3 when the answers differ from the artifact's samples; the
    build is then left in DIR.failed.
    """
    from odelet_export.commands.build_command import perform, show

    show(perform(artifact, target, out, name), as_json=as_json)
