"""How long a call of an artifact takes, beside its floor and the torch model: `odelet bench`.

The law here: calls that are compared run in turns, in one process, on the same inputs. The floor and the torch model
come from another package, by entry points of the group `odelet.bench`, because the runtime has neither onnx nor torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from odelet.artifact.array_files import read_inputs
from odelet.artifact.card import Card
from odelet.artifact.samples import OutputCheck, compare, samples_of
from odelet.commands.bench_native import library_of, native_call
from odelet.commands.bench_report import BenchReport
from odelet.commands.latency import interleaved
from odelet.engine.opening import ONNX_RUNTIME
from odelet.errors import ArtifactError, InputError, OdeletError
from odelet.loops.stats import Stats
from odelet.model.arguments import Arguments
from odelet.model.loading import load
from odelet.model.model import Model
from odelet.model.settings import AS_EXPORTED
from odelet.model.time_limit import within
from odelet.numerics.backend import NumpyArray

TimedCall: TypeAlias = Callable[[], object]
TorchCall: TypeAlias = Callable[[], dict[str, NumpyArray]]

GROUP = "odelet.bench"
DEFAULT_SECONDS = 3.0
# A longer chain would take long to build and load, and its time grows in proportion to its length.
LONGEST_CHAIN = 2000
_LEAST_TURNS, _MOST_TURNS = 5, 100_000


def bench(
    path: str | os.PathLike[str],
    *,
    source: Path | None = None,
    batch: int | None = None,
    against: str | None = None,
    weights: Path | None = None,
    seconds: float = DEFAULT_SECONDS,
    device: str = "cpu",
    threads: int | str | None = None,
    memory: int | None = None,
    engine: str = ONNX_RUNTIME,
    library: str | os.PathLike[str] | None = None,
    deadline: float | None = None,
) -> BenchReport:
    """Time calls of an artifact by ONNX Runtime, in turns with its floor, with its library of native code where that is
    asked for, and with the torch model if it is named.

    path: the artifact's folder, or a lone .onnx file. source: file of the inputs, as for `odelet run`; None takes the
    first sample of the artifact. batch: size of the batch, to which the rows of the inputs are repeated. against: the
    torch model, as FILE.py:NAME; weights: file of its weights. seconds: how long to measure, in all.
    memory: as for `odelet.load`; there is no floor then. engine, library: "native" also times the library that was
    built from the artifact, from this user's cache or from the folder of that library. deadline: seconds for all calls
    of the artifact and the floor together; None is no limit.

    Raises InputError for arguments that do not fit, and SolveError when a solve fails on these inputs.
    """
    if not 0 < seconds < float("inf"):
        raise InputError(f"seconds={seconds!r} must be a positive number of seconds")
    if weights is not None and against is None:
        raise InputError(f"weights {weights} are of the torch model; name that model, too, with --against FILE.py:NAME")
    native = library_of(path, engine, library, device=device)
    model = load(path, device=device, threads=threads, memory=memory, deadline=deadline)
    with within(deadline, what="the bench"):
        measured = path if memory is None else None
        return _timed(model, native, source, batch, against, weights, seconds, device, measured)


def _timed(
    model: Model,
    native: Model | str,
    source: Path | None,
    batch: int | None,
    against: str | None,
    weights: Path | None,
    seconds: float,
    device: str,
    path: str | os.PathLike[str] | None,
) -> BenchReport:
    """Time a model. native: the same by its library, or why that is not timed. path: of the artifact, for its floor;
    None for no floor."""
    values = _inputs(model, source, batch)
    solution = model.solve_with(AS_EXPORTED, (), values)
    solution.raise_if_failed()
    threads = model.threads
    floor, scale, note = None, 1.0, "a floor takes memory beyond the cap; leave memory out"
    if path is not None:
        floor, scale, note = _floor(path, solution.stats, values, device=device, threads=threads)
    calls: dict[str, TimedCall] = {"odelet": lambda: model(*values.values())}
    calls |= {} if floor is None else {"floor": floor}
    checks: list[OutputCheck] = []
    differences: list[OutputCheck] = []
    if isinstance(native, Model):
        calls["native"], differences = native_call(native, values, solution.outputs)
    with ExitStack() as stack:
        if against is not None:
            sizes = {tensor.name for tensor in model.card.inputs if tensor.size}
            given = {name: value.item() if name in sizes else value for name, value in values.items()}
            torch_call = stack.enter_context(_torch_call(against, weights, given, device=device, threads=threads))
            if not model.card.noise:
                checks = _compared(solution.outputs, torch_call())
            calls["torch"] = torch_call
        latencies = interleaved(calls, seconds=seconds, turns=(_LEAST_TURNS, _MOST_TURNS))
    return BenchReport(
        card=model.card,
        device=device,
        threads=threads,
        choice=model.thread_choice,
        inputs={name: value.shape for name, value in values.items()},
        stats=solution.stats,
        scale=scale,
        floor_note=note,
        checks=tuple(checks),
        odelet=latencies["odelet"],
        floor=latencies.get("floor"),
        native=latencies.get("native"),
        native_note=native if isinstance(native, str) else "",
        native_checks=tuple(differences),
        torch=latencies.get("torch"),
    )


def _inputs(model: Model, source: Path | None, batch: int | None) -> dict[str, NumpyArray]:
    """Return an array for each input, in the card's order; random inputs are drawn once, from a fixed seed."""
    card = model.card
    noise = {noise.name for noise in card.noise}
    if source is not None:
        arrays = read_inputs(source, card)
    elif model.folder is None:
        raise InputError("a lone .onnx file carries no samples; give its inputs with --input")
    else:
        arrays = samples_of(card, model.folder)[0][0]
    if batch is not None:
        arrays = {name: array for name, array in _resized(card, arrays, batch).items() if name not in noise}
    bound = Arguments(card).bind((), dict(arrays), seed=0 if noise else None)
    return {tensor.name: bound[tensor.name] for tensor in card.inputs}


