"""A picture of a solve: where it went, which steps it tried, and how large the error of each was.

The law here: every mark is a step that was taken for this picture; matplotlib is imported when one is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odelet.artifact.array_files import replace_file
from odelet.artifact.solve_card import DRIVEN
from odelet.errors import InputError, OdeletError
from odelet.loops.recorder import Recording
from odelet.loops.stats import SolveStats
from odelet.methods.roster import method_of
from odelet.model.model import Model
from odelet.model.settings import check_settings
from odelet.status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ENDINGS = (".png", ".svg", ".pdf")
# More curves than this hide each other.
MOST_CURVES = 6
_POINTS = 4000
# Okabe and Ito's colours, which the colour-blind can tell apart.
_CURVES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
_ACCEPTED, _REJECTED = "#333333", "#D55E00"
# Where ratios that no logarithm has stand.
_EDGES = (1e-12, 1e12)


@dataclass(frozen=True)
class RecordedSolve:
    """A solve that was recorded. stats: what it says of itself. end: the last time asked for, or that of the event that
    ended the solve; steps go past it. curves: name and place in a row of each element of the state that is drawn;
    count: of how many."""

    recording: Recording
    stats: SolveStats
    end: float | None
    curves: list[tuple[str, int]]
    count: int

    @property
    def title(self) -> str:
        """The solve in a line, and in a second one why it failed, if it did."""
        recording, stats = self.recording, self.stats
        tried, accepted = len(recording.attempts), sum(step.accepted for step in recording.attempts)
        told = f"{tried} steps, {accepted} accepted, {tried - accepted} rejected"
        told = f"{accepted} steps" if accepted == tried else told
        status = stats.samples.status[recording.sample] if stats.samples is not None else stats.status
        failed = "" if status in (Status.OK, Status.EVENT) else f"\n{status.name}: {status.sentence}"
        own = f", sample {recording.sample}" if stats.samples is not None else ""
        return f"solve {stats.index}{own}: {stats.method}, {told}{failed}"


def record(
    model: Model, inputs: Mapping[str, Any], *, solve: int = 0, sample: int = 0, seed: int | None = None, **given: Any
) -> RecordedSolve:
    """Run a model and record the steps of one solve.

    solve: its index in the card. sample: of the batch; that is the first axis of a state of two axes or more, and of
    any state that is solved per sample. given: rtol, atol, max_steps, max_evals, deadline. Raises InputError for a
    solve whose steps nobody sees, and for what the model itself refuses; a solve that fails is recorded until then.
    """
    _check(model, solve, sample)
    check_settings(given, model.card)
    recording = Recording(sample)
    values = model._run((), dict(inputs), given, seed, recordings={solve: recording})
    solution = model._solution(*values)
    stats = next((stats for stats in solution.stats.solves if stats.index == solve), None)
    if stats is None:
        solution.raise_if_failed()
    assert stats is not None, "a call without failures has run all solves"
    curves, count = _curves(recording, per_sample=stats.samples is not None)
    if stats.samples is not None:
        # A sample that is done is tried along with those that are not.
        del recording.attempts[stats.samples.steps[sample] :]
    drive = model.card.solves[solve].drive
    asked = float(recording.times[-1]) if recording.times.size else None
    end = stats.time if drive is not None and drive.event is not None else asked
    return RecordedSolve(recording, stats, end, curves, count)


def _check(model: Model, solve: int, sample: int) -> None:
    card = model.card
    if not 0 <= solve < len(card.solves):
        raise InputError(f"solve={solve} is not in the artifact, whose solves are 0 to {len(card.solves) - 1}")
    if sample < 0:
        raise InputError(f"sample={sample} must not be negative")
    told = card.solves[solve]
    if told.drive is None:
        raise InputError(
            f"solve {solve} ({told.source}) has the form {told.form!r}, and takes its steps inside the graph, where "
            f"nobody sees them; export the model with the form {DRIVEN.name!r}"
        )
    method = method_of(told.method)
    if not (method.adaptive or method.fixed):
        whose = "is an iteration, without time" if method.iterates else "has its steps taken by SciPy"
        raise InputError(f"solve {solve} ({told.source}) {whose} ({told.method}); there are no steps to plot")


def _curves(recording: Recording, *, per_sample: bool) -> tuple[list[tuple[str, int]], int]:
    """The elements of the state to draw: those of the sample that change most, and how many it has."""
    found: list[tuple[str, int]] = []
    place = 0
    single = len(recording.shapes) == 1
    for number, shape in enumerate(recording.shapes):
        batch = per_sample or len(shape) > 1
        if batch and shape[0] <= recording.sample:
            raise InputError(f"sample={recording.sample} is not in the batch, which has {shape[0]} samples")
        own = shape[1:] if batch else shape
        first = place + (0 if per_sample or not batch else recording.sample * prod(own))
        name = "y" if single else f"y{number}"
        for i in range(prod(own)):
            index = [int(one) for one in np.unravel_index(i, own)] if own else ""
            found.append((f"{name}{index}", first + i))
        place += prod(own) if per_sample else prod(shape)
    rows = np.array([row for piece in recording.steps for row in (piece.ends.y0[0], piece.ends.y1[0])])
    if len(found) <= MOST_CURVES or not recording.steps:
        return found[:MOST_CURVES], len(found)
    with np.errstate(all="ignore"):
        spread = np.nan_to_num(rows.max(axis=0) - rows.min(axis=0))
    chosen = sorted(found, key=lambda curve: -spread[curve[1]])[:MOST_CURVES]
    return [curve for curve in found if curve in chosen], len(found)


def check_picture(path: Path) -> None:
    """Raise InputError unless such a picture can be written, and OdeletError where matplotlib is not there."""
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: its ending must be one of {', '.join(ENDINGS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent} to write to")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise OdeletError(
            f'pictures are drawn by matplotlib ({error}); install it with: pip install "odelet[plot]"'
        ) from None


def write_picture(path: Path, figure: Figure) -> None:
    """Write a figure, in place of what is there."""
    replace_file(path, lambda file: figure.savefig(file, format=path.suffix[1:], dpi=110))


def draw(recorded: RecordedSolve) -> Figure:
    """The figure: the state, the length of each step, and for an adaptive method the error ratio of each."""
    from matplotlib.figure import Figure

    recording = recorded.recording
    adaptive = any(step.ratio is not None for step in recording.attempts)
    heights = [2.2, 1, 1] if adaptive else [2.2, 1]
    figure = Figure(figsize=(9, 7.5 if adaptive else 6), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_state(axes[0], recorded)
    _draw_steps(axes[1], recorded, adaptive=adaptive)
    if adaptive:
        _draw_ratios(axes[2], recorded)
    for axis in axes:
        if (
            recorded.end is not None
            and recording.steps
            and recording.direction * recorded.end <= float(recording.steps[-1].end)
        ):
            axis.axvline(recorded.end, color="#999999", linewidth=0.8, linestyle=":")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("time")
    figure.suptitle(recorded.title, fontsize=11)
    return figure


def _draw_state(axis: Axes, recorded: RecordedSolve) -> None:
    recording = recorded.recording
    if recording.steps:
        each = int(np.clip(_POINTS // len(recording.steps), 2, 24))
        times, rows = [], []
        for piece in recording.steps:
            for time in np.linspace(float(piece.start), float(piece.end), each):
                times.append(recording.direction * time)
                rows.append(piece.read(time))
        curves = np.array(rows)
        ends = [recording.direction * float(piece.end) for piece in recording.steps]
        reached = np.array([piece.ends.y1[0] for piece in recording.steps])
        for (name, place), colour in zip(recorded.curves, _CURVES, strict=False):
            axis.plot(times, curves[:, place], color=colour, linewidth=1.3, label=name)
            axis.plot(ends, reached[:, place], ".", color=colour, markersize=5, label=f"_steps of {name}")
    for step in recording.attempts:
        if not step.accepted:
            axis.axvline(step.time, color=_REJECTED, linewidth=0.7, alpha=0.35)
    axis.set_ylabel("state")
    if recorded.curves and recording.steps:
        few = len(recorded.curves) < recorded.count
        title = f"{len(recorded.curves)} of {recorded.count} elements, those that change most" if few else None
        axis.legend(loc="best", fontsize=9, title=title, title_fontsize=9, ncols=3 if few else 1)


def _marks(axis: Axes, recorded: RecordedSolve, what: str, floor: float) -> None:
    """A mark for each step, at the time it starts from."""
    for accepted, name, mark, colour in ((True, "accepted", "o", _ACCEPTED), (False, "rejected", "x", _REJECTED)):
        steps = [step for step in recorded.recording.attempts if step.accepted is accepted]
        if steps or accepted:
            values = np.nan_to_num([float(getattr(step, what)) for step in steps], nan=_EDGES[1], posinf=_EDGES[1])
            heights = np.clip(np.abs(values), floor, _EDGES[1])
            axis.plot([step.time for step in steps], heights, mark, color=colour, markersize=4.5, label=name)


def _logarithmic(axis: Axes) -> None:
    """Heights by their logarithms, with ticks between the powers of ten where these are few."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    few = high < 100 * low
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6))
    axis.yaxis.set_minor_formatter(NullFormatter())
    if few:
        axis.yaxis.set_major_formatter("{x:g}")


def _draw_steps(axis: Axes, recorded: RecordedSolve, *, adaptive: bool) -> None:
    _marks(axis, recorded, "length", 0.0)
    axis.set_ylabel("step length")
    if adaptive:
        _logarithmic(axis)
    else:
        axis.set_ylim(0, 1.2 * axis.get_ylim()[1])


def _draw_ratios(axis: Axes, recorded: RecordedSolve) -> None:
    _marks(axis, recorded, "ratio", _EDGES[0])
    axis.axhline(1.0, color=_REJECTED, linewidth=0.8)
    _logarithmic(axis)
    axis.set_ylabel("error / tolerance")
    axis.legend(loc="best", fontsize=9)
