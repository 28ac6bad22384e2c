"""The examples in docs/events.md run, and their results are right."""

import re

import numpy as np
from support.paths import ROOT


def test_the_examples_run():
    text = (ROOT / "docs" / "events.md").read_text()
    scope: dict = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S):
        exec(code, scope)
    first = np.sqrt(20 / 9.81)
    assert np.allclose(scope["times"][:2], [first, first * (1 + 2 * 0.8)], rtol=1e-6)
    assert scope["heights"].min() > -1e-6
    assert np.array_equal(np.concatenate(scope["slices"]), scope["single"])
    assert np.allclose(scope["single"][:, 0], np.cos([0, 0.5, 0.6, 2, 30]) + np.sin([0, 0.5, 0.6, 2, 30]), atol=1e-4)
