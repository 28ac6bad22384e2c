"""What each member of the zoo costs and how good it is, beside its discrete twins. Writes results/zoo.json.

Each use of each member is exported, scored beside torch, and timed on one thread: the artifact in ONNX Runtime, its
native code where a library can be built, and torch. They run in turns; times are those of the processor, so that
other work on the machine counts little. The pictures, docs/zoo/*.png, are drawn from the artifacts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import record  # It must come first: it sets the threads of the libraries.
import torch
from artifacts import native_code
from turns import in_turns

from odelet.errors import OdeletError
from odelet_models import FAMILIES, load_family
from odelet_models.family import WEIGHTS, Family
from odelet_train import load_checkpoint
from odelet_train.exhibit import Exhibit, by_torch, exhibits, picture
from odelet_train.uses import arrays, export_settings

BATCHES = (1, 256)
PICTURES = record.ROOT / "docs" / "zoo"


def measure(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each use of each member of a family, and draw the picture of the family."""
    torch.set_num_threads(1)
    family, data = load_family(name), load_family(name).data()
    shown = list(exhibits(family, record.OUT / "zoo" / name))
    picture(family, {exhibit.name: exhibit.call for exhibit in shown}, data, PICTURES / f"{name}.png")
    scored: set[str] = set()
    for exhibit in shown:
        first = exhibit.member not in scored
        scored.add(exhibit.member)
        use = family.members[exhibit.member].uses[exhibit.use]
        card = load_checkpoint(WEIGHTS / f"{exhibit.member}.json")[1]
        yield {
            "member": exhibit.member,
            "use": exhibit.use,
            "discrete": exhibit.discrete,
            "form": ", ".join(dict.fromkeys(solve.form for solve in exhibit.model.card.solves)),
            "method": ", ".join(dict.fromkeys(solve.method for solve in exhibit.model.card.solves)),
            "score": _rounded(card.score) if first else None,
            "score_of_artifact": _rounded(family.score(exhibit.call, *data.test)) if first else None,
            "baseline": _rounded(family.baseline[1](data)),
            "error": float(f"{exhibit.error:.2g}"),
            "kilobytes": round(exhibit.kilobytes, 1),
            "parameters": card.parameters,
            "batches": [_at(family, exhibit, batch, use, quick=quick) for batch in BATCHES],
            "load": round(os.getloadavg()[0], 1),
        }


def _at(family: Family, exhibit: Exhibit, batch: int, use: Any, *, quick: bool) -> dict[str, Any]:
    """The evaluations of fields and the times of a call with a batch."""
    inputs = use.inputs(batch)
    calls: dict[str, Callable[[], object]] = {
        "torch": partial(by_torch(family, exhibit.member, use), *inputs),
        "onnxruntime": partial(exhibit.model, *arrays(inputs)),
    }
    missing = None
    settings = export_settings(family.members[exhibit.member], use)
    try:
        module = use.module(family.trained(exhibit.member)).eval()
        library, _ = native_code(module, inputs, exhibit.folder.with_name(f"{exhibit.name}-native-{batch}"), **settings)
        calls["native"] = partial(library, *arrays(inputs))
    except OdeletError as error:
        missing = " ".join(str(error).split())[:200]
    latencies = in_turns(calls, seconds=1 if quick else 2, turns=(3, 500))
    return {
        "batch": batch,
        "evaluations": exhibit.evaluations(*inputs),
        "ms": {way: record.milliseconds(latency)["ms"]["p50"] for way, latency in latencies.items()},
        "torch_over_onnxruntime": round(latencies["torch"].over(latencies["onnxruntime"]), 2),
        "no_native_code": missing,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


if __name__ == "__main__":
    record.run("zoo", measure, FAMILIES, __doc__)
