"""Putting a finished folder in its place: an artifact that is there before is replaced by one atomic exchange.

The law here: at each moment the old artifact or the new one can be found, under its name or in the box of the export.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

# The functions of the C library that exchange two names in one step, and the flag that asks for it.
_EXCHANGES = {"linux": ("renameat2", 2), "darwin": ("renamex_np", 2)}
# What a kernel, a container or a file system answers that has no exchange.
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}
# Another export made or removed the place between the look and the rename.
_CHANGED = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY}
_AT_FDCWD = -100
_TRIES = 10
_BEFORE = "before"


def put_in_place(folder: Path, place: Path, box: Path) -> None:
    """Give a finished folder the name `place`. The artifact that had the name lies somewhere in the box afterwards.

    box: the folder of the export that holds `folder`. Raises OSError, and then the old artifact has its name still.
    """
    replaces = os.path.lexists(place)
    if replaces:
        _flush(folder)
    for left in reversed(range(_TRIES)):
        try:
            if not os.path.lexists(place):
                folder.rename(place)
            elif not exchange(folder, place):
                _replace_in_two(folder, place, box)
            break
        except OSError as error:
            if error.errno not in _CHANGED or not left:
                raise
    if replaces:
        _flush_names(place.parent)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one atomic step; returns whether the system can. Raises OSError where it refuses."""
    function = _function()
    if function is None:
        return False
    code = function(os.fsencode(first), os.fsencode(second))
    if code == 0:
        return True
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(second))


@cache
def _function() -> Callable[[bytes, bytes], int] | None:
    """The exchange of this system, which returns 0 or the number of an error; None where there is none."""
    name, flag = _EXCHANGES.get(sys.platform, ("", 0))
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None) if name else None
    if function is None:
        return None
    one = (ctypes.c_int,) if sys.platform == "linux" else ()
    function.argtypes = (*one, ctypes.c_char_p, *one, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    here = (_AT_FDCWD,) if sys.platform == "linux" else ()

    def call(first: bytes, second: bytes) -> int:
        return 0 if function(*here, first, *here, second, flag) == 0 else ctypes.get_errno()

    return call


def _replace_in_two(folder: Path, place: Path, box: Path) -> None:
    try:
        place.rename(box / _BEFORE)
        folder.rename(place)
    except BaseException:
        bring_back(place, box)
        raise


def bring_back(place: Path, box: Path) -> None:
    """Give the old artifact its name again, where an export ended between two renames."""
    before = box / _BEFORE
    if before.exists() and not os.path.lexists(place):
        before.rename(place)


def _flush(folder: Path) -> None:
    """Have the files of a folder written to the disk, so that losing power does not leave empty ones."""
    for path in [*folder.iterdir(), folder]:
        _flush_names(path)


def _flush_names(path: Path) -> None:
    if sys.platform == "win32":  # it opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems do not flush folders
            raise
    finally:
        os.close(descriptor)
