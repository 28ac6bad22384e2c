"""Opening a checked artifact: its graphs as sessions, joined with the card's program."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnxruntime as ort

from odelet.artifact.card import Card
from odelet.artifact.folder import Checked, GraphBytes, check
from odelet.artifact.origin import Origin
from odelet.artifact.weights import Weights
from odelet.engine.blocks import Block
from odelet.engine.forking import ForkGuard
from odelet.engine.memory import check_counted, check_memory, registered
from odelet.engine.native import NativeRun, open_library
from odelet.engine.program import DriveSolve, plan
from odelet.engine.session import MEASURED, Graph, check_device, open_session, threads_for
from odelet.engine.user_cache import cores
from odelet.engine.versions import check_engine_version
from odelet.errors import ArtifactError, InputError

ONNX_RUNTIME, NATIVE = "onnxruntime", "native"
# What can run an artifact.
ENGINES = (ONNX_RUNTIME, NATIVE)


@dataclass(frozen=True)
class Artifact:
    """An open artifact.

    program: the card's, with the graphs that it runs. folder: None for a lone file. fallback: the program that solves
    samples again; empty if the card has none. threads: how many work inside one operator. origin: what loads the same
    artifact again. guard: stands around each call. reopened: opens the same artifact with another number of threads,
    from the bytes that were checked; None where that number stays as it is.
    """

    card: Card
    program: tuple[Block | NativeRun | DriveSolve, ...]
    folder: Path | None
    fallback: tuple[Block | DriveSolve, ...]
    threads: int
    origin: Origin
    guard: ForkGuard
    reopened: Callable[[int], Artifact] | None = None


def open_artifact(
    path: str | os.PathLike[str] | Origin,
    *,
    device: str = "cpu",
    threads: int | str | None = None,
    memory: int | None = None,
    engine: str = ONNX_RUNTIME,
    library: str | os.PathLike[str] | None = None,
) -> Artifact:
    """Check an artifact, open its graphs, and check that their inputs and outputs are what the card says.

    threads: how many work inside one operator; None chooses, see `threads_for`. Where sizes that vary decide, and for
    "measured", the graphs are opened for one thread, and the artifact says how to open them again. memory: how many
    bytes the graphs may take together while they run, see `engine.memory`; None for no cap. engine: "onnxruntime", or
    "native" for a library that was built from the artifact and takes the place of the graphs. library: the folder of
    that library; None for the cache of this user. Raises ArtifactError for a file that is missing or damaged or does
    not fit the others, EngineError for an ONNX Runtime that is too old, and InputError for a device that is not there
    or a bad number.
    """
    check_engine_version()
    check_device(device, threads)
    check_memory(memory, device)
    _check_measured(threads, device, memory)
    checked = check(path)
    if engine != ONNX_RUNTIME or library is not None:
        return _with_library(checked, engine, library, device=device, threads=threads, memory=memory)
    check_engine_version(needed=None if checked.card.needs is None else checked.card.needs.version)

    def opened(threads: int) -> Artifact:
        graphs = open_graphs(checked, device=device, threads=threads, memory=memory)
        return joined(checked, graphs, device=device, threads=threads, memory=memory)

    if isinstance(threads, int):
        return opened(threads)
    by_rule = threads_for(checked.card.work)
    by_size = by_rule == 1 and checked.card.products and cores() > 1 and device == "cpu" and memory is None
    if threads == MEASURED or by_size:
        return replace(opened(1), reopened=opened)
    return opened(by_rule)


def _check_measured(threads: int | str | None, device: str, memory: int | None) -> None:
    """Raise InputError where the number of threads cannot be found by timed calls."""
    if threads != MEASURED:
        return
    if device != "cpu":
        raise InputError(f"threads={MEASURED!r} is for the CPU; name a number, or leave it out for device={device!r}")
    if memory is not None:
        raise InputError(
            f"threads={MEASURED!r} opens the graphs several times, and memory={memory} caps graphs that are open once; "
            "name a number of threads, or leave memory out"
        )


def _with_library(
    checked: Checked,
    engine: str,
    library: str | os.PathLike[str] | None,
    *,
    device: str,
    threads: int | str | None,
    memory: int | None,
) -> Artifact:
    """An artifact whose graphs are not opened, as a library takes their place."""
    if engine not in ENGINES:
        raise InputError(f"engine={engine!r} is not one of {', '.join(map(repr, ENGINES))}")
    if engine == ONNX_RUNTIME:
        raise InputError(f"library={os.fspath(library or '')!r} is for engine={NATIVE!r}; leave one of them out")
    if device != "cpu" or memory is not None or threads not in (None, 1):
        raise InputError(f"engine={NATIVE!r} runs on one thread of the CPU; leave device, threads and memory out")
    run = open_library(checked.card, checked.origin, library)
    guard = ForkGuard(device=device, threads=1)
    return Artifact(checked.card, (run,), checked.folder, (), 1, checked.origin, guard)


def open_graphs(
    checked: Checked, *, device: str = "cpu", threads: int = 1, memory: int | None = None
) -> dict[str, Graph]:
    """The graphs of a checked artifact as sessions, by file name. Raises ArtifactError for one that does not open."""
    steps = {solve.drive.step for solve in checked.card.solves if solve.drive is not None}
    opened = _Opening(device=device, threads=threads, work=checked.card.work, memory=memory)
    if memory is not None:
        for name, graph in checked.graphs.items():
            check_counted(name, graph.data, memory)
    with registered(memory):
        return {name: opened.graph(name, graph, stays=name in steps) for name, graph in checked.graphs.items()}


def joined(
    checked: Checked,
    graphs: Mapping[str, Graph],
    *,
    device: str = "cpu",
    threads: int = 1,
    memory: int | None = None,
) -> Artifact:
    """Join the card of an artifact with its graphs, by file name. Raises ArtifactError where they do not fit."""
    card = checked.card
    again = plan(card.solved_again, graphs, device=device, memory=memory) if card.fallback is not None else ()
    guard = ForkGuard(device=device, threads=threads)
    return Artifact(
        card, plan(card, graphs, device=device, memory=memory), checked.folder, again, threads, checked.origin, guard
    )


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """Opens the graphs of one artifact, which share their weights. threads, work, memory: as `open_session` takes
    them."""

    device: str
    threads: int
    work: int | None
    memory: int | None
    shared: dict[tuple[int, int, tuple[int, ...]], ort.OrtValue] = field(default_factory=dict)

    def graph(self, name: str, source: GraphBytes, *, stays: bool) -> Graph:
        """Open a graph. stays: whether it always runs on the same memory, so that a CUDA graph of it can be
        replayed."""
        weights = self._values(source.weights)
        graph = Graph.of(name, self._session(name, source, weights))
        if self.device == "cuda" and stays and graph.of_one_shape:
            # ONNX Runtime refuses to capture a graph of which a node runs on the CPU.
            with suppress(ArtifactError):
                return Graph.of(name, self._session(name, source, weights, capture=True))
        return graph

    def _session(
        self, name: str, source: GraphBytes, weights: dict[str, ort.OrtValue], *, capture: bool = False
    ) -> ort.InferenceSession:
        return open_session(
            source.data,
            name=name,
            device=self.device,
            threads=self.threads,
            work=self.work,
            capture=capture,
            weights=weights,
            memory=self.memory,
        )

    def _values(self, weights: Weights) -> dict[str, ort.OrtValue]:
        """The weights as ONNX Runtime takes them; those that are one array are one value in all graphs."""
        values = {}
        for name, weight in weights.items():
            key = (weight.array.ctypes.data, weight.kind, weight.array.shape)
            if key not in self.shared:
                self.shared[key] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(weight.array, weight.kind)
            values[name] = self.shared[key]
        return values
