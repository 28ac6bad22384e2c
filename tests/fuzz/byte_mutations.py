"""Mutations of a file below its structure."""

from __future__ import annotations

from random import Random


def mutated_bytes(data: bytes, random: Random) -> tuple[str, bytes]:
    """Change a bit of a file, its length, or have a part of it twice."""
    at, kind = random.randrange(len(data)), random.randrange(4)
    if kind <= 1:
        bit = 1 << random.randrange(8)
        return f"bit {bit} of byte {at}", data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
    if kind == 2:
        return f"cut at {at}", data[:at]
    end = min(len(data), at + random.choice((1, 8, 100)))
    return f"{at} to {end} twice", data[:end] + data[at:]
