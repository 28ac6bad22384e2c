"""Numbers among the inputs on the command line: `n_timesteps=int:10`, `scale=float:1.5`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from odelet.errors import InputError
from odelet.numerics.backend import NumpyArray

_FORM = re.compile(r"(?P<name>[A-Za-z_]\w*(?:\.\w+)*)=(?P<kind>int|float)(?::(?P<value>[^:]+))?")
_KINDS: dict[str, Callable[[str], int | float]] = {"int": int, "float": float}


@dataclass(frozen=True)
class NumberText:
    """One `--input` that is a number for the model. text: as the user wrote it. value: None where the text has none."""

    text: str
    name: str
    kind: str
    value: str | None

    @property
    def label(self) -> str:
        """The label of the number, for `dynamic`."""
        return self.name.replace(".", "_")

    def number(self, arrays: Mapping[str, NumpyArray] | None) -> int | float:
        """The number on the example. arrays: those of the example file, None without one. Raises InputError."""
        if arrays is None:
            if self.value is None:
                raise InputError(f'--input {self.text!r} names no number; write one, such as "{self.text}:10"')
            return self._read(self.value)
        if self.value is not None:
            raise InputError(f"--input {self.text!r}: the file gives the values; leave {':' + self.value!r} out")
        if self.name not in arrays or arrays[self.name].size != 1:
            raise InputError(f"--input {self.text!r}: the file holds no single number {self.name!r}")
        return self._read(str(arrays[self.name].item()))

    def _read(self, value: str) -> int | float:
        try:
            return _KINDS[self.kind](value)
        except ValueError:
            raise InputError(f"--input {self.text!r}: {value!r} is no {self.kind}") from None


def read_number(text: str) -> NumberText | None:
    """Read an `--input` as a number; None for the text of an array."""
    match = _FORM.fullmatch("".join(text.split()))
    return None if match is None else NumberText(text, match["name"], match["kind"], match["value"])
