"""How long a call of an artifact takes, and beside what: `odelet bench`.

The law here: whatever is compared runs in turns, in one process, on the same inputs. The floor and the torch model come
from another package, by entry points of the group `odelet.bench`: the runtime has neither onnx nor torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from odelet.artifact.array_files import read_inputs
from odelet.artifact.card import Card
from odelet.artifact.samples import OutputCheck, compare, samples_of
from odelet.commands.bench_report import BenchReport
from odelet.commands.latency import interleaved
from odelet.errors import InputError, OdeletError
from odelet.loops.stats import Stats
from odelet.model.arguments import Arguments
from odelet.model.model import Model, load
from odelet.numerics.backend import NumpyArray

TimedCall = Callable[[], Any]

GROUP = "odelet.bench"
# A longer chain takes long to build and load, and its time grows evenly.
LONGEST_CHAIN = 2000
_TURNS = (5, 100_000)


def bench(
    path: str | os.PathLike[str],
    *,
    source: Path | None = None,
    batch: int | None = None,
    against: str | None = None,
    weights: Path | None = None,
    seconds: float = 3.0,
    device: str = "cpu",
    threads: int | None = None,
) -> BenchReport:
    """Time calls of an artifact, in turns with its floor and, if it is named, with the torch model.

    path: its folder, or a lone .onnx file. source: of the inputs, as for `odelet run`; else the first sample of the
    artifact. batch: size of the batch, made of the rows that are there, over and over. against: the torch model,
    FILE.py:NAME; weights: its file. seconds: for all together.

    Raises InputError for what does not fit, SolveError where a solve fails on these inputs.
    """
    if not 0 < seconds < float("inf"):
        raise InputError(f"seconds={seconds!r} must be a positive number of seconds")
    if weights is not None and against is None:
        raise InputError(f"weights {weights} are of the torch model; name it, too, with --against FILE.py:NAME")
    model = load(path, device=device, threads=threads)
    threads = model.threads
    values: dict[str, Any] = _inputs(model, source, batch)
    solution = model.solve(**values)
    solution.raise_if_failed()
    floor, scale, note = _floor(path, solution.stats, values, device=device, threads=threads)
    calls: dict[str, TimedCall] = {"odelet": lambda: model(**values)}
    calls |= {} if floor is None else {"floor": floor}
    checks: list[OutputCheck] = []
    with ExitStack() as stack:
        if against is not None:
            run = stack.enter_context(_torch(against, weights, values, device=device, threads=threads))
            if not model.card.noise:
                checks = _compared(solution.outputs, run())
            calls["torch"] = run
        taken = interleaved(calls, seconds=seconds, turns=_TURNS)
    return BenchReport(
        card=model.card,
        device=device,
        threads=threads,
        inputs={name: value.shape for name, value in values.items()},
        stats=solution.stats,
        scale=scale,
        floor_note=note,
        checks=tuple(checks),
        odelet=taken["odelet"],
        floor=taken.get("floor"),
        torch=taken.get("torch"),
    )


def _inputs(model: Model, source: Path | None, batch: int | None) -> dict[str, NumpyArray]:
    """An array for each input; what the model draws is drawn once, the same each time."""
    card = model.card
    noise = {one.name for one in card.noise}
    if source is not None:
        given = read_inputs(source, card)
    elif model.folder is None:
        raise InputError("a lone .onnx file carries no samples; give its inputs with --input")
    else:
        given = samples_of(card, model.folder)[0][0]
    if batch is not None:
        given = {name: value for name, value in _resized(card, given, batch).items() if name not in noise}
    return Arguments(card).bind((), dict(given), seed=0 if noise else None)


def _resized(card: Card, given: Mapping[str, NumpyArray], batch: int) -> dict[str, NumpyArray]:
    """The arrays with another size of the batch: their rows over and over."""
    if batch < 1:
        raise InputError(f"batch={batch!r} must be at least 1")
    inputs = card.inputs[: len(card.inputs) - len(card.noise)]
    axes = dict.fromkeys(size for tensor in inputs for size in tensor.shape if isinstance(size, str))
    if len(axes) != 1 and "batch" not in axes:
        which = (
            f"its dynamic axes are {', '.join(axes)}, and none is called batch" if axes else "all its axes are fixed"
        )
        raise InputError(f"batch={batch}: the model has no batch to resize ({which}); give the inputs with --input")
    name = "batch" if "batch" in axes else next(iter(axes))
    made = dict(given)
    for tensor in inputs:
        for axis, size in enumerate(tensor.shape):
            value = made.get(tensor.name)
            if size == name and value is not None and axis < value.ndim:
                if value.shape[axis] == 0:
                    raise InputError(f"batch={batch}: input {tensor.name!r} has no rows to repeat")
                made[tensor.name] = np.take(value, np.arange(batch) % value.shape[axis], axis)
    return made


def _floor(
    path: str | os.PathLike[str], stats: Stats, values: Mapping[str, NumpyArray], *, device: str, threads: int
) -> tuple[TimedCall | None, float, str]:
    """A call of the floor, how many times shorter its chains are, and why there is none."""
    counts = {solve.index: solve.evaluations for solve in stats.solves}
    known = {index: count for index, count in counts.items() if count is not None}
    if len(known) < len(counts):
        unknown = ", ".join(str(index) for index in counts if index not in known)
        return None, 1.0, f"solve {unknown} does not say how often it called its field"
    total = sum(known.values())
    if total == 0:
        return None, 1.0, "no solve called a field"
    scale = max(1.0, total / LONGEST_CHAIN)
    chains = {index: max(1, round(count / scale)) for index, count in known.items()}
    try:
        build = _extension("floor", "it needs onnx-ir; install it with: pip install onnx-ir")
        return build(path, chains, values, device=device, threads=threads), total / sum(chains.values()), ""
    except InputError:
        raise
    except OdeletError as error:
        return None, 1.0, str(error)


def _torch(
    target: str, weights: Path | None, values: Mapping[str, NumpyArray], *, device: str, threads: int
) -> AbstractContextManager[Callable[[], dict[str, NumpyArray]]]:
    """The torch model as a call without arguments that returns its outputs by name."""
    advice = f"against {target}: it needs torch; install it with: pip install 'odelet[export]'"
    made: AbstractContextManager[Callable[[], dict[str, NumpyArray]]] = _extension("against", advice)(
        target, weights, values, device=device, threads=threads
    )
    return made


def _extension(name: str, advice: str) -> Callable[..., Any]:
    """What another package adds. Raises OdeletError with the advice where it is not there."""
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                loaded: Callable[..., Any] = entry.load()
            except ImportError as error:
                raise OdeletError(f"{advice} ({error})") from error
            return loaded
    raise OdeletError(advice)


def _compared(ours: Mapping[str, NumpyArray], theirs: Mapping[str, NumpyArray]) -> list[OutputCheck]:
    missing = [name for name in ours if name not in theirs]
    if missing:
        raise InputError(
            f"against: the torch model gives {', '.join(theirs) or 'nothing'}, and the artifact {', '.join(ours)}; "
            "is it the model that was exported?"
        )
    return [compare(0, name, got, theirs[name], allowed=float("inf")) for name, got in ours.items()]