def _resized(card: Card, arrays: Mapping[str, NumpyArray], batch: int) -> dict[str, NumpyArray]:
    """Return the arrays with a batch of another size, to which their rows are repeated or cut."""
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
    resized = dict(arrays)
    for tensor in inputs:
        for axis, size in enumerate(tensor.shape):
            array = resized.get(tensor.name)
            if size == name and array is not None and axis < array.ndim:
                if array.shape[axis] == 0:
                    raise InputError(f"batch={batch}: input {tensor.name!r} has no rows to repeat")
                resized[tensor.name] = np.take(array, np.arange(batch) % array.shape[axis], axis)
    return resized


def _floor(
    path: str | os.PathLike[str], stats: Stats, values: Mapping[str, NumpyArray], *, device: str, threads: int
) -> tuple[TimedCall | None, float, str]:
    """Return a call of the floor, or None; how many times shorter its chains are; and why there is no floor."""
    if not stats.solves:
        return None, 1.0, "the model has no solve"
    counts = {solve.index: solve.evaluations for solve in stats.solves}
    known_counts = {index: count for index, count in counts.items() if count is not None}
    if len(known_counts) < len(counts):
        unknown = ", ".join(str(index) for index in counts if index not in known_counts)
        return None, 1.0, f"solve {unknown} does not say how often it evaluated its field"
    total = sum(known_counts.values())
    if total == 0:
        return None, 1.0, "no solve evaluated a field"
    scale = max(1.0, total / LONGEST_CHAIN)
    chains = {index: max(1, round(count / scale)) for index, count in known_counts.items()}
    try:
        build = _extension("floor", "it needs onnx-ir; install it with: pip install onnx-ir")
        return build(path, chains, values, device=device, threads=threads), total / sum(chains.values()), ""
    except (InputError, ArtifactError):
        raise
    except OdeletError as error:
        return None, 1.0, str(error)


def _torch_call(
    target: str, weights: Path | None, values: Mapping[str, NumpyArray | int], *, device: str, threads: int
) -> AbstractContextManager[TorchCall]:
    """Return the torch model as a call without arguments that returns the outputs by name. values: arrays by input,
    and whole numbers where the model takes them as such."""
    advice = f"against {target}: it needs torch; install it with: pip install 'odelet[export]'"
    torch_call: AbstractContextManager[TorchCall] = _extension("against", advice)(
        target, weights, values, device=device, threads=threads
    )
    return torch_call


def _extension(name: str, advice: str) -> Callable[..., Any]:
    """Return the function that another package adds under a name; only that package knows its type.

    Raises OdeletError with the advice when the package is not installed.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                loaded: Callable[..., Any] = entry.load()
            except ImportError as error:
                raise OdeletError(f"{advice} ({error})") from error
            return loaded
    raise OdeletError(advice)


def _compared(outputs: Mapping[str, NumpyArray], torch_outputs: Mapping[str, NumpyArray]) -> list[OutputCheck]:
    missing = [name for name in outputs if name not in torch_outputs]
    if missing:
        raise InputError(
            f"against: the torch model gives {', '.join(torch_outputs) or 'nothing'}, and the artifact "
            f"{', '.join(outputs)}; is it the model that was exported?"
        )
    return [compare(0, name, got, torch_outputs[name], allowed=float("inf")) for name, got in outputs.items()]
