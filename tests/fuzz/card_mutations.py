"""Mutations of a card: of its JSON by the type of each value, of what the driver does with it, and of its text."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

from odelet.artifact.solve_card import FORMS, REPORTS, SETTINGS
from odelet.methods.roster import METHODS

Path = tuple[str | int, ...]

TEXTS = (
    *("", " ", "x" * 5000, "../model.onnx", "/etc/passwd", "model.onnx", "odelet.json", "\x1b]0;x\x07", "\ud83d", "名"),
    *("a\x00b", "batch", "2*batch", "batch//0", "1e9*batch", "float16", "bool", "mixed", "nan", *METHODS, *FORMS),
)
WHOLE = (0, 1, -1, 2, 3, 7, 255, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400)
REAL = (0.0, -0.0, -1.0, 1e-320, 1e-30, 1e-7, 0.5, 1.0, 1e30, 1.7e308)
OPTIONS = (
    *(
        "step_size",
        "steps",
        "first_step",
        "min_step",
        "max_step",
        "safety",
        "ifactor",
        "dfactor",
        "max_num_steps",
        "norm",
    ),
    *("controller", "interp", "perturb", "grid_constructor", "step_t", "jump_t", "dtype", "max_order", "max_iters"),
    *("solver", "tol", "memory", "mixing", "beta", "options", "atol", "unheard"),
)


def mutated_card(text: bytes, random: Random) -> tuple[str, bytes]:
    """Return what was done to a card, and its text afterwards."""
    if random.random() < 0.15:
        return _mutated_text(text, random)
    card = json.loads(text)
    notes = []
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        # After an earlier mutation, a later one may not find what it is made for.
        with suppress(TypeError, KeyError, ValueError, IndexError, AttributeError):
            notes.append(random.choice(_MUTATIONS)(card, random))
    return "; ".join(notes), json.dumps(card, indent=2).encode()


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all values in a value, but for the value itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def _at(card: Any, path: Path) -> Any:
    for key in path:
        card = card[key]
    return card


def _some_path(card: Any, random: Random) -> Path:
    paths = [path for path in _paths(card) if path[0] != "files" or random.random() < 0.2]
    # The entries of a solve are what the driver works with.
    inner = [path for path in paths if path[0] in ("solves", "fallback", "program")]
    return random.choice(inner if inner and random.random() < 0.5 else paths or [("x",)])


def other_value(value: Any, random: Random) -> Any:
    """Return a value that is like a value, or of another type."""
    if random.random() < 0.15:
        return copy.deepcopy(random.choice((None, True, 0, 1.5, "x", [], {}, [1.0], {"run": "model.onnx"}, [[[]]])))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((*WHOLE, value + 1, value - 1, -value, float(value), value * 2))
    if isinstance(value, float):
        return random.choice((*REAL, -value, value * (1 + 1e-6), value * 1e6, value / 1e6, int(value)))
    if isinstance(value, str):
        at = random.randrange(len(value)) if value else 0
        return random.choice((random.choice(TEXTS), value + "x", value[:at], value[:at] + "~" + value[at + 1 :]))
    if isinstance(value, list):
        shuffled = random.sample(value, len(value))
        return random.choice(
            (value[1:], value[:-1], value * 2, value[::-1], [], value * 1000, shuffled, [*value, None])
        )
    if isinstance(value, dict):
        keys = random.sample(list(value), len(value))
        return random.choice(({}, dict(zip(value, [value[key] for key in keys], strict=True)), {**value, "unheard": 1}))
    return random.choice((0, 1.0, "x", [], {}, False, 10**30, [0.5], "dopri5"))


def _replace(card: Any, random: Random) -> str:
    path = _some_path(card, random)
    if path == ("x",):
        return "nothing"
    value = other_value(_at(card, path), random)
    _at(card, path[:-1])[path[-1]] = value
    return f"{path} = {repr(value)[:60]}"


def _drop(card: Any, random: Random) -> str:
    path = _some_path(card, random)
    if path == ("x",):
        return "nothing"
    del _at(card, path[:-1])[path[-1]]
    return f"without {path}"


def _exchange(card: Any, random: Random) -> str:
    one, two = _some_path(card, random), _some_path(card, random)
    if one == ("x",) or one[: len(two)] == two or two[: len(one)] == one:
        return "nothing"
    first, second = copy.deepcopy(_at(card, one)), copy.deepcopy(_at(card, two))
    _at(card, one[:-1])[one[-1]], _at(card, two[:-1])[two[-1]] = second, first
    return f"{one} and {two} exchanged"


def _rename(card: Any, random: Random) -> str:
    path = _some_path(card, random)
    if not isinstance(path[-1], str) or path == ("x",):
        return "nothing"
    holder = _at(card, path[:-1])
    name = random.choice((path[-1].upper(), path[-1] + "_", "", "run", "drive", *holder))
    holder[name] = holder.pop(path[-1])
    return f"{path} renamed {name!r}"


def _solves(card: Any) -> list[dict[str, Any]]:
    return [solve for solve in card.get("solves") or () if isinstance(solve, dict)] if isinstance(card, dict) else []


def _drive(card: Any, random: Random) -> str:
    """Change what a driver reads: the method, its options, tolerances, names of values, settings."""
    solves = _solves(card)
    if not solves:
        return "nothing"
    solve = random.choice(solves)
    drive = solve["drive"] if isinstance(solve.get("drive"), dict) else {}
    what = random.choice(("method", "options", "names", "tolerances", "per_sample", "report", "settings", "dtype"))
    if what == "method":
        solve["method"] = random.choice([*METHODS])
    elif what == "options":
        options = drive.setdefault("options", {})
        if isinstance(options, dict):
            value = random.choice((*REAL, *WHOLE[:-1], "float32", "cubic", [0.5], [], None, True, "t", {}, -0.1, 1e-12))
            options[random.choice(OPTIONS)] = value
    elif what == "names" and drive:
        key = random.choice([*drive])
        drive[key] = other_value(drive[key], random)
    elif what == "tolerances":
        solve[random.choice(("rtol", "atol", "max_steps", "steps"))] = random.choice(
            (*REAL, *WHOLE, None, [1e-3], [1e-3] * 3)
        )
    elif what == "per_sample":
        solve["per_sample"] = not solve.get("per_sample")
    elif what == "report":
        values = [*(solve.get("report") or {}).values(), "x", "y", "path"]
        solve.setdefault("report", {})[random.choice(REPORTS)] = random.choice(values)
    elif what == "settings":
        values = [*(solve.get("settings") or {}).values(), None, "x", "t"]
        solve.setdefault("settings", {})[random.choice(SETTINGS)] = random.choice(values)
    else:
        tensors = [*card.get("inputs", ()), *card.get("outputs", ())]
        tensor = random.choice([tensor for tensor in tensors if isinstance(tensor, dict)] or [{}])
        tensor["dtype"] = random.choice(("float16", "float32", "float64", "int64", "int32", "bool", "uint8"))
    return f"drive: {what}"


_MUTATIONS: tuple[Callable[[Any, Random], str], ...] = (
    _replace,
    _replace,
    _replace,
    _drop,
    _exchange,
    _rename,
    _drive,
    _drive,
)


def _mutated_text(text: bytes, random: Random) -> tuple[str, bytes]:
    """Change a card below its JSON: a bit, its length, its nesting, a key that is there twice."""
    at = random.randrange(len(text))
    kind = random.randrange(6)
    if kind <= 1:
        bit = 1 << random.randrange(8)
        return f"bit {bit} of byte {at}", text[:at] + bytes([text[at] ^ bit]) + text[at + 1 :]
    if kind == 2:
        return f"cut at {at}", text[:at]
    if kind == 3:
        depth = random.choice((10, 500, 5000, 100_000))
        return f"nested {depth}", text.rstrip()[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}"
    if kind == 4:
        end = min(len(text), at + random.choice((1, 8, 100)))
        return f"{at} to {end} twice", text[:end] + text[at:]
    return f"bytes at {at}", text[:at] + random.choice(
        (b"\x00", b"\xff\xfe", b"NaN", b"1e999", b"\\ud800", b"//")
    ) + text[at:]
