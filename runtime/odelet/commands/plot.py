"""A picture of a solve: its state over time, the steps it attempted, and the error ratio of each step.

The law here: every mark is a step of one recorded solve; matplotlib is imported only when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from odelet.artifact.array_files import replace_file
from odelet.artifact.solve_card import DRIVEN
from odelet.errors import InputError, OdeletError
from odelet.loops.recorder import Recording
from odelet.loops.stats import SolveStats
from odelet.methods.roster import method_of
from odelet.model.arguments import Argument
from odelet.model.model import Model
from odelet.model.observed import Observed
from odelet.model.settings import AS_EXPORTED, CallSettings
from odelet.status import Status
from odelet.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ENDINGS = (".png", ".svg", ".pdf")
# With more curves than this, the curves hide each other.
MOST_CURVES = 6
_POINTS = 4000
# Okabe and Ito's colours, which the colour-blind can tell apart.
_CURVES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
_ACCEPTED, _REJECTED = "#333333", "#D55E00"
# Error ratios of 0 and infinity are drawn at these heights, as the axis is logarithmic.
_EDGES = (1e-12, 1e12)


@dataclass(frozen=True)
class Curve:
    """One element of the state, drawn over time. name: "y[0, 2]" for example. place: its index in a row of states."""

    name: str
    place: int


@dataclass(frozen=True)
class RecordedSolve:
    """A recorded solve, ready to be drawn.

    recording: its steps. stats: what the solve reports. end: the last output time, or the time of the event that ended
    the solve; the steps go past it. curves: the elements of the state that are drawn; count: how many elements the
    state has.
    """

    recording: Recording
    stats: SolveStats
    end: float | None
    curves: list[Curve]
    count: int

    @property
    def title(self) -> str:
        """The solve in a line, and why it failed in a second one, if it failed."""
        recording, stats = self.recording, self.stats
        attempted, accepted = len(recording.attempts), sum(step.accepted for step in recording.attempts)
        steps = f"{attempted} steps, {accepted} accepted, {attempted - accepted} rejected"
        steps = f"{accepted} steps" if accepted == attempted else steps
        status = stats.samples.status[recording.sample] if stats.samples is not None else stats.status
        failure = "" if status in (Status.OK, Status.EVENT) else f"\n{status.name}: {status.sentence}"
        sample = f", sample {recording.sample}" if stats.samples is not None else ""
        return f"{printable(f'solve {stats.index}{sample}: {stats.method}, {steps}')}{failure}"


def record(
    model: Model,
    inputs: Mapping[str, Argument],
    *,
    settings: CallSettings = AS_EXPORTED,
    solve: int = 0,
    sample: int = 0,
) -> RecordedSolve:
    """Run a model and return the recorded steps of one solve.

    inputs: of the model, by name. solve: its index in the card. sample: index in the batch, which is the first axis of
    a state of two or more axes, and of any state that is solved per sample.

    Raises InputError for a solve whose steps are not visible, and for what the model itself refuses. A solve that fails
    is recorded up to its failure.
    """
    _check(model, solve, sample)
    recording = Recording(sample)
    solution = model.solve_with(settings, (), dict(inputs), observed=Observed(recordings={solve: recording}))
    stats = next((stats for stats in solution.stats.solves if stats.index == solve), None)
    if stats is None:
        solution.raise_if_failed()
    assert stats is not None, "a call without failures has run all solves"
    curves, count = _curves(recording, per_sample=stats.samples is not None)
    if stats.samples is not None:
        # A sample that has reached its end is attempted along with those that have not.
        del recording.attempts[stats.samples.steps[sample] :]
    drive = model.card.solves[solve].drive
    last_time = float(recording.times[-1]) if recording.times.size else None
    end = stats.time if drive is not None and drive.event is not None else last_time
    return RecordedSolve(recording, stats, end, curves, count)


def _check(model: Model, solve: int, sample: int) -> None:
    card = model.card
    if not card.solves:
        raise InputError(f"a plot shows a solve, and this artifact has the form {card.form!r}: its model has none")
    if not 0 <= solve < len(card.solves):
        raise InputError(f"solve={solve} is not in the artifact, whose solves are 0 to {len(card.solves) - 1}")
    if sample < 0:
        raise InputError(f"sample={sample} must not be negative")
    solve_card = card.solves[solve]
    name = f"solve {solve} ({solve_card.source})"
    if solve_card.drive is None:
        raise InputError(
            f"{name} has the form {solve_card.form!r}, and takes its steps inside the graph, where nobody sees them; "
            f"export the model with the form {DRIVEN.name!r}"
            + (", or draw many paths with --paths 200" if card.noise else "")
        )
    method = method_of(solve_card.method)
    if not (method.adaptive or method.fixed):
        why = "is an iteration, without time" if method.iterates else "has its steps taken by SciPy"
        raise InputError(f"{name} {why} ({solve_card.method}); there are no steps to plot")


def _curves(recording: Recording, *, per_sample: bool) -> tuple[list[Curve], int]:
    """Return the elements of the sample's state that change most, and how many elements that state has."""
    curves: list[Curve] = []
    part_start = 0
    single = len(recording.shapes) == 1
    for number, shape in enumerate(recording.shapes):
        has_batch = per_sample or len(shape) > 1
        if has_batch and shape[0] <= recording.sample:
            raise InputError(f"sample={recording.sample} is not in the batch, which has {shape[0]} samples")
        element_shape = shape[1:] if has_batch else shape
        # The rows of a solve per sample hold the one sample alone.
        first = part_start + (0 if per_sample or not has_batch else recording.sample * prod(element_shape))
        name = "y" if single else f"y{number}"
        for i in range(prod(element_shape)):
            index = [int(position) for position in np.unravel_index(i, element_shape)] if element_shape else ""
            curves.append(Curve(f"{name}{index}", first + i))
        part_start += prod(element_shape) if per_sample else prod(shape)
    if len(curves) <= MOST_CURVES or not recording.steps:
        return curves[:MOST_CURVES], len(curves)
    rows = np.array([row for step in recording.steps for row in (step.ends.y0[0], step.ends.y1[0])])
    with np.errstate(all="ignore"):
        spread = np.nan_to_num(rows.max(axis=0) - rows.min(axis=0))
    chosen = sorted(curves, key=lambda curve: -spread[curve.place])[:MOST_CURVES]
    return [curve for curve in curves if curve in chosen], len(curves)


