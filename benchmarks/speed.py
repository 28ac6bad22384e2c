"""How fast solves are, compared with their floor and with other solvers. Writes results/speed.json.

The floor of a form is the same model with each solve replaced by a straight chain of as many evaluations of its field,
in one graph. The forms, native code, the floors and the peers are timed in the same turns, by the time of the
processor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from artifacts import exported, floor_call, native_code
from peers import PEERS, Missing, Peer
from solved import Array, Solved
from turns import in_turns
from workloads import WORKLOADS, Workload

from odelet.commands.latency import Latency
from odelet_export import ExportError

NATIVE = "native"


@dataclass(frozen=True)
class Own:
    """A way of odelet to run a workload: a form, or native code. floor: runs the floor of the form."""

    call: Callable[[], object]
    evaluations: int
    steps: int
    floor: Callable[[], object] | None = None


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch and way to run the workload: the forms and native code, then the peers."""
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    artifacts = {form: exported(name, form) for form in workload.forms}
    models = {form: artifact.load() for form, artifact in artifacts.items()}
    reference = workload.build()
    for batch in workload.batches:
        x = workload.inputs(batch)
        ways: dict[str, Own | str] = {}
        for form, artifact in artifacts.items():
            floor, stats = floor_call(artifact, x)
            ways[form] = Own(partial(models[form], x), stats.evaluations, stats.steps, floor)
        ways[NATIVE] = _native(name, workload, reference, x)
        peers = {peer: _peer(peer, reference, x) for peer in workload.peers}
        load = round(os.getloadavg()[0], 1)
        for row in _rows(ways, peers, seconds=1 if quick else 8, turns=(3 if quick else 5, 500)):
            yield {"batch": batch, **row, "load": load}


def _native(name: str, workload: Workload, model: Solved, x: Array) -> Own | str:
    """Native code for this batch, or why there is none."""
    options = next(iter(workload.forms.values()))
    try:
        library, _ = native_code(model, (torch.from_numpy(x),), record.OUT / f"speed-native-{name}-{len(x)}", **options)
    except ExportError as error:
        return " ".join(str(error).split())
    stats = library.solve(x).stats
    return Own(partial(library, x), stats.evaluations, stats.steps)


def _peer(name: str, model: Solved, x: Array) -> Peer | str:
    """A peer, or why there is none."""
    try:
        return PEERS[name](model, x)
    except Missing as error:
        return str(error)


def _rows(ways: Mapping[str, Own | str], peers: Mapping[str, Peer | str], **settings: Any) -> Iterator[dict[str, Any]]:
    """Yield a row for each way. settings: of `in_turns`."""
    own = {way: entry for way, entry in ways.items() if isinstance(entry, Own)}
    calls = {way: entry.call for way, entry in own.items()}
    calls |= {f"floor {way}": entry.floor for way, entry in own.items() if entry.floor is not None}
    calls |= {way: peer.call for way, peer in peers.items() if isinstance(peer, Peer)}
    latencies = in_turns(calls, **settings)
    best = min(own, key=lambda way: latencies[way].median)
    for way, entry in ways.items():
        row: dict[str, Any] = {"way": way, "kind": "native" if way == NATIVE else "form"}
        if isinstance(entry, str):
            yield {**row, "missing": entry}
            continue
        counts = {"evaluations": entry.evaluations, "steps": entry.steps, "best": way == best}
        yield {**row, **record.milliseconds(latencies[way]), **_floor(way, latencies), **counts}
    for way, peer in peers.items():
        row = {"way": way, "kind": "peer"}
        if isinstance(peer, str):
            yield {**row, "missing": peer}
            continue
        over = {"over_best": round(latencies[way].over(latencies[best]), 3), "best_form": best}
        other = peer.other_steps or peer.steps not in (None, own[best].steps)
        counts = {"evaluations": peer.evaluations, "steps": peer.steps, "other_steps": other, "note": peer.note}
        yield {**row, **record.milliseconds(latencies[way]), **over, **counts}


def _floor(way: str, latencies: Mapping[str, Latency]) -> dict[str, Any]:
    """The floor of a form, and the form's time over it."""
    floor = latencies.get(f"floor {way}")
    if floor is None:
        return {}
    return {"floor_ms": record.milliseconds(floor)["ms"], "over_floor": round(latencies[way].over(floor), 3)}


if __name__ == "__main__":
    record.run("speed", measure, WORKLOADS, __doc__)
