"""A picture of many paths of a model: quantiles over time, and a few of the paths themselves.

The law here: what is drawn are outputs of calls, and the axis is called time only where the card tells the times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from odelet.artifact.card import Card, Tensor
from odelet.artifact.solve_card import SolveCard
from odelet.errors import InputError
from odelet.model.arguments import Argument
from odelet.model.paths import Paths
from odelet.numerics.backend import NumpyArray
from odelet.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More panels than this are too many for one picture.
MOST_PANELS = 4
# So many paths are drawn as lines of their own.
SINGLE_PATHS = 5
# The pairs of quantiles between which bands are drawn, the widest first, and how dark they are.
BANDS = ((0.05, 0.95, 0.2), (0.25, 0.75, 0.35))
_COLOUR, _PATHS = "#0072B2", "#E69F00"


@dataclass(frozen=True)
class Fan:
    """Paths of one batch row, ready to be drawn.

    title: a line about them. along: what the axis is called. places: on that axis, (points,). names: of the elements
    that are drawn. values: (paths, points, elements). count: how many elements there are.
    """

    title: str
    along: str
    places: NumpyArray
    names: list[str]
    values: NumpyArray
    count: int

    def quantile(self, share: float) -> NumpyArray:
        """A quantile over the paths, (points, elements)."""
        values: NumpyArray = np.quantile(self.values, share, axis=0)
        return values


@dataclass(frozen=True)
class FanOutput:
    """The output that is drawn. solve: of which it is the solution, or None. along: the axis that is drawn along.
    rows: the axis of the batch, or None."""

    output: Tensor
    solve: SolveCard | None
    along: int
    rows: int | None


def fan_of(axes: FanOutput, paths: Paths, inputs: Mapping[str, Argument], *, sample: int = 0) -> Fan:
    """Paths as a Fan. inputs: of the model, by name. sample: index of the batch row.

    Raises InputError for an output without two points or elements, and for a sample that is not there.
    """
    values = paths.outputs[axes.output.name].astype(np.float64)
    if values.shape[1 + axes.along] < 2:
        raise InputError(
            f"the output {axes.output.name!r} has a single point along its axis {axes.along}, and a fan needs two; "
            "for a distribution at one time use: odelet run --paths"
        )
    if axes.rows is not None:
        rows = values.shape[1 + axes.rows]
        if not 0 <= sample < rows:
            raise InputError(f"sample={sample} is not in the batch, which has {rows} samples")
        values = values.take([sample], axis=1 + axes.rows)
    elif sample:
        raise InputError(f"sample={sample}: the output {axes.output.name!r} has no axis of samples")
    values = np.moveaxis(values, 1 + axes.along, 1)
    sizes = [size for axis, size in enumerate(values.shape[2:]) if axis != _rest_of(axes)]
    values = values.reshape(*values.shape[:2], -1)
    count = values.shape[2]
    if not count:
        raise InputError(f"the output {axes.output.name!r} has no elements")
    with np.errstate(all="ignore"):
        spread = np.nan_to_num(values.max(axis=(0, 1)) - values.min(axis=(0, 1)))
    chosen = sorted(np.argsort(-spread, kind="stable")[:MOST_PANELS])
    names = [_name("y" if axes.solve is not None else axes.output.name, sizes, i) for i in chosen]
    along, places = _places(axes, inputs, values.shape[1])
    of_row = f", sample {sample}" if axes.rows is not None else ""
    what = f"solve {axes.solve.index}: {axes.solve.method}" if axes.solve is not None else axes.output.name
    title = printable(f"{what}, {paths.count} paths{of_row}")
    return Fan(title, along, places, names, values[:, :, chosen], count)


def _rest_of(axes: FanOutput) -> int | None:
    """The place of the batch's axis among those that are left when the one that is drawn along is taken out."""
    return None if axes.rows is None else axes.rows - (axes.rows > axes.along)


