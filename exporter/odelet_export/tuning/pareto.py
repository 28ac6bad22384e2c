"""The picture of a tuning: error against latency, with a mark on the chosen candidate.

The law here: each mark is a measured row. The marks of rows on part of the data are pale.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from odelet.artifact.array_files import replace_file
from odelet_export.tuning.record import Row
from odelet_export.tuning.result import Tuning

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PICTURE = "pareto.png"
# The colours are Okabe and Ito's, which colour-blind readers can tell apart, and two more.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#8C564B")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "<", ">")
_OWN = "#000000"


def draw(tuning: Tuning) -> Figure:
    """A picture of error against milliseconds, on log axes: a colour for each method, a marker for each form and for
    native code of it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = [row for row in tuning.rows if 0 < row.worst < inf and row.time < inf]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axis = figure.subplots()
    methods = list(dict.fromkeys(row.candidate.method for row in sorted(rows, key=_name) if row.candidate.method))
    colours = {method: _COLOURS[i % len(_COLOURS)] for i, method in enumerate(methods)} | {None: _OWN}
    forms = list(dict.fromkeys(row.candidate.way for row in sorted(rows, key=lambda row: row.candidate.way)))
    markers = {form: _MARKERS[i % len(_MARKERS)] for i, form in enumerate(forms)}
    for complete in (False, True):
        for (method, form), group in _groups(rows, tuning.calls, complete=complete).items():
            axis.plot(
                [row.time for row in group],
                [row.worst for row in group],
                markers[form],
                color=colours[method],
                alpha=1.0 if complete else 0.25,
                markersize=6.5 if complete else 5,
                markeredgewidth=0,
                label=f"_{method} {form}{'' if complete else ', part of the data'}",
            )
    front = [row for row in tuning.front if row.worst > 0]
    axis.step(
        [row.time for row in front], [row.worst for row in front], where="post", color="#888888", lw=1, label="_front"
    )
    axis.axhline(tuning.record.target, color="#D55E00", lw=1, ls="--", label="_target")
    if tuning.record.budget is not None:
        axis.axvline(tuning.record.budget, color="#D55E00", lw=1, ls=":", label="_budget")
    _name_choice(axis, tuning)
    axis.set(xscale="log", yscale="log", xlabel="milliseconds of a call", ylabel="largest error of any sample")
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(which="major", color="#dddddd", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    _add_legends(figure, colours, markers)
    return figure


def _name(row: Row) -> str:
    return row.candidate.method or ""


def _groups(rows: Sequence[Row], calls: int, *, complete: bool) -> dict[tuple[str | None, str], list[Row]]:
    """The rows on all calls, or the rows on fewer calls, by method and form."""
    groups: dict[tuple[str | None, str], list[Row]] = {}
    for row in rows:
        if (row.calls == calls) is complete:
            groups.setdefault((row.candidate.method, row.candidate.way), []).append(row)
    return groups


def _name_choice(axis: Axes, tuning: Tuning) -> None:
    """Put a ring around the choice or the nearest row, and its name above the picture."""
    chosen, near = tuning.choice, tuning.nearest
    row = chosen or near
    if row is None or row.worst <= 0:
        return
    axis.plot(
        [row.time], [row.worst], "o", ms=15, mfc="none", mec="#D55E00", mew=2, label="_chosen" if chosen else "_nearest"
    )
    # Beside the ring the name would cover other marks.
    title = f"{'chosen' if chosen else 'nothing is good enough; nearest'}: {row.candidate}"
    axis.set_title(f"{title}: error {row.worst:.2g}, {row.time:.3g} ms", loc="left", fontsize=11, color="#D55E00")


def _add_legends(figure: Figure, colours: dict[str | None, str], markers: dict[str, str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    plain: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 0}
    handles: list[Any] = [Patch(color=colour, label=method or "as it is") for method, colour in colours.items()]
    handles += [Line2D([], [], color="#555555", marker=marker, label=form, **plain) for form, marker in markers.items()]
    handles += [
        Line2D([], [], color="#bbbbbb", marker="o", label="on part of the data", **plain),
        Line2D([], [], color="#888888", label="Pareto front"),
        Line2D([], [], color="#D55E00", linestyle="--", label="target"),
    ]
    figure.legend(handles=handles, loc="outside right center", fontsize=9.5, frameon=False)


def write_picture(tuning: Tuning) -> None:
    """Draw pareto.png in the tuning's folder. An older picture is removed, also where matplotlib is missing."""
    path = tuning.folder / PICTURE
    path.unlink(missing_ok=True)
    try:
        figure = draw(tuning)
    except ImportError:
        return
    replace_file(path, lambda file: figure.savefig(file, format="png", dpi=100))
