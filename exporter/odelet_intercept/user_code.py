"""Finds the line of the user's own code: in the running stack, in an error, or in a stack trace as text.

Every message that names a line of the model's code gets it from here.
"""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sys
import traceback
import types
from collections.abc import Iterable, Iterator
from importlib.util import find_spec

from odelet_intercept.libraries import LIBRARIES
from odelet_intercept.solver_library import FOLDER

Place = tuple[str, int]  # a file and a line

# Packages that run a model, solve it or translate it, and are never the model. The packages of LIBRARIES are added.
_OWN = ("odelet", "odelet_intercept", "odelet_export", "odelet_train")
_PACKAGES = ("torch", "onnx", "onnxscript", "onnx_ir", *_OWN)
_EXPORT = os.path.join("odelet_export", "pipeline", "export.py")
_STANDARD_LIBRARY = os.path.dirname(os.path.abspath(inspect.__file__)) + os.sep
_TRACED_FROM = re.compile(r'File "([^"]+)", line (\d+)')


def _folders(packages: Iterable[str]) -> Iterator[str]:
    """The folders of the packages that are installed, each with a separator at its end."""
    for name in packages:
        spec = find_spec(name)
        if spec is not None:
            yield from (os.path.abspath(folder) + os.sep for folder in spec.submodule_search_locations or ())


_FOLDERS = (FOLDER + os.sep, *_folders((*_PACKAGES, *(library.package for library in LIBRARIES.values()))))
_OWN_FOLDERS = tuple(_folders(_OWN))


def is_library(file: str) -> bool:
    """Whether a file belongs to torch, a solver library, the standard library or odelet."""
    standard = file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file
    return file.startswith("<") or standard or file.startswith(_FOLDERS)


def user_frame() -> Place:
    """The file and line of the innermost frame of the running stack that is the user's own code.

    The place is ("<unknown>", 0) where there is no such frame. The code that calls an export is not the model's.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.endswith(_EXPORT):
        if not is_library(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "<unknown>", 0


def place_of_error(error: BaseException, *, causes: bool = True) -> Place | None:
    """The innermost line of the user's own code that an error passed through; None where it passed through none.

    The place of a SyntaxError is the one that it names. causes: whether to look into the causes of the error first, as
    a tracer wraps the errors that the user's code raises.
    """
    if isinstance(error, SyntaxError) and error.filename is not None:
        return error.filename, error.lineno or 0
    for link in reversed(list(chain_of(error))) if causes else [error]:
        frames = traceback.extract_tb(link.__traceback__)
        place = _innermost((frame.filename, frame.lineno) for frame in frames if frame.lineno is not None)
        if place is not None:
            return place
    return None


def raised_by_odelet(error: BaseException) -> Place | None:
    """The place in odelet's own code whose fault an error is, or the error that it came of; None for any other.

    Torch raises errors of other classes through odelet's code, for what the model does.
    """
    first = [*chain_of(error)][-1]
    frames = traceback.extract_tb(first.__traceback__)
    own = isinstance(first, (AssertionError, KeyError)) and frames and frames[-1].filename.startswith(_OWN_FOLDERS)
    if not own:
        return None
    return frames[-1].filename, frames[-1].lineno or 0


def place_in_trace(trace: str | None) -> Place | None:
    """The innermost line of the user's own code in a stack trace that torch keeps with a node, as text."""
    return _innermost((file, int(line)) for file, line in _TRACED_FROM.findall(trace or ""))


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its cause, the cause of its cause, and so on; in a circle of causes each error comes once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def with_source(place: Place | None) -> str:
    """The file, line and source text of a place in the model's code, for a message."""
    if place is None or not place[1]:
        return "the model (no line of it is known)"
    source = source_text(place)
    return f'File "{place[0]}", line {place[1]}' + (f"\n    {source}" if source else "")


def source_text(place: Place) -> str:
    """The text of a line; empty where it cannot be read."""
    return linecache.getline(*place).strip()


def short(place: Place | None) -> str:
    """A file without its folder, and a line: `model.py:7`. The text is empty for None."""
    return "" if place is None else f"{os.path.basename(place[0])}:{place[1]}"


def as_typed(place: Place) -> str:
    """A file as the user would type it, and a line: `models/model.py, line 7`.

    The path is relative to the working directory for a file below it, and absolute for any other.
    """
    file, line = place
    relative = os.path.relpath(file)
    return f"{file if relative.startswith(os.pardir) else relative}, line {line}"


def _innermost(places: Iterable[Place]) -> Place | None:
    """The last place in the user's code. A place in an installed package counts only where there is no other."""
    candidates = [place for place in places if not is_library(place[0])]
    preferred = [place for place in candidates if "site-packages" not in place[0]] or candidates
    return preferred[-1] if preferred else None
