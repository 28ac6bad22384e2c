"""What `odelet run` prints of a call."""

from __future__ import annotations

import json

from odelet.loops.solution import Solution
from odelet.text import screen


def run_text(solution: Solution, *, as_json: bool) -> str:
    """Return the shapes of the outputs, the statistics and the status of a call, as text or as JSON."""
    shapes = {name: list(array.shape) for name, array in solution.outputs.items()}
    stats = solution.stats.to_dict()
    if as_json:
        return json.dumps({"status": solution.status.name, "outputs": shapes, "stats": stats}, indent=2)
    counts = [f"{key} {value}" for key, value in stats.items() if key != "solves" and value is not None]
    lines = [f"{name} {shape}" for name, shape in shapes.items()]
    return screen([*lines, ", ".join(counts), f"status {solution.status.name}"])
