"""The bound memory of a step graph.

The law here: between two steps nothing is allocated, and nothing but scalars is copied to Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from itertools import count
from threading import Lock
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from odelet.numerics.backend import NumpyArray

NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
_SCALARS = ("t", "t1", "h")
# What a method remembers from step to step, besides the state y.
MEMORY = tuple(f"memory.{i}" for i in range(6))
# Kept for the next solve: this many sets of buffers of a solve, and none larger than this.
_KEPT_SETS, _KEPT_BYTES = 4, 2**20


class Cell(Protocol):
    """Memory that is bound for one input or output."""

    value: Any

    def read(self) -> NumpyArray:
        """What it holds; valid until it is written again."""

    def write(self, x: Any) -> None:
        """Replace what it holds."""


class HostMemory:
    """A numpy array that ONNX Runtime works on in place, on the CPU."""

    def __init__(self, x: NumpyArray) -> None:
        self._array = np.array(x, order="C").reshape(np.shape(x))
        self.value = ort.OrtValue.ortvalue_from_numpy(self._array)

    def read(self) -> NumpyArray:
        return self._array

    def write(self, x: Any) -> None:
        self._array[...] = x


class DeviceMemory:
    """Memory of a device, which stays where it is: reading and writing copy."""

    def __init__(self, x: NumpyArray, *, device: str) -> None:
        x = np.ascontiguousarray(x).reshape(np.shape(x))
        self._like = x.dtype, x.shape
        self.value = ort.OrtValue.ortvalue_from_shape_and_type(list(x.shape), x.dtype.type, device, 0)
        self.value.update_inplace(x)

    def read(self) -> NumpyArray:
        return np.asarray(self.value.numpy())

    def write(self, x: Any) -> None:
        dtype, shape = self._like
        self.value.update_inplace(np.array(x, dtype, order="C").reshape(shape))


@cache
def memory_of(device: str) -> Callable[[NumpyArray], Cell]:
    """What makes the memory of a device."""
    return HostMemory if device == "cpu" else partial(DeviceMemory, device=device)


class Buffers:
    """The bound memory of a step graph.

    lanes: how many samples have their own times, or None where all have the same. The state ping-pongs between
    two sets of buffers: a step reads one and writes the other, and accepting it only swaps their roles. memory: see
    `memory_of`. A session that captures CUDA graphs captures one for each of the two.
    """

    _captures = count(1)

    def __init__(
        self,
        session: ort.InferenceSession,
        starts: Mapping[str, NumpyArray],
        written: Mapping[str, NumpyArray],
        kept: Mapping[str, NumpyArray],
        memory: Callable[[NumpyArray], Cell],
        *,
        lanes: int | None = None,
    ) -> None:
        self._session = session
        types = {node.name: NUMPY_TYPES.get(node.type) for node in session.get_inputs()}
        shape = () if lanes is None else (lanes,)
        self._scalars = [
            (place, name, memory(np.zeros(shape, types[name]))) for place, name in enumerate(_SCALARS) if name in types
        ]
        # The start is copied: its memory may be the caller's own input, and steps write over it.
        self._states = {name: (memory(x), memory(np.empty_like(x))) for name, x in starts.items()}
        self._written = {name: memory(x) for name, x in written.items()}
        self._kept = {name: memory(x) for name, x in kept.items() if name in types}
        self._bindings = [self._bind(turn, types) for turn in (0, 1)]
        captured = captures(session)
        self._options = [_capture(next(self._captures)) if captured else None for _ in (0, 1)]
        self._turn = 0

    def _bind(self, turn: int, types: Mapping[str, Any]) -> Any:
        binding = self._session.io_binding()
        for name, cell in self._kept.items():
            binding.bind_ortvalue_input(name, cell.value)
        for _, name, cell in self._scalars:
            binding.bind_ortvalue_input(name, cell.value)
        for name, pair in self._states.items():
            if name in types:
                binding.bind_ortvalue_input(name, pair[turn].value)
            binding.bind_ortvalue_output(_after(name), pair[1 - turn].value)
        for name, cell in self._written.items():
            binding.bind_ortvalue_output(name, cell.value)
        return binding

    def begin(self, starts: Mapping[str, NumpyArray], kept: Mapping[str, NumpyArray]) -> None:
        """Begin again, from states and kept values of the same shapes."""
        self._turn = 0
        for name, x in starts.items():
            self._states[name][0].write(x)
        for name, cell in self._kept.items():
            cell.write(kept[name])

    def run(self, *scalars: Any) -> None:
        """Attempt a step at scalars in the order of `_SCALARS`."""
        for place, _, cell in self._scalars:
            cell.write(scalars[place])
        self._session.run_with_iobinding(self._bindings[self._turn], self._options[self._turn])

    def swap(self) -> None:
        """Make what the step wrote the state."""
        self._turn = 1 - self._turn

    def state(self, name: str, *, before: bool = False) -> NumpyArray:
        """The state, or the one before the last swap."""
        return self._states[name][1 - self._turn if before else self._turn].read()

    def pending(self, name: str) -> NumpyArray:
        """What the last step wrote, to be the state after the next swap."""
        return self._states[name][1 - self._turn].read()

    def set_pending(self, name: str, x: NumpyArray) -> None:
        """Replace what the last step wrote."""
        self._states[name][1 - self._turn].write(x)

    def written(self, name: str) -> NumpyArray:
        return self._written[name].read()

    def set(self, name: str, x: NumpyArray) -> None:
        """Replace the state."""
        self._states[name][self._turn].write(x)


class BufferPool:
    """Buffers that wait for the next solve: to make and bind them costs as much as some steps of a small model."""

    def __init__(self) -> None:
        self._idle: list[tuple[Any, Buffers]] = []
        self._lock = Lock()

    @contextmanager
    def maker(self) -> Iterator[Callable[..., Buffers]]:
        """What makes Buffers, for the length of a solve; they must not be used after it."""
        lent: list[tuple[Any, Buffers]] = []

        def make(session: Any, starts: Any, written: Any, kept: Any, memory: Any, *, lanes: int | None = None) -> Any:
            arrays = [*starts.items(), *written.items(), *kept.items()]
            sizes = tuple((name, x.shape, x.dtype.str) for name, x in arrays)
            key = (id(session), memory, lanes, sizes)
            buffers = self._take(key)
            if buffers is None:
                buffers = Buffers(session, starts, written, kept, memory, lanes=lanes)
            else:
                buffers.begin(starts, kept)
            if sum(x.nbytes for _, x in arrays) <= _KEPT_BYTES:
                lent.append((key, buffers))
            return buffers

        try:
            yield make
        finally:
            with self._lock:
                self._idle = [*lent, *self._idle][:_KEPT_SETS]

    def _take(self, key: Any) -> Buffers | None:
        with self._lock:
            for place, (found, buffers) in enumerate(self._idle):
                if found == key:
                    del self._idle[place]
                    return buffers
        return None


def captures(session: ort.InferenceSession) -> bool:
    """Whether a session records what it runs as a CUDA graph, and plays that from then on."""
    options = session.get_provider_options().get("CUDAExecutionProvider", {})
    return bool(options.get("enable_cuda_graph") == "1")


def _capture(number: int) -> ort.RunOptions:
    """A run of the CUDA graph of this number."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def _after(name: str) -> str:
    """The output that is a state after the step: `y1` of `y`, `memory1.0` of `memory.0`."""
    kind, dot, number = name.partition(".")
    return f"{kind}1{dot}{number}"
