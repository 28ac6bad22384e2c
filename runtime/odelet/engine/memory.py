"""A cap on the memory of the graphs of one model.

The law here: ONNX Runtime knows allocators of the whole process only. One is registered while a model's sessions are
opened, which keep it, and is replaced before the lock is left.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime as ort

from odelet.artifact.operators import UNCOUNTED
from odelet.artifact.proto import scan
from odelet.errors import InputError, MemoryLimitError
from odelet.numerics.backend import NumpyArray

SMALLEST = 2**20

# ONNX Runtime 1.22 and older refuse to register a second allocator.
_NEEDS = (1, 23)
_REGISTERING = Lock()
# ONNX Runtime tells this failure by its text only: the first is the cap's, the second the system's.
_NO_MEMORY = re.compile(r"Available memory of \d+ is smaller than requested bytes of (\d+)|Failed to allocate memory")


def check_memory(memory: int | None, device: str) -> None:
    """Raise InputError unless the graphs of a model on this device can have this cap, in bytes; None is none."""
    if memory is None:
        return
    if isinstance(memory, bool) or not isinstance(memory, int) or not SMALLEST <= memory <= sys.maxsize:
        raise InputError(f"memory={memory!r} must be a whole number of bytes, from {SMALLEST:,} (1 MiB)")
    if device != "cpu":
        raise InputError(f"memory={memory}: only memory of the CPU can be capped; leave it out for device={device!r}")
    if tuple(int(number) for number in ort.__version__.split(".")[:2]) < _NEEDS:
        raise InputError(
            f"memory={memory}: onnxruntime {ort.__version__} cannot cap the memory of one model; upgrade it to "
            f"{'.'.join(map(str, _NEEDS))} or newer"
        )


def check_counted(name: str, graph: bytes, memory: int) -> None:
    """Raise MemoryLimitError for a graph with an operator whose memory a cap does not reach. name: of its file."""
    used = {operator for _, operator in scan(graph, name=name).operators} & set(UNCOUNTED)
    if used:
        raise MemoryLimitError(
            f"{name}: it uses {', '.join(sorted(used))}, for which ONNX Runtime takes memory that memory={memory} "
            "does not bound; load it without memory, if you trust it",
            memory,
        )


@contextmanager
def registered(memory: int | None) -> Iterator[None]:
    """Have the sessions that are opened in the block with `cap_options` share so many bytes of memory; None for any."""
    if memory is None:
        yield
        return
    with _REGISTERING:
        # Growing by what is asked for (1), and not by powers of two, leaves no part of the cap unused.
        _register(ort.OrtArenaCfg({"max_mem": memory, "arena_extend_strategy": 1}))
        try:
            yield
        finally:
            # So that no other session of the process takes the capped one, and its memory goes with the model.
            _register(None)


def _register(arena: ort.OrtArenaCfg | None) -> None:
    """Register the allocator of CPU memory that sessions may share. arena: its limits, None for none."""
    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(kind, arena)


def cap_options(options: ort.SessionOptions) -> None:
    """Make the session of these options take the registered memory."""
    options.add_session_config_entry("session.use_env_allocators", "1")
    # A pattern of an earlier call holds memory that a call with other sizes inside does not use.
    options.enable_mem_pattern = False
    # ONNX Runtime logs each failure in red before it raises it, and a failure may only mean that memory is in pieces.
    options.log_severity_level = 4


# Folding constants takes memory outside the cap, 64 MiB for each of any number of nodes.
UNCAPPED_OPTIMIZERS = ("ConstantFolding",)


def out_of_memory(error: Exception) -> bool:
    """Whether an error of ONNX Runtime says that memory did not suffice."""
    return _NO_MEMORY.search(str(error)) is not None


class CappedSession:
    """A session whose memory has a cap; what it does not have itself is the session's. name: of its graph."""

    def __init__(self, session: ort.InferenceSession, memory: int, name: str) -> None:
        self._session, self._memory, self._name = session, memory, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(
        self, names: Sequence[str], feeds: dict[str, NumpyArray], options: ort.RunOptions | None = None
    ) -> list[NumpyArray]:
        """Return copies of the outputs, which do not count for the cap. Raises MemoryLimitError."""
        outputs: list[NumpyArray] = self._within(lambda options: self._session.run(names, feeds, options), options)
        return [np.array(output) for output in outputs]

    def run_with_iobinding(self, binding: ort.IOBinding, options: ort.RunOptions | None = None) -> None:
        """Run on bound memory. Raises MemoryLimitError."""
        self._within(lambda options: self._session.run_with_iobinding(binding, options), options)

    def _within(self, run: Callable[[ort.RunOptions | None], Any], options: ort.RunOptions | None) -> Any:
        failures = 0
        while True:
            try:
                return run(options)
            except Exception as error:  # ONNX Runtime's exceptions share no base class
                short = _NO_MEMORY.search(str(error))
                if short is None:
                    raise
                failures += 1
                if failures == 3 or int(short[1] or 0) > self._memory:
                    raise MemoryLimitError(
                        f"{self._name}: these inputs, and the calls that run beside this one, need more than "
                        f"memory={self._memory} bytes; give it smaller inputs, or allow more",
                        self._memory,
                    ) from None
            if failures == 1:
                # What earlier calls left can be in pieces that are too small for this one. A run with this option gives
                # all that is not in use back when it ends, also when it fails; so the third run finds it in one piece.
                options = options or ort.RunOptions()
                options.log_severity_level = 4
                options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
