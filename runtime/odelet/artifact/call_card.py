"""What a card says of the model's own call: its arguments besides the tensors, and the structure of its result.

The law here: the dataclasses are the format, as in `card`.
"""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from odelet.artifact.checks import check, check_names

# A value that JSON can hold and that is no container.
Plain: TypeAlias = Any

# What a part of a result can be. "output": a tensor. "number": a number, from an output. "fixed": a value that is the
# same in each call. "absent": what no graph gives, None in a result. The others are containers of parts.
CONTAINERS = ("tuple", "list", "dict", "named tuple", "dataclass")
KINDS = ("output", "number", "fixed", "absent", *CONTAINERS)
# The classes of these have fields that code reads by name.
_WITH_FIELDS = ("named tuple", "dataclass")


def _is_plain(value: Plain) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


@dataclass(frozen=True, kw_only=True)
class FixedCard:
    """An argument of the model, or a part of one, that is no tensor and keeps the value of the example.

    name: as an input's, with dots for a part. value: the value, a number, a text or null. described: for any other
    value its class, and "" for these.
    """

    name: str
    value: Plain = None
    described: str = ""

    def __post_init__(self) -> None:
        check(self.name != "", "a fixed argument has an empty name")
        check(_is_plain(self.value), f"the fixed argument {self.name!r} is no number, text or null")


@dataclass(frozen=True, kw_only=True)
class ResultCard:
    """The structure of a result, or of a part of one.

    kind: one of KINDS. output: for "output" and "number" the name of the output. value: of a fixed part. name: of the
    class of a named tuple or dataclass. keys: of a dict, or the names of fields. parts: of a container, in order.
    """

    kind: str
    output: str = ""
    value: Plain = None
    name: str = ""
    keys: tuple[str | int, ...] = ()
    parts: tuple[ResultCard, ...] = ()

    def __post_init__(self) -> None:
        check_names("result: kind", [self.kind], KINDS)
        check(_is_plain(self.value), "a fixed part of the result is no number, text or null")
        with_keys = self.kind in ("dict", *_WITH_FIELDS)
        good_keys = len(set(self.keys)) == len(self.keys) == (len(self.parts) if with_keys else 0)
        check(good_keys, f"the keys of a {self.kind} in the result are {list(self.keys)} for {len(self.parts)} parts")
        check(not self.parts or self.kind in CONTAINERS, f"the result has parts in an {self.kind}")
        if self.kind in _WITH_FIELDS:
            for text in (self.name, *self.keys):
                good = isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)
                check(good and not str(text).startswith("_"), f"{text!r} in the result is no name of a class or field")

    def outputs(self) -> Iterator[str]:
        """The names of the outputs in the result, in order."""
        if self.kind in ("output", "number"):
            yield self.output
        for part in self.parts:
            yield from part.outputs()


@dataclass(frozen=True, kw_only=True)
class CallCard:
    """The model's own call, as in torch.

    arguments: the names of all arguments, in order. fixed: those, and parts of those, that are no tensors. result: the
    structure of what the model returns.
    """

    arguments: tuple[str, ...]
    fixed: tuple[FixedCard, ...]
    result: ResultCard

    def check_tensors(self, inputs: Collection[str], outputs: Collection[str]) -> None:
        """Raise ArtifactError where the call does not go with the model's inputs and outputs, given by name."""
        check(set(self.result.outputs()) <= {*outputs}, "the result of the call has outputs that are not there")
        for one in self.fixed:
            check(one.name not in inputs, f"{one.name!r} is an input and a fixed argument")

    def __post_init__(self) -> None:
        for what, names in (("argument", self.arguments), ("fixed argument", [one.name for one in self.fixed])):
            check(len(set(names)) == len(names), f"the name of an {what} is there twice: {', '.join(names)}")
