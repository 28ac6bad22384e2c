"""What an export may replace: artifacts, and nothing of the user's.

The law here: everything is known before the work of an export begins, and a file that odelet did not write is never
deleted.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from odelet.artifact.folder import CARD_FILE, SAMPLES_FILE
from odelet.errors import InputError
from odelet_export.errors import OutputError, output_errors

WEIGHTS, REPORT_JSON, REPORT_TEXT = "weights.bin", "parity.json", "parity.md"
_FIXED = {CARD_FILE, SAMPLES_FILE, WEIGHTS, REPORT_JSON, REPORT_TEXT}
# For an artifact whose card is damaged, and cannot say its files.
_GRAPH = re.compile(r"(model|segment_\w+|solve_\w+)\.onnx")
# What file managers leave in every folder that they show.
_OF_FILE_MANAGERS = {".DS_Store", "Thumbs.db", "desktop.ini"}
_SHOWN = 3


def place_of(out: Path, *, marker: str = CARD_FILE) -> Path:
    """Where the artifact's folder will really be: `out` itself, or what it links to.

    marker: the file by which such a folder is known, and which lists the others. Raises InputError unless nothing is
    there but an artifact or an empty folder, and OutputError for a name or a folder that the file system refuses.
    """
    if out.name in ("", ".", ".."):
        raise InputError(f"out={str(out)!r}: give the artifact a folder of its own, such as {str(out / 'artifact')!r}")
    place = _followed(out)
    check_replaceable(place, out, marker=marker)
    return place


def place_aside(failed: Path, *, marker: str = CARD_FILE) -> Path:
    """Where the folder of an artifact whose answers differ will be.

    Raises InputError unless nothing is there but an earlier one or an empty folder, and OutputError.
    """
    place = _followed(failed)
    if not _names(place, failed):
        return place
    if not any(_says_failed(place / name) for name in (marker, REPORT_JSON)):
        raise InputError(
            f"{str(failed)!r} exists, and the artifact would be put there if its answers differed from torch's; it is "
            "not such an artifact of an earlier export, so it is not replaced: move it away, or choose another out"
        )
    _check_own(place, failed, marker)
    return place


def check_replaceable(place: Path, out: Path, *, marker: str = CARD_FILE) -> None:
    """Raise InputError unless nothing is at `place` but an artifact or an empty folder. out: its name in messages."""
    names = _names(place, out)
    if names and not (place / marker).is_file():
        kind = "an artifact" if marker == CARD_FILE else "the folder of a build"
        raise InputError(f"out={str(out)!r} exists and is not {kind}; choose another folder or remove it")
    _check_own(place, out, marker)


def _followed(out: Path) -> Path:
    """The place of a folder; a link is followed, and the folder of the process may change afterwards."""
    with output_errors(out):
        try:
            os.stat(out)  # refuses links in a circle, and names that the file system does not take
        except FileNotFoundError:
            pass
        except ValueError as error:  # a null byte, or a character that no name on this system can have
            raise OutputError(f"{str(out)!r}: it cannot be the name of a folder ({error})") from None
        place = Path(os.path.realpath(out)) if out.is_symlink() else out.absolute()
    if os.path.ismount(place):
        raise InputError(
            f"out={str(out)!r} is a mounted disk, which cannot be replaced as a whole; give the artifact a folder in "
            f"it, such as {str(out / 'artifact')!r}"
        )
    if place.is_dir() and not os.access(place, os.W_OK):
        raise OutputError(f"{out}: it cannot be written (it is a folder without permission to write)")
    return place


def _names(place: Path, out: Path) -> list[str]:
    """The names in a folder, none where there is no folder. Raises InputError for a file."""
    with output_errors(out):
        try:
            return sorted(os.listdir(place))
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            raise InputError(
                f"out={str(out)!r} is a file, and a folder is to be written; choose another name or remove it"
            ) from None


def _check_own(place: Path, out: Path, marker: str) -> None:
    """Raise InputError where a folder holds anything besides the files of an artifact, or of a build."""
    card = _object(place / marker)
    listed, made = card.get("files"), card.get("made")
    own = {marker} | (_FIXED if marker == CARD_FILE else set()) | (set(listed) if isinstance(listed, dict) else set())
    own |= set(made) if marker != CARD_FILE and isinstance(made, list) else set()
    others = _others(place, own, marker, names=_names(place, out))
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise InputError(
            f"out={str(out)!r} holds {', '.join(map(repr, others[:_SHOWN]))}{more} besides the files of an artifact, "
            "and an export replaces the whole folder; move what is yours away, or choose another folder"
        )


def _others(place: Path, own: set[str], marker: str, *, names: list[str], inside: str = "") -> list[str]:
    """What a folder holds besides its own files. inside: the folder of a build whose names these are, with a slash."""
    others = []
    for name in names:
        path, whole = place / name, inside + name
        if name in _OF_FILE_MANAGERS or (_is_own(whole, own, marker) and _is_file(path)):
            continue
        below = any(one.startswith(f"{whole}/") for one in own) and path.is_dir() and not path.is_symlink()
        if below:
            others += _others(path, own, marker, names=sorted(os.listdir(path)), inside=f"{whole}/")
        else:
            others.append(whole)
    return others


def _is_own(name: str, own: set[str], marker: str) -> bool:
    return name in own or (marker == CARD_FILE and _GRAPH.fullmatch(name) is not None)


def _is_file(path: Path) -> bool:
    """Whether it is a plain file or a link, and no folder that could hold more."""
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _says_failed(path: Path) -> bool:
    """Whether a card or a report says that the answers differ from torch's."""
    data = _object(path)
    parity = data.get("parity", data)
    return isinstance(parity, dict) and parity.get("passed") is False


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none, or one that cannot be read."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
