"""Makes the tables of docs/targets.md from the rosters. `make docs` writes them; a test compares them with the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from odelet.artifact.card import DTYPES
from odelet_export.lowering.profiles import PROFILES, Profile
from odelet_export.targets.build.roster import TARGETS

PAGE = Path(__file__).with_name("targets.md")
START, END = "<!-- from the rosters: make docs -->\n", "<!-- to here -->\n"

CELLS: dict[str, Callable[[Profile], str]] = {
    "profile": lambda one: f"`{one.name}`",
    "for": lambda one: one.about,
    "loops in a graph": lambda one: "yes" if one.loops else "no",
    "sizes that vary": lambda one: "yes" if one.dynamic else "no",
    "types it lacks": lambda one: ", ".join(x for x in DTYPES if x not in one.types) or "none",
    "settings": lambda one: one.settings,
    "reports": lambda one: (
        "a number for each sample" if one.batch_first else "all" if one.doubles else "all, in float32"
    ),
    "batch first": lambda one: "yes" if one.batch_first else "as in the model",
}


def targets() -> str:
    """The table of targets, as Markdown."""
    rows = [("target", "writes", "profile"), ("---", "---", "---")]
    rows += [(f"`{one.name}`", one.about, f"`{one.profile.name}`") for one in TARGETS.values()]
    return _table(rows)


def profiles() -> str:
    """The table of profiles, as Markdown."""
    rows = [tuple(CELLS), tuple("---" for _ in CELLS)]
    rows += [tuple(cell(one) for cell in CELLS.values()) for one in PROFILES.values()]
    return _table(rows)


def page(text: str) -> str:
    """The text of the page, with the parts between the marks made again."""
    before, first, second = text.split(START)
    between, after = first.split(END)[1], second.split(END)[1]
    return f"{before}{START}{targets()}{END}{between}{START}{profiles()}{END}{after}"


def _table(rows: list[tuple[str, ...]]) -> str:
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
