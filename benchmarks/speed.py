"""How fast solves are, compared with their floor and with other solvers. Writes results/speed.json.

The floor of a form is the same model with each solve replaced by a straight chain of as many evaluations of its field,
in one graph. Forms and floors are timed in turns, and then the best form and the peers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from artifacts import exported, floor_call
from peers import PEERS, Missing, Peer
from workloads import WORKLOADS

from odelet.commands.latency import interleaved


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each batch and way to run the workload: the forms, then the peers."""
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    forms = {form: exported(name, form) for form in workload.forms}
    models = {form: artifact.load() for form, artifact in forms.items()}
    reference = workload.build()
    for batch in workload.batches:
        x = workload.inputs(batch)
        floors = {form: floor_call(artifact, x) for form, artifact in forms.items()}
        calls = {form: lambda model=model, x=x: model(x) for form, model in models.items()}
        latencies = interleaved(
            calls | {f"floor {form}": call for form, (call, _) in floors.items()},
            seconds=1 if quick else 6,
            turns=(5, 2000),
        )
        best = min(forms, key=lambda form: latencies[form].median)
        for form in forms:
            stats = floors[form][1]
            yield {
                "batch": batch,
                "way": form,
                "kind": "form",
                "best": form == best,
                **record.milliseconds(latencies[form]),
                "floor_ms": record.milliseconds(latencies[f"floor {form}"])["ms"],
                "over_floor": round(latencies[form].over(latencies[f"floor {form}"]), 3),
                "evaluations": stats.evaluations,
                "steps": stats.steps,
            }
        yield from _beside(workload.peers, reference, x, {best: calls[best]}, quick=quick)


def _beside(names: Any, model: Any, x: Any, best: Any, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each peer, timed in turns with the best form."""
    ready: dict[str, Peer] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            ready[name] = PEERS[name](model, x)
        except Missing as error:
            missing[name] = str(error)
    calls = best | {name: peer.call for name, peer in ready.items()}
    latencies = interleaved(calls, seconds=1 if quick else 8, turns=(3 if quick else 5, 500))
    ((form, _),) = best.items()
    for name in names:
        row: dict[str, Any] = {"batch": len(x), "way": name, "kind": "peer"}
        if name in missing:
            yield {**row, "missing": missing[name]}
            continue
        peer = ready[name]
        counts = {"evaluations": peer.evaluations, "steps": peer.steps, "note": peer.note}
        over = {"over_best": round(latencies[name].over(latencies[form]), 3), "best_form": form}
        yield {**row, **record.milliseconds(latencies[name]), **over, **counts}


if __name__ == "__main__":
    record.run("speed", measure, WORKLOADS, __doc__)
