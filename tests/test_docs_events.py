"""The examples in docs/events.md run."""

import re
from pathlib import Path

import numpy as np


def test_the_example_runs():
    text = (Path(__file__).parents[1] / "docs" / "events.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    scope: dict = {}
    exec(code, scope)
    first = np.sqrt(20 / 9.81)
    assert np.allclose(scope["times"][:2], [first, first * (1 + 2 * 0.8)], rtol=1e-6)
    assert scope["heights"].min() > -1e-6
