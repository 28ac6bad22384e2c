"""Makes the table of docs/methods.md from the rosters. `make docs` writes it, and a test compares it with the page."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from odelet.numerics.control import Control
from odelet.numerics.grid import Grid

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.lowering import Case, forms_of
from support.rosters import ADAPTIVE, METHODS, ON_GRID, order_of

PAGE = Path(__file__).with_name("methods.md")
START, END = "<!-- from the rosters: make docs -->\n", "<!-- to here -->\n"
HEADINGS = ("method", "order", "stages", "forms", "options", "source")


def options_of(name: str) -> str:
    """The settings that a method takes: the name of a list below the table, then its own options."""
    method = METHODS[name]
    shared = ["control"] if name in ADAPTIVE else ["grid"] if name in ON_GRID else []
    return ", ".join([*shared, *(f"`{option}`" for option in method.option_names())])


def row(name: str) -> tuple[str, ...]:
    """The cells of a method, in the order of HEADINGS."""
    method = METHODS[name]
    numbers = ("varies" if number is None else str(number) for number in (order_of(name), method.stages))
    return (
        f"`{name}`",
        *numbers,
        ", ".join(forms_of(Case(method=name, times=(0.0, 1.0), positions=(0.0, 1.0)))),
        options_of(name),
        method.source,
    )


def settings_of(kind: type[Any]) -> str:
    """The fields of a dataclass of settings, with their defaults."""
    return ", ".join(f"`{field.name}={field.default!r}`" for field in fields(kind))


def table() -> str:
    """The generated part of the page, as Markdown."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *map(row, METHODS)]
    rows = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
    return f"{rows}\n- control: {settings_of(Control)}\n- grid: {settings_of(Grid)}\n"


def page(text: str) -> str:
    """The text of the page, with the part between the marks made again."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
