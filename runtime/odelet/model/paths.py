"""Many calls of a model on the same inputs, each with random numbers of its own: samples of what it computes.

The law here: path j of row i has the numbers of the sample j * rows + i, so that no path depends on how many are drawn,
nor on how many are solved at once; and only outputs are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

from odelet.artifact.card import Card
from odelet.errors import InputError
from odelet.model.arguments import Argument
from odelet.model.results import Result
from odelet.model.runner import Runner
from odelet.model.settings import CallSettings
from odelet.numerics.backend import NumpyArray
from odelet.random_numbers import fresh_seed

# A call on several paths at once takes so many rows in all, unless one path alone has more.
ROWS = 1024
MOST_PATHS = 2**32

# Told after each call how many paths are done.
PathsProgress = Callable[[int], None]


@dataclass(frozen=True)
class Paths:
    """The outputs of many calls, and their statistics over the paths.

    outputs: by name, (paths, *shape), where shape is that of the output of one call. The statistics are in the
    structure in which a call returns its outputs; they are float64, but for those of a float32 output.

    >>> import numpy as np, odelet
    >>> paths = odelet.load("out").paths({"x": np.ones((5, 3), np.float32), "scale": 2.0}, n=20, seed=0)
    >>> paths.count, paths.mean.shape, paths.quantile(0.05, 0.95).shape
    (20, (3, 5, 3), (2, 3, 5, 3))
    """

    outputs: Mapping[str, NumpyArray]
    _result: Callable[[Mapping[str, NumpyArray]], Result]

    @property
    def count(self) -> int:
        """The number of paths."""
        return len(next(iter(self.outputs.values())))

    @property
    def mean(self) -> Result:
        """The mean over the paths."""
        return self.of(lambda x: np.mean(x, axis=0))

    @property
    def std(self) -> Result:
        """The standard deviation of the distribution that the paths are a sample of; NaN for one path."""
        return self.of(lambda x: np.std(x, axis=0, ddof=1) if len(x) > 1 else np.full_like(x[0], np.nan))

    def quantile(self, *shares: float) -> Result:
        """Quantiles over the paths, along a new first axis. shares: from 0 to 1.

        Raises InputError for a share that is out of range.
        """
        if not shares or not all(0 <= share <= 1 for share in shares):
            raise InputError(f"quantiles {shares} must be one or more numbers from 0 to 1")
        return self.of(lambda x: np.quantile(x, shares, axis=0).astype(x.dtype, copy=False))

    def of(self, statistic: Callable[[NumpyArray], NumpyArray]) -> Result:
        """A statistic of each output, in the structure of a call's result. statistic: of an array (paths, *shape)."""
        floats = {name: x if x.dtype.kind == "f" else x.astype(np.float64) for name, x in self.outputs.items()}
        return self._result({name: np.asarray(statistic(x)) for name, x in floats.items()})


def sample_paths(
    runner: Runner,
    count: int,
    settings: CallSettings,
    args: tuple[Argument, ...],
    named: Mapping[str, Argument],
    *,
    progress: PathsProgress | None = None,
) -> dict[str, NumpyArray]:
    """The outputs of `count` calls of a model, by name, (paths, *shape).

    Raises InputError for a model without random inputs, for noise among the arguments and for a bad count; and what a
    call raises.
    """
    card = runner.card
    if isinstance(count, bool) or not isinstance(count, Integral) or not 1 <= count <= MOST_PATHS:
        raise InputError(f"n={count!r} must be a whole number of paths, at least 1")
    if not card.noise:
        raise InputError("paths are of a model that draws random numbers, and this one draws none; call it once")
    settings = settings if settings.seed is not None else replace(settings, seed=fresh_seed())
    values = runner.arguments.bind(args, named, seed=settings.seed)
    given = [noise.name for noise in card.noise if noise.name in runner.arguments.spread(named)]
    if given:
        raise InputError(f"paths draw their own noise, and {given[0]!r} is given; leave it out")
    inputs = {name: x for name, x in values.items() if name not in {noise.name for noise in card.noise}}
    axis = _axis_of_rows(card)
    # So many samples have noise in one call.
    rows = max(values[x.name].shape[x.sample_axis] if x.sample_axis is not None else 1 for x in card.noise)
    at_once = 1 if axis is None else max(1, ROWS // max(rows, 1))
    found: dict[str, NumpyArray] = {}
    for first in range(0, int(count), at_once):
        paths = min(at_once, int(count) - first)
        repeated = inputs if paths == 1 else _repeated(card, inputs, str(axis), paths)
        solution = runner.solution(runner.run((), repeated, settings, first_sample=first * rows))
        solution.raise_if_failed()
        for name, x in solution.outputs.items():
            part = x[None] if axis is None else _divided(card, name, x, axis, paths)
            if name not in found:
                found[name] = np.empty((int(count), *part.shape[1:]), x.dtype)
            found[name][first : first + paths] = part
        if progress is not None:
            progress(first + paths)
    return found


def _axis_of_rows(card: Card) -> str | None:
    """The name of the axis along which paths can be put side by side in one call; None where there is none.

    It counts the samples of every noise, and is an axis of each output.
    """
    shapes = {tensor.name: tensor.shape for tensor in card.inputs}
    axes = {shapes[noise.name][noise.sample_axis] if noise.sample_axis is not None else None for noise in card.noise}
    axis = axes.pop() if len(axes) == 1 else None
    if not isinstance(axis, str) or not any(axis in tensor.shape for tensor in card.inputs[: -len(card.noise)]):
        return None
    tensors = [*card.inputs, *card.outputs]
    sizes = [size for tensor in tensors for size in tensor.shape if isinstance(size, str) and axis in size]
    everywhere = all(tensor.shape.count(axis) == 1 for tensor in card.outputs)
    once = all(tensor.shape.count(axis) <= 1 and tensor.size != axis for tensor in tensors)
    # A solve with error control has the same steps for all rows, which then are no samples of one path each.
    together = any("rtol" in solve.settings and not solve.per_sample for solve in card.solves)
    return axis if set(sizes) == {axis} and everywhere and once and not together else None


def _repeated(card: Card, inputs: Mapping[str, NumpyArray], axis: str, paths: int) -> dict[str, Argument]:
    """The inputs of a call for several paths: all rows of the first, then all of the second, and so on."""
    shapes: dict[str, Sequence[int | str]] = {tensor.name: tensor.shape for tensor in card.inputs}
    return {
        name: np.concatenate([x] * paths, axis=list(shapes[name]).index(axis)) if axis in shapes[name] else x
        for name, x in inputs.items()
    }


def _divided(card: Card, name: str, x: NumpyArray, axis: str, paths: int) -> NumpyArray:
    """An output of a call for several paths as (paths, *shape)."""
    shape = next(tensor.shape for tensor in card.outputs if tensor.name == name)
    place = list(shape).index(axis)
    sizes = (*x.shape[:place], paths, x.shape[place] // paths, *x.shape[place + 1 :])
    return np.moveaxis(x.reshape(sizes), place, 0)
