"""The bound memory of a step graph.

The law here: between two steps nothing is allocated, and only scalars are copied to Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike

from odelet.engine.ending import check_ended, run_options
from odelet.numerics.backend import NumpyArray

NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
_SCALARS = ("t", "t1", "h")
# The inputs that hold what a method remembers from step to step, besides the state y.
MEMORY = tuple(f"memory.{i}" for i in range(6))
# A solve keeps this many sets of buffers for later solves, and none that is larger than this.
_KEPT_SETS, KEPT_BYTES = 4, 2**20


class Cell(Protocol):
    """Memory that is bound to one input or output. value: the OrtValue to bind."""

    value: Any  # onnxruntime has no types

    def read(self) -> NumpyArray:
        """The array that the memory holds; valid until it is written again."""

    def write(self, x: ArrayLike) -> None:
        """Replace the array that the memory holds."""


class HostMemory:
    """A numpy array that ONNX Runtime works on in place, on the CPU."""

    def __init__(self, x: NumpyArray) -> None:
        self._array = np.array(x, order="C").reshape(np.shape(x))
        self.value = ort.OrtValue.ortvalue_from_numpy(self._array)

    def read(self) -> NumpyArray:
        return self._array

    def write(self, x: ArrayLike) -> None:
        self._array[...] = x


class DeviceMemory:
    """Memory on a device, where it stays: reading and writing copy it."""

    def __init__(self, x: NumpyArray, *, device: str) -> None:
        x = np.ascontiguousarray(x).reshape(np.shape(x))
        self._like = x.dtype, x.shape
        self.value = ort.OrtValue.ortvalue_from_shape_and_type(list(x.shape), x.dtype.type, device, 0)
        self.value.update_inplace(x)

    def read(self) -> NumpyArray:
        return np.asarray(self.value.numpy())

    def write(self, x: ArrayLike) -> None:
        dtype, shape = self._like
        self.value.update_inplace(np.array(x, dtype, order="C").reshape(shape))


MakeMemory = Callable[[NumpyArray], Cell]


@cache
def memory_of(device: str) -> MakeMemory:
    """The function that makes memory on a device from the array that it first holds."""
    return HostMemory if device == "cpu" else partial(DeviceMemory, device=device)


@dataclass(frozen=True)
class StepArrays:
    """The arrays that a step graph works on.

    starts: the first states, by the name of the input. written: arrays like the other outputs, by name. constants: the
    values that stay the same from step to step, of which the graph is given the ones it takes. lanes: how many samples
    have their own times, or None where all have the same.
    """

    starts: Mapping[str, NumpyArray]
    written: Mapping[str, NumpyArray]
    constants: Mapping[str, NumpyArray]
    lanes: int | None = None


class Buffers:
    """The bound memory of a step graph. memory: makes it from the array that it first holds; see `memory_of`.

    The state alternates between two sets of buffers: a step reads one and writes the other, and accepting the step only
    swaps their roles. A session that captures CUDA graphs captures one for each of the two.
    """

    _captures = count(1)

    def __init__(self, session: ort.InferenceSession, arrays: StepArrays, memory: MakeMemory) -> None:
        self._session = session
        types = {node.name: NUMPY_TYPES.get(node.type) for node in session.get_inputs()}
        shape = () if arrays.lanes is None else (arrays.lanes,)
        self._scalars = [
            (place, name, memory(np.zeros(shape, types[name]))) for place, name in enumerate(_SCALARS) if name in types
        ]
        # The memory copies the start, which may be the caller's own input, as steps write over it.
        self._states = {name: (memory(x), memory(np.empty_like(x))) for name, x in arrays.starts.items()}
        self._written = {name: memory(x) for name, x in arrays.written.items()}
        self._constants = {name: memory(x) for name, x in arrays.constants.items() if name in types}
        self._bindings = [self._bind(turn, types) for turn in (0, 1)]
        captured = captures(session)
        self._options = [_capture(next(self._captures)) if captured else None for _ in (0, 1)]
        self._turn = 0

    def _bind(self, turn: int, types: Mapping[str, Any]) -> ort.IOBinding:
        """The binding that reads the states of one set of buffers and writes the other. types: of the inputs."""
        binding = self._session.io_binding()
        for name, cell in self._constants.items():
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

    def write(self, name: str, x: NumpyArray) -> None:
        """Replace a constant that the graph takes, before a step."""
        if name in self._constants:
            self._constants[name].write(x)

    def begin(self, arrays: StepArrays) -> None:
        """Begin another solve, with arrays of the same names, shapes and dtypes."""
        self._turn = 0
        for name, x in arrays.starts.items():
            self._states[name][0].write(x)
        for name, cell in self._constants.items():
            cell.write(arrays.constants[name])

    def run(self, *scalars: ArrayLike) -> None:
        """Run the step graph. scalars: t, t1 and h, as far as the graph takes them; arrays (lanes,) where samples have
        their own times."""
        for place, _, cell in self._scalars:
            cell.write(scalars[place])
        options = self._options[self._turn]
        if options is None:
            options = run_options()
        else:
            check_ended()
        self._session.run_with_iobinding(self._bindings[self._turn], options)

    def swap(self) -> None:
        """Accept the step: the state is then what the step wrote."""
        self._turn = 1 - self._turn

    def state(self, name: str, *, before: bool = False) -> NumpyArray:
        """The state, or the state before the last swap."""
        return self._states[name][1 - self._turn if before else self._turn].read()

    def pending(self, name: str) -> NumpyArray:
        """The state that the last step wrote, which the next swap accepts."""
        return self._states[name][1 - self._turn].read()

    def set_pending(self, name: str, x: NumpyArray) -> None:
        """Replace the state that the last step wrote."""
        self._states[name][1 - self._turn].write(x)

    def written(self, name: str) -> NumpyArray:
        """An output of the last step that is no state."""
        return self._written[name].read()

    def set(self, name: str, x: NumpyArray) -> None:
        """Replace the state."""
        self._states[name][self._turn].write(x)


MakeBuffers = Callable[[ort.InferenceSession, StepArrays, MakeMemory], Buffers]

# Buffers fit another solve if these agree: the session, the memory, the lanes, and the names, shapes and dtypes.
_Key = tuple[int, MakeMemory, int | None, tuple[tuple[str, tuple[int, ...], str], ...]]


Key = TypeVar("Key")
Kept = TypeVar("Kept")


class Idle(Generic[Key, Kept]):
    """Memory that waits for the next call, by key: making and binding it costs as much as some steps of a small
    model."""

    def __init__(self) -> None:
        self._idle: list[tuple[Key, Kept]] = []
        self._lock = Lock()

    def take(self, key: Key) -> Kept | None:
        """Return what waits under a key, and is then in use; None where nothing does."""
        with self._lock:
            for place, (idle_key, kept) in enumerate(self._idle):
                if idle_key == key:
                    del self._idle[place]
                    return kept
        return None

    def give(self, used: Sequence[tuple[Key, Kept]]) -> None:
        """Keep what was in use for later calls, as far as there is room."""
        with self._lock:
            self._idle = [*used, *self._idle][:_KEPT_SETS]


class BufferPool:
    """Buffers that wait for the next solve."""

    def __init__(self) -> None:
        self._idle: Idle[_Key, Buffers] = Idle()

    @contextmanager
    def maker(self) -> Iterator[MakeBuffers]:
        """The function that makes Buffers, for the length of a solve; they must not be used after it."""
        in_use: list[tuple[_Key, Buffers]] = []

        def make(session: ort.InferenceSession, arrays: StepArrays, memory: MakeMemory) -> Buffers:
            every = [*arrays.starts.items(), *arrays.written.items(), *arrays.constants.items()]
            key = (id(session), memory, arrays.lanes, tuple((name, x.shape, x.dtype.str) for name, x in every))
            buffers = self._idle.take(key)
            if buffers is None:
                buffers = Buffers(session, arrays, memory)
            else:
                buffers.begin(arrays)
            if sum(x.nbytes for _, x in every) <= KEPT_BYTES:
                in_use.append((key, buffers))
            return buffers

        try:
            yield make
        finally:
            self._idle.give(in_use)


def captures(session: ort.InferenceSession) -> bool:
    """Whether a session captures its first run as a CUDA graph, and replays that graph from then on."""
    options = session.get_provider_options().get("CUDAExecutionProvider", {})
    return bool(options.get("enable_cuda_graph") == "1")


def _capture(number: int) -> ort.RunOptions:
    """The options of a run that captures or replays the CUDA graph with this number."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def _after(name: str) -> str:
    """The output that holds a state after the step: `y1` for `y`, `memory1.0` for `memory.0`."""
    kind, dot, number = name.partition(".")
    return f"{kind}1{dot}{number}"
