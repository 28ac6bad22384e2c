"""What was captured of a model, as text: the lines of `odelet export --explain`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from odelet_export.commands.screen import numbers, print_rows
from odelet_export.pipeline.explanation import Explanation, FieldExplained, Read, SolveExplained

# Names of operators that are told of a function; the others are counted together.
_TOP = 5
# So many tensors are named one by one.
_MANY = 12


def show_explanation(explanation: Explanation, *, name: str) -> None:
    """Print it on stdout, wrapped on a terminal, whole lines elsewhere."""
    print_rows("Captured ", f"{name} {explanation.traced}", rows(explanation))


def rows(explanation: Explanation) -> list[tuple[str, str]]:
    """Labels and lines."""
    found = [
        (
            "graph",
            f"{_counted(explanation.nodes, 'node')}, {explanation.host} of them in the host, around the "
            f"{_counted(len(explanation.solves), 'solve')}",
        )
    ]
    if explanation.unused:
        found.append(("", f"{_counted(explanation.unused, 'solve')} that no output depends on left out"))
    for solve in explanation.solves:
        found += _solve(solve)
    found += [("noise", str(read)) for read in explanation.noise]
    for card in explanation.assumptions:
        found.append(("assumed", _assumption(card)))
    return found + [("warning", warning) for warning in explanation.warnings]


def _solve(solve: SolveExplained) -> Iterable[tuple[str, str]]:
    tolerances = [
        f"{key} {numbers(value)}" for key, value in (("rtol", solve.rtol), ("atol", solve.atol)) if value is not None
    ]
    options = [f"{key}={value}" for key, value in solve.options.items()]
    own = ["each sample on its own"] if solve.per_sample else []
    yield f"solve {solve.index}", ", ".join([solve.method, *tolerances, *options, *own, f"to be {solve.form}"])
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
    told = ", ".join([*(f"{count} {name}" for name, count in top), *([f"{others} other"] if others else [])])
    line = _counted(function.nodes, "node") + (f" ({told})" if told else "")
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
    """A record with source, text and value: what was decided where, on the example."""
    return f"{card.text} = {card.value} ({card.source})"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
