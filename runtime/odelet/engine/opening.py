"""Opening a checked artifact: its graphs as sessions, joined with the card's program."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from odelet.artifact.card import Card
from odelet.artifact.folder import check
from odelet.engine.program import DriveSolve, RunGraph, plan
from odelet.engine.session import Graph, check_device, open_session, threads_for
from odelet.engine.versions import check_engine_version
from odelet.errors import ArtifactError


@dataclass(frozen=True)
class Artifact:
    """An open artifact.

    program: the card's, with the graphs that it runs. folder: None for a lone file. fallback: the program that solves
    samples again; empty if the card has none. threads: how many work inside one operator.
    """

    card: Card
    program: tuple[RunGraph | DriveSolve, ...]
    folder: Path | None
    fallback: tuple[RunGraph | DriveSolve, ...] = ()
    threads: int = 1


def open_artifact(path: str | os.PathLike[str], *, device: str = "cpu", threads: int | None = None) -> Artifact:
    """Check an artifact, open its graphs, and check that their inputs and outputs are what the card says.

    threads: how many work inside one operator; None chooses, see `threads_for`. Raises ArtifactError for a file that is
    missing or damaged or does not fit the others, EngineError for an ONNX Runtime that is too old, and InputError for a
    device that is not there.
    """
    check_engine_version()
    check_device(device, threads)
    checked = check(path)
    check_engine_version(needed=None if checked.card.needs is None else checked.card.needs.version)
    threads = threads_for(checked.card.work) if threads is None else threads
    steps = {solve.drive.step for solve in checked.card.solves if solve.drive is not None}
    graphs = {
        name: _open(name, source, stays=name in steps, device=device, threads=threads, work=checked.card.work)
        for name, source in checked.graphs.items()
    }
    card = checked.card
    again = plan(card.solved_again, graphs) if card.fallback is not None else ()
    return Artifact(card, plan(card, graphs), checked.folder, again, threads)


def _open(name: str, source: bytes | Path, *, stays: bool, device: str, threads: int, work: int | None) -> Graph:
    """Open a graph. stays: whether it always runs on the same memory, so that a CUDA graph of it can be replayed."""
    graph = Graph.of(name, open_session(source, name=name, device=device, threads=threads, work=work))
    if device == "cuda" and stays and graph.of_one_shape:
        # ONNX Runtime refuses to capture a graph of which a node runs on the CPU.
        with suppress(ArtifactError):
            session = open_session(source, name=name, device=device, threads=threads, work=work, capture=True)
            return Graph.of(name, session)
    return graph
