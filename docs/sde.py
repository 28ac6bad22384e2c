"""Makes the table of docs/sde.md from the roster, and with --picture its picture, from the page's own example.

`make docs` writes the table, and a test compares it with the page.
"""

from __future__ import annotations

import re
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from odelet.methods.sde import NOISES
from odelet.methods.sde_steps import SDE_METHODS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.sdes import torchsde_name

PAGE, PICTURE = Path(__file__).with_name("sde.md"), Path(__file__).with_name("sde-fan.png")
START, END = "<!-- from the roster: make docs -->\n", "<!-- to here -->\n"
HEADINGS = ("in torchsde", "sense", *NOISES, "strong order", "f, g a step", "numbers a step", "name in cards", "source")
# How many numbers a step draws, by what is made of them; m is the number of channels.
_NUMBERS = {"w": "m", "h": "m", "area": "m²"}


def row(name: str) -> tuple[str, ...]:
    """The cells of a method, in the order of HEADINGS."""
    method = SDE_METHODS[name]
    called, options = torchsde_name(name)
    derivative = " and a derivative of g" if method.correction else ""
    return (
        ", ".join([f"`{called}`", *(f"`{option}`" for option in options)]),
        method.calculus.capitalize(),
        *("yes" if noise in method.noises else "" for noise in NOISES),
        f"{method.strong_order:g}",
        f"{method.drifts}, {method.diffusions}{derivative}",
        " + ".join(_NUMBERS[draw] for draw in method.draws),
        f"`{name}`",
        method.source,
    )


def table() -> str:
    """The generated part of the page, as Markdown."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *map(row, SDE_METHODS)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def page(text: str) -> str:
    """The text of the page, with the part between the marks made again."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}{table()}{END}{after}"


def example(text: str) -> dict[str, Any]:
    """The names that the example of the page defines."""
    scope: dict[str, Any] = {"__name__": "example"}
    for code in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S):
        exec(code, scope)
    return scope


def draw() -> None:
    """Draw the picture of the page."""
    from PIL import Image

    from odelet.commands.fan import draw_fan, fan_of, fan_output

    scope = example(PAGE.read_text(encoding="utf-8"))
    fan = fan_of(fan_output(scope["model"].card), scope["paths"], {"y0": scope["y0"]})
    picture = BytesIO()
    draw_fan(fan).savefig(picture, dpi=90)
    # A palette of 64 colours makes the file a third of the size.
    Image.open(picture).convert("RGB").quantize(64).save(PICTURE, optimize=True)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    if "--picture" in sys.argv:
        draw()
