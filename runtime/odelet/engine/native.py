"""Libraries that were built from an artifact, which take the place of its graphs.

The law here: a library is code, and an artifact stays data. A library is loaded only where the caller asks for it: from
the folder that the caller names, or from the cache of this user; and only for the artifact that it was built from.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Mapping
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from odelet.artifact.card import Card
from odelet.artifact.native_card import NATIVE_FILE, NATIVE_SETTINGS, NativeCard, read_native
from odelet.artifact.origin import Origin
from odelet.engine.failures import blamed
from odelet.engine.user_cache import library_folder, processor
from odelet.errors import ArtifactError, AssumptionError, InputError
from odelet.numerics.backend import NumpyArray

# What the code says that a library has for it.
OUTSIDE = "a number chooses a row that a table of the model does not have, or divides by zero"
# An arena, and each output after the first, begins at a multiple of this, in bytes.
_ALIGNED = 64


class _Settings(ctypes.Structure):
    """The struct `odelet_settings`."""

    _fields_ = (("rtol", ctypes.c_double), ("atol", ctypes.c_double), ("max_steps", ctypes.c_int64))


class NativeRun:
    """The function of a library, in the place of all graphs of an artifact; safe to call from several threads."""

    def __init__(self, card: Card, native: NativeCard, folder: Path) -> None:
        self._card, self._native = card, native
        try:
            library = ctypes.CDLL(str(folder / native.library))
            self._function = getattr(library, native.function)
        except (OSError, AttributeError) as error:
            raise ArtifactError(f"{folder / native.library}: it cannot be loaded ({error}); build it again") from None
        pointers = len(native.inputs) + len(native.outputs) + 3
        self._function.restype, self._function.argtypes = ctypes.c_int, [ctypes.c_void_p] * pointers
        self._guards = [one for one in card.assumptions if one.output]
        self._memory = local()
        self._inputs = [tensor.name for tensor in native.inputs]
        self._outputs: list[tuple[str, tuple[int, ...], np.dtype[Any], int]] = []
        self._bytes = 0
        for tensor in native.outputs:
            shape, dtype = tuple(int(size) for size in tensor.shape), np.dtype(tensor.dtype)
            self._outputs.append((tensor.name, shape, dtype, self._bytes))
            self._bytes += -(-math.prod(shape) * dtype.itemsize // _ALIGNED) * _ALIGNED

    def __call__(self, values: Mapping[str, NumpyArray], settings: Mapping[str, NumpyArray]) -> dict[str, NumpyArray]:
        """Solve. Returns the outputs and what the solves report, by name. Raises AssumptionError, and InputError for a
        setting that the function does not take."""
        inputs = [np.ascontiguousarray(values[name]) for name in self._inputs]
        # Outputs share memory: a call of a small model takes less time than an array and its address for each of them.
        memory = np.empty(self._bytes, np.uint8)
        start = _address(memory)
        chosen = self._chosen(settings) if settings else None
        code = self._function(
            *map(_address, inputs),
            None if chosen is None else ctypes.byref(chosen),
            *[start + offset for *_, offset in self._outputs],
            self._arena(),
            None,
        )
        if code < 0 and -1 - code < len(self._guards):
            guard = self._guards[-1 - code]
            raise AssumptionError(guard.refusal, guard)
        if code < 0:
            whole = [name for name, x in values.items() if x.dtype.kind in "iu"]
            raise InputError(f"these inputs do not suit the model: {OUTSIDE}{blamed(whole, 'holds whole numbers')}")
        return {name: np.ndarray(shape, dtype, memory, offset) for name, shape, dtype, offset in self._outputs}

    def _chosen(self, settings: Mapping[str, NumpyArray]) -> _Settings | None:
        """The settings of a call as the function takes them; None for those of the export."""
        asked = {name: x for name, x in settings.items() if name != "seed"}
        if not asked:
            return None
        own = self._native.settings
        for name, x in asked.items():
            if name not in own or x.ndim:
                what = "takes one number for all parts of the state" if name in own else "does not take it"
                raise InputError(
                    f"{name}={x.tolist()!r} cannot be set: the library of this model {what}; leave it out, or load the "
                    "model with engine='onnxruntime'"
                )
        numbers = {name: own.get(name) for name in NATIVE_SETTINGS} | {name: x.item() for name, x in asked.items()}
        # NaN, and a limit below 0, stand for the values of the export where solves have values of their own.
        rtol, atol = (np.nan if numbers[name] is None else numbers[name] for name in ("rtol", "atol"))
        most = numbers["max_steps"]
        return _Settings(rtol, atol, -1 if most is None else int(most))

    def _arena(self) -> int:
        """The address of memory of this thread that calls work in."""
        if not hasattr(self._memory, "address"):
            self._memory.arena = np.empty(self._native.arena + _ALIGNED, np.uint8)
            self._memory.address = -(-_address(self._memory.arena) // _ALIGNED) * _ALIGNED
        address: int = self._memory.address
        return address


def _address(array: Any) -> int:
    """The address of the first element of an array."""
    if array.flags.writeable and array.size:  # this takes a fifth of the time of the general way below
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    address: int = array.__array_interface__["data"][0]
    return address


def open_library(card: Card, origin: Origin, folder: str | os.PathLike[str] | None) -> NativeRun:
    """The library of an artifact. folder: where it lies; None for this user's cache.

    Raises ArtifactError where there is none, and for one of another artifact, another machine, or other bytes than its
    description says.
    """
    place = library_folder(origin.digest) if folder is None else Path(folder)
    if folder is None and not (place / NATIVE_FILE).is_file():
        raise ArtifactError(
            f"no library was built from {origin.path} on this machine; build it with: odelet build {origin.path} "
            "--target native, or load the model with engine='onnxruntime'"
        )
    native = read_native(place)
    if native.artifact != origin.digest:
        raise ArtifactError(f"{place}: the library was built from another artifact than {origin.path}; build it again")
    if native.machine != processor():
        raise ArtifactError(
            f"{place}: the library was built for {native.machine}, and this machine is {processor()}; build it "
            "here with: odelet build ARTIFACT --target native"
        )
    names = {tensor.name for tensor in native.outputs}
    missing = [t.name for t in card.outputs if t.name not in names]
    missing += [name for solve in card.solves for name in solve.report.values() if name not in names]
    if missing or [t.name for t in native.inputs] != [t.name for t in card.inputs]:
        raise ArtifactError(f"{place}: the library does not have the inputs and outputs of the card; build it again")
    return NativeRun(card, native, place)
