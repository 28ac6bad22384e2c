"""The hidden folder in which an export works, beside the place of the artifact.

The law here: such a folder is removed by its export, or by the next export to the same place once its export is dead.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from odelet_export.targets.exchange import bring_back

try:
    import fcntl
except ImportError:  # not on Windows, where leftovers therefore stay
    fcntl = None  # type: ignore[assignment]  # Windows has no such module

_LOCK = "lock"
# Longer names would make the name of the hidden folder longer than file systems take.
_LONGEST = 200


@contextmanager
def workplace(place: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside `place`, on the same file system, after removing those of killed exports.

    Raises OSError where it cannot be made.
    """
    remove_leftovers(place)
    box, lock = _new_box(place)
    try:
        yield box
    finally:
        _remove(place, box)
        os.close(lock)


def remove_leftovers(place: Path) -> None:
    """Remove the hidden folders of killed exports to `place`. The folder of an export that still runs stays."""
    own_name = re.compile(re.escape(_prefix(place)) + "[a-z0-9_]{8}")
    try:
        names = os.listdir(place.parent)
    except PermissionError:  # a folder may be written and not listed
        return
    for name in names:
        box = place.with_name(name)
        if own_name.fullmatch(name) and box.is_dir() and not box.is_symlink():
            with suppress(OSError):  # it is held, of another user, or gone
                lock = _hold(box)
                try:
                    _remove(place, box)
                finally:
                    os.close(lock)


def _prefix(place: Path) -> str:
    name = place.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".odelet-{name}."


def _new_box(place: Path) -> tuple[Path, int]:
    """A new hidden folder, and its lock as an open file."""
    while True:
        box = Path(tempfile.mkdtemp(prefix=_prefix(place), dir=place.parent))
        try:
            return box, _hold(box, needed=False)
        except (FileNotFoundError, BlockingIOError):
            continue  # another export took it for a leftover before it was held
        except BaseException:
            shutil.rmtree(box, ignore_errors=True)
            raise


def _hold(box: Path, *, needed: bool = True) -> int:
    """Take the lock of a hidden folder, which ends with the process; returns the open file.

    needed: whether it is an error where the file system has no locks. Raises BlockingIOError where another process
    holds it, FileNotFoundError where the folder was removed meanwhile.
    """
    path = box / _LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            if fcntl is None:
                raise OSError("this system has no locks")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            if needed:
                raise
        if not os.path.samestat(os.fstat(lock), path.stat()):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _remove(place: Path, box: Path) -> None:
    """Remove a hidden folder, after an old artifact that lost its name to an interrupted export has it again."""
    try:
        bring_back(place, box)
    except OSError:
        return  # the box holds the only copy; the next export tries again
    shutil.rmtree(box, ignore_errors=True)