def check_picture(path: Path) -> None:
    """Raise InputError unless a picture can be written to the path, and OdeletError if matplotlib is not installed."""
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
    """Write a figure in the format that the file's ending names, in place of the file that is there."""
    replace_file(path, lambda file: figure.savefig(file, format=path.suffix[1:], dpi=110))


def draw(recorded: RecordedSolve) -> Figure:
    """Return a figure of the state, of each step's length, and for an adaptive method of each step's error ratio."""
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
        points_per_step = int(np.clip(_POINTS // len(recording.steps), 2, 24))
        times, rows = [], []
        for step in recording.steps:
            for time in np.linspace(float(step.start), float(step.end), points_per_step):
                times.append(recording.direction * time)
                rows.append(step.read(time))
        states = np.array(rows)
        end_times = [recording.direction * float(step.end) for step in recording.steps]
        end_states = np.array([step.ends.y1[0] for step in recording.steps])
        for curve, colour in zip(recorded.curves, _CURVES, strict=False):
            line, marks = states[:, curve.place], end_states[:, curve.place]
            axis.plot(times, line, color=colour, linewidth=1.3, label=curve.name)
            axis.plot(end_times, marks, ".", color=colour, markersize=5, label=f"_steps of {curve.name}")
    for attempt in recording.attempts:
        if not attempt.accepted:
            axis.axvline(attempt.time, color=_REJECTED, linewidth=0.7, alpha=0.35)
    axis.set_ylabel("state")
    if recorded.curves and recording.steps:
        few = len(recorded.curves) < recorded.count
        title = f"{len(recorded.curves)} of {recorded.count} elements, those that change most" if few else None
        axis.legend(loc="best", fontsize=9, title=title, title_fontsize=9, ncols=3 if few else 1)


def _draw_marks(axis: Axes, recorded: RecordedSolve, quantity: str, floor: float) -> None:
    """Draw a mark for each attempted step, at its start and as high as its length or ratio, at least at the floor."""
    for accepted, name, mark, colour in ((True, "accepted", "o", _ACCEPTED), (False, "rejected", "x", _REJECTED)):
        steps = [step for step in recorded.recording.attempts if step.accepted is accepted]
        if steps or accepted:
            values = np.nan_to_num([float(getattr(step, quantity)) for step in steps], nan=_EDGES[1], posinf=_EDGES[1])
            heights = np.clip(np.abs(values), floor, _EDGES[1])
            axis.plot([step.time for step in steps], heights, mark, color=colour, markersize=4.5, label=name)


def _logarithmic(axis: Axes) -> None:
    """Make the axis logarithmic, with ticks between the powers of ten if it spans few of them."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    few = high < 100 * low
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6))
    axis.yaxis.set_minor_formatter(NullFormatter())
    if few:
        axis.yaxis.set_major_formatter("{x:g}")


def _draw_steps(axis: Axes, recorded: RecordedSolve, *, adaptive: bool) -> None:
    _draw_marks(axis, recorded, "length", 0.0)
    axis.set_ylabel("step length")
    if adaptive:
        _logarithmic(axis)
    else:
        axis.set_ylim(0, 1.2 * axis.get_ylim()[1])


def _draw_ratios(axis: Axes, recorded: RecordedSolve) -> None:
    _draw_marks(axis, recorded, "ratio", _EDGES[0])
    axis.axhline(1.0, color=_REJECTED, linewidth=0.8)
    _logarithmic(axis)
    axis.set_ylabel("error / tolerance")
    axis.legend(loc="best", fontsize=9)
