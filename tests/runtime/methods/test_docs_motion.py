"""The Brownian motion of a step is made of normal numbers as docs/artifact.md says."""

import numpy as np
import pytest

from odelet.methods.sde import Interval
from odelet.methods.sde_steps import SDE_METHODS
from odelet.numerics.backend import NUMPY


@pytest.mark.parametrize("levy", ["foster", "davie"])
def test_the_motion_of_a_step_is_that_of_the_page(levy):
    method, (batch, m), h = SDE_METHODS["stratonovich_log_ode"].with_options(levy=levy), (5, 3), 0.3
    draw = np.random.default_rng(2).normal
    z1, z2, n = draw(size=(batch, m)), draw(size=(batch, m)), draw(size=(batch, m, m))
    made = method.increment([z1, z2, n], Interval.of(1.0, 1.0 + h, z1, xp=NUMPY), channels=m, xp=NUMPY)
    w, space = np.sqrt(h) * z1, np.sqrt(h / 12) * z2
    np.testing.assert_allclose(made.w, w, rtol=1e-14)
    np.testing.assert_allclose(made.u, h * (w / 2 + space), rtol=1e-13)
    for i in range(m):
        for j in range(m):
            d = np.sqrt(h / 10 * (h / 10 + space[:, i] ** 2 + space[:, j] ** 2)) if levy == "foster" else h / 12**0.5
            area = space[:, i] * w[:, j] - w[:, i] * space[:, j] + d * (n[:, i, j] - n[:, j, i])
            np.testing.assert_allclose(made.area[:, i, j], area, rtol=1e-12, atol=1e-15)
