"""The bound memory of a step graph.

The law here: between two steps nothing is allocated, and nothing but scalars is copied to Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

Array = np.ndarray[Any, Any]
NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
_SCALARS = ("t", "t1", "h")
# What a method remembers from step to step, besides the state y.
MEMORY = tuple(f"memory.{i}" for i in range(6))


class Buffers:
    """The bound memory of a step graph.

    lanes: how many samples have their own times, or None where all have the same. The state ping-pongs between
    two sets of buffers: a step reads one and writes the other, and accepting it only swaps their roles. On the
    CPU the buffers are numpy arrays that ONNX Runtime works on in place.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        starts: Mapping[str, Array],
        written: Mapping[str, Array],
        kept: Mapping[str, Array],
        device: str,
        *,
        lanes: int | None = None,
    ) -> None:
        self._session = session
        self._device = device
        types = {node.name: NUMPY_TYPES.get(node.type) for node in session.get_inputs()}
        self._scalars = [
            (place, name, *self._scalar(types[name], lanes)) for place, name in enumerate(_SCALARS) if name in types
        ]
        # The start is copied: its memory may be the caller's own input, and steps write over it.
        self._states = {name: [self._buffer(x.copy()), self._buffer(np.empty_like(x))] for name, x in starts.items()}
        self._written = {name: self._buffer(x) for name, x in written.items()}
        self._kept = {name: self._buffer(x) for name, x in kept.items() if name in types}
        self._bindings = [self._bind(turn, types) for turn in (0, 1)]
        self._turn = 0

    def _scalar(self, dtype: Any, lanes: int | None) -> tuple[Array, ort.OrtValue]:
        array = np.zeros(() if lanes is None else lanes, dtype)
        return array, ort.OrtValue.ortvalue_from_numpy(array)

    def _buffer(self, x: Array) -> tuple[Array, ort.OrtValue]:
        """An array and the value that is bound for it: the same memory on the CPU, a copy elsewhere."""
        x = np.ascontiguousarray(x).reshape(x.shape)
        # Scalars that the driver reads stay in its own memory on every device.
        return x, ort.OrtValue.ortvalue_from_numpy(x, self._device if x.ndim else "cpu", 0)

    def _bind(self, turn: int, types: Mapping[str, Any]) -> Any:
        binding = self._session.io_binding()
        for name, (_, value) in self._kept.items():
            binding.bind_ortvalue_input(name, value)
        for _, name, _, value in self._scalars:
            binding.bind_ortvalue_input(name, value)
        for name, pair in self._states.items():
            if name in types:
                binding.bind_ortvalue_input(name, pair[turn][1])
            binding.bind_ortvalue_output(_after(name), pair[1 - turn][1])
        for name, (_, value) in self._written.items():
            binding.bind_ortvalue_output(name, value)
        return binding

    def run(self, *scalars: Any) -> None:
        """Attempt a step at scalars in the order of `_SCALARS`."""
        binding = self._bindings[self._turn]
        for place, name, array, value in self._scalars:
            array[...] = scalars[place]
            if self._device != "cpu":
                # A scalar bound for another device was copied there when it was bound.
                binding.bind_ortvalue_input(name, value)
        self._session.run_with_iobinding(binding)

    def swap(self) -> None:
        """Make what the step wrote the state."""
        self._turn = 1 - self._turn

    def state(self, name: str, *, before: bool = False) -> Array:
        """The state, or the one before the last swap."""
        return self._array(self._states[name][1 - self._turn if before else self._turn])

    def pending(self, name: str) -> Array:
        """What the last step wrote, to be the state after the next swap."""
        return self._array(self._states[name][1 - self._turn])

    def set_pending(self, name: str, x: Array) -> None:
        """Replace what the last step wrote."""
        self._set(self._states[name][1 - self._turn], x)

    def written(self, name: str) -> Array:
        return self._array(self._written[name])

    def set(self, name: str, x: Array) -> None:
        """Replace the state."""
        self._set(self._states[name][self._turn], x)

    def _set(self, buffer: tuple[Array, ort.OrtValue], x: Array) -> None:
        array, value = buffer
        array[...] = x
        if self._device != "cpu":
            value.update_inplace(array)

    def _array(self, buffer: tuple[Array, ort.OrtValue]) -> Array:
        return buffer[0] if self._device == "cpu" or not buffer[0].ndim else buffer[1].numpy()


def _after(name: str) -> str:
    """The output that is a state after the step: `y1` of `y`, `memory1.0` of `memory.0`."""
    kind, dot, number = name.partition(".")
    return f"{kind}1{dot}{number}"
