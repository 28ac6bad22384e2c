"""The library of an artifact in `odelet bench`.

The law here: a library is code, and is loaded only where the caller asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from odelet.artifact.folder import check
from odelet.artifact.native_card import NATIVE_FILE
from odelet.artifact.samples import OutputCheck, compare
from odelet.engine.opening import NATIVE, ONNX_RUNTIME
from odelet.engine.user_cache import library_folder
from odelet.errors import InputError
from odelet.model.loading import load
from odelet.model.model import Model
from odelet.model.settings import AS_EXPORTED
from odelet.numerics.backend import NumpyArray


def library_of(
    path: str | os.PathLike[str], engine: str, library: str | os.PathLike[str] | None, *, device: str
) -> Model | str:
    """The model of an artifact as its library runs it, or a sentence about why the library is not timed.

    engine, library, device: as for `odelet.load`. Raises InputError for an engine that is not there and for a device
    that a library does not run on, ArtifactError where there is no library.
    """
    if engine != ONNX_RUNTIME or library is not None:
        # The other engine is always timed; a library is one more.
        return load(path, device=device, engine=engine, library=library)
    checked = check(path)
    if checked.folder is None:
        return "a lone graph has no library"
    if not (library_folder(checked.origin.digest) / NATIVE_FILE).is_file():
        return f"no library was built from it on this machine (odelet build {path} --target {NATIVE})"
    return f"a library was built from it on this machine; time it, too, with --engine {NATIVE}"


def native_call(
    model: Model, values: Mapping[str, NumpyArray], outputs: Mapping[str, NumpyArray]
) -> tuple[Callable[[], object], list[OutputCheck]]:
    """A call of a library without arguments, and how its outputs differ from those of ONNX Runtime.

    values: arrays by input. outputs: of ONNX Runtime, by name. Raises InputError where the inputs have other shapes
    than the library takes, and SolveError where a solve fails.
    """
    try:
        solution = model.solve_with(AS_EXPORTED, (), dict(values))
    except InputError as error:
        raise InputError(f"engine={NATIVE!r}: {error}") from None
    solution.raise_if_failed()
    checks = [compare(0, name, solution.outputs[name], x, allowed=float("inf")) for name, x in outputs.items()]
    return lambda: model(*values.values()), checks
