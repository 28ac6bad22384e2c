"""The example of docs/sde.md runs and its results are right, its table is that of the roster, its picture is small."""

import numpy as np
from support.paths import ROOT
from support.scripts import script

PAGE = script(ROOT / "docs" / "sde.py")


def test_the_table_is_up_to_date():
    text = PAGE.PAGE.read_text(encoding="utf-8")
    assert PAGE.page(text) == text, "run: make docs"


def test_the_picture_is_small():
    assert 5_000 < PAGE.PICTURE.stat().st_size < 60_000


def test_the_example_runs():
    scope = PAGE.example(PAGE.PAGE.read_text(encoding="utf-8"))
    model, y0, paths = scope["model"], scope["y0"], scope["paths"]
    assert scope["y"].shape == (41, 1, 2)
    np.testing.assert_array_equal(paths.outputs["output"][0], scope["y"])
    # The mean m of the paths solves dm/dt = 2 (1 - m), as the noise has the mean 0.
    times = np.linspace(0, 2, 41)[:, None, None]
    exact = 1 + (y0 - 1) * np.exp(-2 * times)
    assert (np.abs(paths.mean - exact) <= 4.5 * paths.std / np.sqrt(paths.count) + 1e-3).all()
    assert (scope["low"][1:] < scope["middle"][1:]).all() and (scope["middle"][1:] < scope["high"][1:]).all()
    # The same seed gives a row the same path in a larger batch.
    larger = model(np.concatenate([y0, y0 + 1, y0 - 1]), seed=7)
    np.testing.assert_allclose(larger[:, :1], scope["y"], rtol=1e-5, atol=1e-6)
    ends = scope["ends"]
    assert ends.shape == (10_000, 1)
    variance = (1 - np.exp(-2)) / 8
    assert abs(ends.mean() - np.exp(-1)) < 4.5 * np.sqrt(variance / len(ends))
    assert abs(ends.var() - variance) < 4.5 * variance * np.sqrt(2 / len(ends))
