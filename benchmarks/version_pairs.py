"""What a trial of a pair of versions gave, as text: for the scripts that try odelet with other versions of libraries.

A result holds the versions by package, and under "answers" a text for each thing that was tried: "ok" or what happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def line_of(result: Mapping[str, Any], packages: Sequence[str]) -> str:
    """The versions, how many answers are good, and a further line for each of the others. Of a path that was tried, the
    line has the last part."""
    answers = result["answers"]
    good = sum(answer == "ok" for answer in answers.values())
    versions = "".join(f"{result[package]:14}" for package in packages)
    bad = [f"    {Path(name).name}: {' '.join(text.split())[:240]}" for name, text in answers.items() if text != "ok"]
    return "\n".join([f"{versions}{good:>6}/{len(answers)}", *bad])


def all_good(result: Mapping[str, Any]) -> bool:
    """Whether every answer is good."""
    return all(answer == "ok" for answer in result["answers"].values())
