"""An explanation as text: the lines of `odelet export --explain`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from odelet_export.commands.screen import numbers, print_rows
from odelet_export.pipeline.explanation import Explanation, FieldExplained, Read, SolveExplained

# A line about a function names at most this many operators; the others are counted together.
_TOP = 5
# A line names at most this many tensors.
_MANY = 12


def show_explanation(explanation: Explanation, *, name: str) -> None:
    """Print an explanation on stdout, wrapped on a terminal, in whole lines elsewhere. name: the model's name."""
    print_rows("Captured ", f"{name} {explanation.traced}", rows(explanation))


def rows(explanation: Explanation) -> list[tuple[str, str]]:
    """The labels and lines of an explanation."""
    lines = [
        (
            "graph",
            f"{_counted(explanation.nodes, 'node')}, {explanation.host} of them in the host, around the "
            f"{_counted(len(explanation.solves), 'solve')}",
        )
    ]
    if explanation.unused:
        lines.append(("", f"{_counted(explanation.unused, 'solve')} that no output depends on left out"))
    for solve in explanation.solves:
        lines += _solve(solve)
    lines += [("noise", str(read)) for read in explanation.noise]
    for card in explanation.assumptions:
        lines.append(("assumed", _assumption(card)))
    return lines + [("warning", warning) for warning in explanation.warnings]


def _solve(solve: SolveExplained) -> Iterable[tuple[str, str]]:
    tolerances = [
        f"{key} {numbers(value)}" for key, value in (("rtol", solve.rtol), ("atol", solve.atol)) if value is not None
    ]
    options = [f"{key}={value}" for key, value in solve.options.items()]
    rows = ["each sample on its own"] if solve.per_sample else []
    yield f"solve {solve.index}", ", ".join([solve.method, *tolerances, *options, *rows, f"to be {solve.form}"])
    yield "", f'{solve.entry} in File "{solve.file}", line {solve.line}'
    if solve.text:
        yield "", f"  {solve.text}"
    yield "state", ", ".join(str(part) for part in solve.state)
    yield "times", solve.times
    for function in solve.functions:
        yield from _function(function)


def _function(function: FieldExplained) -> Iterable[tuple[str, str]]:
    top = list(function.operators.items())[:_TOP]
    others = function.nodes - sum(count for _, count in top)
    operators = ", ".join([*(f"{count} {name}" for name, count in top), *([f"{others} other"] if others else [])])
    line = _counted(function.nodes, "node") + (f" ({operators})" if operators else "")
    line += f"; {function.hoisted} more computed once" if function.hoisted else ""
    if function.name != "norm":
        line += "; uses t" if function.uses_time else "; does not use t"
    yield function.name, line
    for label, reads in (("weights", function.weights), ("inputs", function.inputs), ("contexts", function.contexts)):
        if reads:
            yield f" {label}", _listed(reads)
    if function.numbers:
        yield " numbers", f"{function.numbers} constant"
    if function.nested:
        yield " nested", f"solve {', '.join(map(str, function.nested))}"


def _listed(reads: tuple[Read, ...]) -> str:
    shown = ", ".join(str(read) for read in reads[:_MANY])
    return shown + (f" and {len(reads) - _MANY} more" if len(reads) > _MANY else "")


def _assumption(card: Any) -> str:
    """A line about an assumption: the decision of the model's code, its value on the example, and its place."""
    return f"{card.text} = {card.value} ({card.source})"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
