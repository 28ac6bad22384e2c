"""What odelet keeps for later processes, in the cache of this user: libraries of native code, and measured choices.

The law here: all of it can be made again. What cannot be read or written, or is not what was asked for, is as if it
were not there; and a file is put in its place whole, so that two processes do not disturb each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from odelet.artifact.decode import Json

# What a damaged file and a place that cannot be used raise; RuntimeError is of a user without a home.
_UNUSABLE = (OSError, ValueError, RuntimeError)


def cache_root() -> Path:
    """The folder of this user's cache for odelet."""
    if sys.platform == "win32":
        place = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        place = Path.home() / "Library" / "Caches"
    else:
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return place / "odelet"


def library_folder(digest: str) -> Path:
    """The place of the native library of an artifact. digest: of the artifact, as in its `Origin`."""
    return cache_root() / "native" / f"{digest[:32]}-{processor()}"


def remembered(kind: str, key: Mapping[str, Json]) -> Json:
    """What was kept under a key; None where there is nothing. kind: a folder of the cache, such as "threads"."""
    try:
        found = json.loads(_file(kind, key).read_text(encoding="utf-8"))
    except _UNUSABLE:
        return None
    return found.get("value") if isinstance(found, dict) and found.get("key") == dict(key) else None


def remember(kind: str, key: Mapping[str, Json], value: Json) -> None:
    """Keep a value under a key for later processes, where the cache can be written."""
    with suppress(*_UNUSABLE):
        target = _file(kind, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"key": dict(key), "value": value}, file)
            os.replace(name, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise


def _file(kind: str, key: Mapping[str, Json]) -> Path:
    return cache_root() / kind / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.json"


def cores() -> int:
    """The number of processor cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


@cache
def processor() -> str:
    """The kind of processor of this machine, with a digest of the instructions that it has: a library may use all that
    the machine has on which it was compiled, and a folder of a user may be shared by several machines."""
    kind = f"{platform.system()} {platform.processor()}"
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.partition(":")[0].strip() in ("flags", "Features"):
                kind = " ".join(sorted(line.partition(":")[2].split()))
                break
    return f"{platform.machine().lower()}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}"
