"""What `odelet run --paths` writes and prints of many calls: their distribution."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from odelet.errors import InputError
from odelet.model.paths import Paths
from odelet.numerics.backend import NumpyArray
from odelet.text import screen

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def quantiles_of(text: str) -> tuple[float, ...]:
    """The shares in a text such as "0.05,0.5,0.95". Raises InputError for a text that is none."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise InputError(
            f"--quantiles {text} must be numbers from 0 to 1 with commas between them, as in 0.05,0.5,0.95"
        )
    return shares


def paths_arrays(paths: Paths, shares: tuple[float, ...]) -> dict[str, NumpyArray]:
    """The arrays to write: NAME.mean, NAME.std and NAME.quantiles of each output, and the shares of the quantiles."""
    arrays: dict[str, NumpyArray] = {"quantiles": np.array(shares)}
    for name, x in paths.outputs.items():
        alone = Paths({name: x}, lambda outputs: next(iter(outputs.values())))
        arrays |= {f"{name}.mean": alone.mean, f"{name}.std": alone.std, f"{name}.quantiles": alone.quantile(*shares)}
    return arrays


def paths_text(paths: Paths, arrays: Mapping[str, NumpyArray], *, as_json: bool) -> str:
    """The number of paths and the shapes of what was written, as text or as JSON."""
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    if as_json:
        return json.dumps({"paths": paths.count, "outputs": shapes}, indent=2)
    return screen([*(f"{name} {shape}" for name, shape in shapes.items()), f"paths {paths.count}"])
