"""ONNX Runtime sessions, opened in one way, and graphs with their inputs and outputs.

The law here: only a file that `artifact` has checked is opened, and the same options hold for every graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnxruntime as ort

from odelet.engine.ending import check_ended, run_options
from odelet.engine.failures import ORT_ERRORS, GraphFailed, one_line
from odelet.engine.memory import UNCAPPED_OPTIMIZERS, CappedSession, cap_options, out_of_memory
from odelet.engine.user_cache import cores
from odelet.errors import ArtifactError, InputError, MemoryLimitError
from odelet.numerics.backend import NumpyArray

# Microsoft's builds for Windows record events of use, unless a program says otherwise. Elsewhere this does nothing.
ort.disable_telemetry_events()

DEVICES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# A few bytes of graph can ask for gigabytes of folded constant while it loads (ConstantOfShape). No weight
# that is worth folding ahead of time is larger than this.
FOLDING_LIMIT = 64 * 2**20

# Multiplications in one operator from which on a second thread saves more than it costs, and the number of threads
# beyond which more save little: both measured in docs/performance.md.
WORTH_THREADS, MOST_THREADS = 16_000_000, 4
# The largest number of threads that can be asked for, and the word for a number that is found by timed calls.
MOST_OF_ALL, MEASURED = 1024, "measured"

# ONNX Runtime packs a copy of the weights for each node, which pays for large products. Below this number of
# multiplications, a Loop whose nodes share the unpacked weights is a seventh faster for one sample, and a few
# hundredths slower for hundreds.
WORTH_PACKING = 2**16

_NUMPY_TYPES = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    **{f"tensor({name})": name for name in ("bool", "int8", "int16", "int32", "int64")},
    **{f"tensor({name})": name for name in ("uint8", "uint16", "uint32", "uint64")},
}


def open_session(
    source: Path | bytes,
    *,
    device: str = "cpu",
    threads: int = 1,
    name: str = "",
    work: int | None = None,
    capture: bool = False,
    weights: Mapping[str, ort.OrtValue] = MappingProxyType({}),
    memory: int | None = None,
) -> ort.InferenceSession:
    """Open a graph for inference.

    source: a file, or the bytes of one. name: what messages call the bytes. threads: how many work inside one operator.
    work: of the model, as in `threads_for`. capture: whether to capture the first run as a CUDA graph and replay it
    from then on; for graphs without control flow, of one shape, whose memory stays where it is. weights: the
    initializers that the graph keeps in another file, by name; on the CPU the session shares their memory. memory: the
    cap that is registered now, see `engine.memory`; None for none. Raises InputError for a device that is not there or
    a bad number of threads, ArtifactError when ONNX Runtime refuses the graph.
    """
    providers = _providers(device, capture=capture)
    options = _options(threads)
    if work is not None and work < WORTH_PACKING:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if memory is not None:
        cap_options(options)
    name = name or (source.name if isinstance(source, Path) else "the graph")
    try:
        _take_weights(options, weights, device)
        session = ort.InferenceSession(
            str(source) if isinstance(source, Path) else source,
            options,
            providers=providers,
            # With it ONNX Runtime prints to stdout before it tries again, and replaces a device silently.
            enable_fallback=0,
            # This optimizer reads float64 constants as float32, and so drops a product with 1 + 1e-8.
            disabled_optimizers=["NoopElimination", *(UNCAPPED_OPTIMIZERS if memory is not None else ())],
        )
    except ORT_ERRORS as error:
        if memory is not None and out_of_memory(error):
            raise MemoryLimitError(
                f"{name}: it cannot be loaded with memory={memory} bytes; allow more", memory
            ) from None
        raise ArtifactError(
            f"{name}: onnxruntime {ort.__version__} cannot load it ({one_line(error)}); "
            "upgrade onnxruntime, or export the model again with a lower opset"
        ) from None
    # ONNX Runtime works on this memory and does not own it, so it must live as long as the session.
    session.weights = weights
    if DEVICES[device] not in session.get_providers():
        # ONNX Runtime falls back to the CPU and only writes a line to its log.
        raise InputError(
            f"device={device!r}: {DEVICES[device]} is there but could not start; check the driver and that "
            "its libraries fit this onnxruntime, or use device='cpu'"
        )
    return session if memory is None else CappedSession(session, memory, name)


def _take_weights(options: ort.SessionOptions, weights: Mapping[str, ort.OrtValue], device: str) -> None:
    """Have sessions take these initializers from memory, and look for no file."""
    if not weights:
        return
    options.add_external_initializers(list(weights), list(weights.values()))
    if device == "cpu":
        # The line above lets the optimizers read the weights, and each session would then keep a copy of its own.
        for name, value in weights.items():
            options.add_initializer(name, value)


def check_device(device: str, threads: int | str | None) -> None:
    """Raise InputError unless sessions can be opened on this device with so many threads, None for any number."""
    _providers(device)
    _options(1 if threads is None or threads == MEASURED else threads)


def threads_for(work: int | None) -> int:
    """The number of threads inside an operator if the caller names none.

    work: multiplications in the largest product or convolution of the graphs; None if it is not known.
    """
    return min(MOST_THREADS, cores()) if work is not None and work >= WORTH_THREADS else 1


def _providers(device: str, *, capture: bool = False) -> list[Any]:
    if device not in DEVICES:
        raise InputError(f"device={device!r} is unknown; expected one of {', '.join(map(repr, DEVICES))}")
    provider = DEVICES[device]
    available = ort.get_available_providers()
    if provider not in available:
        raise InputError(
            f"device={device!r} needs {provider}, and this onnxruntime has only {', '.join(available)}; "
            "install onnxruntime-gpu in place of onnxruntime, or use device='cpu'"
        )
    if device == "cpu":
        return [provider]
    # TF32 keeps 10 bits of a float32's 23, which is far from the parity that an artifact promises.
    return [(provider, {"use_tf32": "0", "enable_cuda_graph": str(int(capture))}), DEVICES["cpu"]]


def _options(threads: int | str) -> ort.SessionOptions:
    if type(threads) is not int or not 1 <= threads <= MOST_OF_ALL:
        raise InputError(f"threads={threads!r} must be a whole number from 1 to {MOST_OF_ALL}, or {MEASURED!r}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Every error comes as an exception, too; only what ends the process is written to stderr.
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(FOLDING_LIMIT))
    return options


@dataclass(frozen=True)
class Port:
    """What a graph states of an input or output. dtype: numpy's name, or ONNX Runtime's if numpy has none. shape: the
    sizes, None for a dynamic axis; () is a scalar, or a shape that the graph does not state. axes: the names of dynamic
    axes by place, where the graph names them."""

    dtype: str
    shape: tuple[int | None, ...]
    axes: Mapping[int, str] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True)
class Graph:
    """An open graph. file: its name. defaults: the inputs that may be left out, because the graph has values for
    them."""

    file: str
    session: ort.InferenceSession
    inputs: dict[str, Port]
    defaults: dict[str, Port]
    outputs: dict[str, Port]

    @classmethod
    def of(cls, file: str, session: ort.InferenceSession) -> Graph:
        """The graph of a session, with its inputs and outputs looked up once. Raises ArtifactError for names that are
        not text."""
        try:
            return cls(
                file,
                session,
                _ports(session.get_inputs()),
                _ports(session.get_overridable_initializers()),
                _ports(session.get_outputs()),
            )
        except UnicodeDecodeError:  # ONNX Runtime loads such a graph, and only its names cannot be read
            raise ArtifactError(
                f"{file}: a name in it is not text; the file is damaged, export the model again"
            ) from None

    @property
    def of_one_shape(self) -> bool:
        """Whether all sizes of its inputs and outputs are known."""
        ports = [*self.inputs.values(), *self.defaults.values(), *self.outputs.values()]
        return all(size is not None for port in ports for size in port.shape)

    def run(self, feeds: Mapping[str, NumpyArray]) -> dict[str, NumpyArray]:
        """Return all outputs, by name. feeds: the inputs, by name.

        Raises GraphFailed, and EndedError or KeyboardInterrupt where the call was ended.
        """
        names = self.outputs.keys()
        try:
            return dict(zip(names, self.session.run(list(names), feeds, run_options()), strict=True))
        except ORT_ERRORS as error:
            check_ended()
            raise GraphFailed(self.file, str(error)) from None


def _ports(arguments: Sequence[ort.NodeArg]) -> dict[str, Port]:
    return {
        argument.name: Port(
            _NUMPY_TYPES.get(argument.type, argument.type),
            tuple(size if isinstance(size, int) else None for size in argument.shape or ()),
            {place: size for place, size in enumerate(argument.shape or ()) if isinstance(size, str) and size},
        )
        for argument in arguments
    }