def _name(stem: str, sizes: list[int], i: int) -> str:
    index = [int(position) for position in np.unravel_index(i, sizes)] if sizes else []
    return f"{stem}{index if index else ''}"


def fan_output(card: Card, *, solve: int | None = None) -> FanOutput:
    """The output that a fan is drawn of: the solution of an SDE.

    solve: index of the SDE in the card; its solution must be an output. With None, it is the first such solve, and
    where there is none, the first output with an axis besides that of the batch. Raises InputError where there is none.
    """
    outputs = {tensor.name: tensor for tensor in card.outputs}
    if solve is not None and not 0 <= solve < len(card.solves):
        raise InputError(f"solve={solve} is not in the artifact, which has {len(card.solves)} solves")
    for candidate in card.solves if solve is None else [card.solves[solve]]:
        solution = outputs.get(candidate.brownian.solution or "") if candidate.brownian is not None else None
        if solution is not None and len(solution.shape) == 3:
            return FanOutput(solution, candidate, 0, 1)
    if solve is not None:
        why = "is not of an SDE" if card.solves[solve].brownian is None else "has a solution that is no output"
        raise InputError(f"solve {solve} ({card.solves[solve].source}) {why}; leave out which solve is to be drawn")
    rows = _rows(card)
    for tensor in card.outputs:
        place = tensor.shape.index(rows) if rows is not None and tensor.shape.count(rows) == 1 else None
        others = [axis for axis in range(len(tensor.shape)) if axis != place]
        if others:
            return FanOutput(tensor, None, others[0], place)
    raise InputError(
        "no output has an axis to draw a fan along, besides that of the batch; return the states at several times, or "
        "get the distribution of what the model returns by: odelet run --paths"
    )


def _rows(card: Card) -> int | str | None:
    """The size that counts the samples of the noise, or its name."""
    shapes = {tensor.name: tensor.shape for tensor in card.inputs}
    sizes = [shapes[noise.name][noise.sample_axis] for noise in card.noise if noise.sample_axis is not None]
    return sizes[0] if sizes else None


def _places(axes: FanOutput, inputs: Mapping[str, Argument], count: int) -> tuple[str, NumpyArray]:
    """The name of the axis, and the places of the points on it: times where they are known, else whole numbers."""
    if axes.solve is None:
        return f"index along axis {axes.along} of {axes.output.name}", np.arange(count)
    assert axes.solve.brownian is not None
    times = axes.solve.brownian.times
    known = inputs.get(times) if isinstance(times, str) else times
    if known is None or np.shape(known) != (count,):
        return "number of the output time", np.arange(count)
    return "time", np.asarray(known, np.float64)


def draw_fan(fan: Fan) -> Figure:
    """Return a figure with a panel for each element: bands between quantiles, the median, and a few paths."""
    from matplotlib.figure import Figure

    panels = len(fan.names)
    figure = Figure(figsize=(9, 1.2 + 2.6 * panels if panels > 1 else 4.6), layout="constrained")
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for i, axis in enumerate(axes):
        _draw_element(axis, fan, i)
        axis.set_ylabel(printable(fan.names[i]))
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel(printable(fan.along))
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    few = f"\n{panels} of {fan.count} elements, those that vary most" if panels < fan.count else ""
    figure.suptitle(f"{fan.title}{few}", fontsize=11)
    return figure


def _draw_element(axis: Axes, fan: Fan, i: int) -> None:
    for low, high, dark in BANDS:
        least, most = (fan.quantile(share)[:, i] for share in (low, high))
        label = f"{low:.0%} to {high:.0%} of the paths"
        axis.fill_between(fan.places, least, most, color=_COLOUR, alpha=dark, linewidth=0, label=label)
    for number, path in enumerate(fan.values[:SINGLE_PATHS, :, i]):
        label = f"_path {number}" if number else "single paths"
        axis.plot(fan.places, path, color=_PATHS, linewidth=0.8, label=label)
    axis.plot(fan.places, fan.quantile(0.5)[:, i], color=_COLOUR, linewidth=2, label="median")
