"""Text from others, made fit for a terminal: whatever an artifact or a file calls its parts, it only shows itself."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: str, *, keep: str = "") -> str:
    r"""Return a text with each character that shows nothing, or that steers a terminal, written as its escape.

    These are control characters, among them line ends, marks that turn the direction of writing, and halves of
    surrogate pairs. keep: characters that stay as they are.

    >>> print(printable("a\x1b]0;title\x07b\n\u202egpj"))
    a\x1b]0;title\x07b\n\u202egpj
    """
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def screen(lines: Iterable[str]) -> str:
    """Return lines of text as a screen of text, on which no name begins a line of its own."""
    return "\n".join(printable(line) for line in lines)
