"""The names that targets take: those of functions in C, and those of folders."""

from __future__ import annotations

import re
from dataclasses import dataclass

from odelet.errors import InputError


@dataclass(frozen=True, kw_only=True)
class NameRule:
    """What the names of a target may be. about: what such a name is, for messages. first, others: the characters with
    which one may begin, and those that may follow, as sets of a regular expression."""

    about: str
    first: str
    others: str

    def check(self, name: str) -> str:
        """The name itself. Raises InputError for one that the target cannot have."""
        if not re.fullmatch(f"[{self.first}][{self.others}]*", name):
            raise InputError(f"name={name!r} must be {self.about}")
        return name

    def made_of(self, model: str) -> str:
        """A name for the model of that name."""
        plain = re.sub(f"[^{self.others}]+", "_", model.lower()).strip("_")
        return plain if re.match(f"[{self.first}]", plain) else f"model_{plain}"


IN_C = NameRule(about="a name in C, such as 'spiral'", first="A-Za-z", others="A-Za-z0-9_")
OF_FOLDER = NameRule(
    about="a name of letters, digits, '_', '-' and '.', which begins with a letter or a digit, such as 'spiral-net'",
    first="A-Za-z0-9",
    others="A-Za-z0-9_.-",
)
