"""Brownian paths: they add up, have the law of Brownian motion, and depend on a row's key and the questions alone."""

import numpy as np
import pytest
from support.paths import ROOT

from odelet.loops.brownian import BridgedPath, DrawnNormals, StepwisePath
from odelet.methods.sde_steps import SDE_METHODS
from odelet.random_numbers import keys, noise_array, normals

WITHOUT_AREAS, SPACE_TIME, LEVY = (SDE_METHODS[x] for x in ("ito_euler", "ito_srid2", "stratonovich_log_ode"))
METHODS = (WITHOUT_AREAS, SPACE_TIME, LEVY)
# Questions in a tangled order: ahead, into intervals that are known, over several of them.
QUESTIONS = [(0, 1), (0, 0.3), (0.3, 0.55), (0.1, 0.3), (0.05, 0.8), (1.2, 1.5), (0.9, 1.3), (0.15, 0.2), (0.1, 1.5)]


def path_of(method, count=3, channels=2, dtype="float64", seed=5, t0=0.0):
    return BridgedPath(method, keys(seed, 0, range(count)), t0, channels, np.dtype(dtype))


def whole(increment):
    return [x for x in increment if x is not None]


def close(a, b):
    for x, y in zip(whole(a), whole(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_increment_asked_again_is_the_same(method):
    path = path_of(method)
    first = {}
    for ends in QUESTIONS:
        first[ends] = path.increment(*ends)
        assert [x.shape for x in whole(first[ends])] == [(3, 2), (3, 2), (3, 2, 2)][: len(method.draws)]
    for ends, increment in first.items():
        again = path.increment(*ends)
        if method is LEVY:  # whose areas are sums of those between the points that are then known
            increment, again = increment._replace(area=None), again._replace(area=None)
        close(increment, again)
        if method is LEVY:
            close(path.increment(*ends), path.increment(*ends))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_parts_add_up_to_the_whole(method):
    """Also where all are refined: u is the integral of the path since the start, the area that of Chen's identity."""
    path = path_of(method)
    for ends in QUESTIONS:
        path.increment(*ends)
    a, b, c = (path.increment(*ends) for ends in ((0.1, 0.5), (0.5, 1.1), (0.1, 1.1)))
    np.testing.assert_allclose(a.w + b.w, c.w, atol=1e-14)
    if method is not WITHOUT_AREAS:
        np.testing.assert_allclose(a.u + b.u + 0.6 * a.w, c.u, atol=1e-14)
    if method is LEVY:
        outer = a.w[:, :, None] * b.w[:, None, :]
        np.testing.assert_allclose(a.area + b.area + (outer - outer.transpose(0, 2, 1)) / 2, c.area, atol=1e-14)
        np.testing.assert_allclose(c.area, -c.area.transpose(0, 2, 1), atol=1e-14)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_increments_have_the_law_of_brownian_motion(method):
    """Variances and correlations over 40,000 rows, of intervals that bridges and extensions made."""
    count = 40_000
    path = path_of(method, count, channels=1 if method is not LEVY else 2)
    for ends in QUESTIONS:
        path.increment(*ends)
    points = [0, 0.1, 0.15, 0.3, 0.55, 1, 1.2, 1.5]
    pieces = [path.increment(t, t1) for t, t1 in zip(points[:-1], points[1:], strict=True)]
    lengths, five = np.diff(points), 5 / np.sqrt(count)
    w = np.array([piece.w[:, 0] for piece in pieces]) / np.sqrt(lengths)[:, None]
    columns = [w]
    if method is not WITHOUT_AREAS:
        # The space-time area is independent of the increment, and its variance is a twelfth of the length.
        u = np.array([piece.u[:, 0] for piece in pieces]) / lengths[:, None]
        columns.append((u / np.sqrt(lengths)[:, None] - w / 2) * np.sqrt(12))
    if method is LEVY:
        # Foster's approximation has 0.22 of the square of the length; sums of several come closer to the exact 0.25.
        for piece, h in zip(pieces, lengths, strict=True):
            assert 0.21 < np.var(piece.area[:, 0, 1]) / h**2 < 0.26
    table = np.concatenate(columns)
    assert np.abs(table.mean(axis=1)).max() < five
    np.testing.assert_allclose(np.cov(table), np.eye(len(table)), atol=1.5 * five)
    assert np.abs((table**4).mean(axis=1) - 3).max() < 0.25


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_row_depends_on_its_key_and_the_questions_alone(method, dtype):
    many, few = path_of(method, 64, dtype=dtype), path_of(method, 2, dtype=dtype)
    other = path_of(method, 2, dtype=dtype, seed=6)
    for ends in QUESTIONS:
        of_many, of_few, of_other = (whole(path.increment(*ends)) for path in (many, few, other))
        for x, y, z in zip(of_many, of_few, of_other, strict=True):
            assert x.dtype == dtype
            np.testing.assert_array_equal(x[:2], y)
            assert not (y == z).any() or y.shape[1:] == (2, 2)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_forgetting_the_past_changes_nothing_later_and_bounds_memory(method):
    keeping, forgetting = path_of(method), path_of(method)
    rng, now = np.random.default_rng(0), 0.0
    for _ in range(80):
        end = now + rng.uniform(0.001, 0.1)
        for _ in range(rng.integers(1, 4)):  # a rejected try leaves points ahead
            for ends in ((now, end), (now, (now + end) / 2), ((now + end) / 2, end)):
                close(keeping.increment(*ends), forgetting.increment(*ends))
            last, end = end, now + (end - now) * 0.6
        now = last
        forgetting.forget(now)
        assert len(forgetting._times) == len(forgetting._pieces) + 1 < 12
    assert len(keeping._times) > 160
    forgetting.forget(now + 10)
    forgetting.forget(0.0)
    with pytest.raises(AssertionError, match="before"):
        forgetting.increment(0.0, 1.0)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_intervals_may_be_as_short_as_a_rounding_error(method):
    path = path_of(method)
    path.increment(0.0, 1.0)
    empty = path.increment(0.5, 0.5)
    assert all((x == 0).all() for x in whole(empty)) and len(whole(empty)) == len(method.draws)
    for ends in ((0.5, np.nextafter(0.5, 1)), (0.0, 1e-300), (1.0, np.nextafter(1.0, 2))):
        assert all(np.isfinite(x).all() for x in whole(path.increment(*ends)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_are_drawn_as_an_array_has_them(dtype):
    """In blocks and out of order, too: the numbers are those that an artifact's input gets."""
    array = noise_array("normal", 11, 2, (50, 700, 3), dtype, sample_axis=1, step_axis=0)
    drawn = DrawnNormals(11, 2, 700, (3,), np.dtype(dtype))
    for step in (*range(50), 17, 3):
        np.testing.assert_array_equal(drawn[step], array[step])
    square = noise_array("normal", 11, 2, (9, 5, 3, 3), dtype, sample_axis=1, step_axis=0)
    np.testing.assert_array_equal(DrawnNormals(11, 2, 5, (3, 3), np.dtype(dtype))[8], square[8])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_path_taken_step_by_step_has_independent_increments(method):
    count, shapes = 20_000, {"w": (2,), "h": (2,), "area": (2, 2)}
    normals = [DrawnNormals(3, i, count, shapes[name], np.dtype("float64")) for i, name in enumerate(method.draws)]
    path = StepwisePath(method, normals, 2)
    steps = [path.increment(np.float64(t), np.float64(t + 0.25)) for t in (0.0, 0.25)]
    w = np.concatenate([step.w for step in steps], axis=1)
    np.testing.assert_allclose(np.cov(w.T), 0.25 * np.eye(4), atol=0.01)
    if method is not WITHOUT_AREAS:
        assert np.mean(steps[1].u ** 2) == pytest.approx(0.25**3 / 3, rel=0.05)


class PlainPath:
    """The path of one key, in the words of docs/artifact.md: a list of points, and [h, W, H, A] after each."""

    def __init__(self, key, channels, *, areas):
        self.key, self.channels, self.areas = key, channels, areas
        self.drawn, self.points, self.parts = [0, 0, 0], [0.0], []

    def draw(self, kind):
        self.drawn[kind] += 1
        steps, count = range(self.drawn[kind] - 1, self.drawn[kind]), self.channels ** (1 + (kind == 2))
        numbers = normals(self.key, kind, range(1), steps, count)[0, 0]
        return numbers.reshape(self.channels, -1) if kind == 2 else numbers

    def know(self, t):
        if t in self.points:
            return
        if t > self.points[-1]:
            h = t - self.points[-1]
            self.parts.append(
                [h, np.sqrt(h) * self.draw(0), np.sqrt(h / 12) * self.draw(1) if self.areas else None, None]
            )
            self.points.append(t)
            return
        i = max(i for i, point in enumerate(self.points) if point < t)
        h, w, area, _ = self.parts[i]
        p, x = (t - self.points[i]) / h, self.draw(0)
        q = 1 - p
        if not self.areas:
            first, areas = p * w + np.sqrt(p * q * h) * x, (None, None)
        else:
            z, r = self.draw(1), 0.5 * np.sqrt(h * p * q / (p**3 + q**3))
            a, b, c = r * p**2, r * q**2, r / np.sqrt(3)
            first = p * w + 6 * p * q * area + 2 * (a * p + b * q) * x
            areas = p**2 * area - a * x + c * q * z, q**2 * area - b * x - c * p * z
        self.parts[i : i + 1] = [[p * h, first, areas[0], None], [q * h, w - first, areas[1], None]]
        self.points.insert(i + 1, t)

    def ask(self, t, t1):
        self.know(t)
        self.know(t1)
        parts = self.parts[self.points.index(t) : self.points.index(t1)]
        if not self.areas:
            return sum(part[1] for part in parts), None, None
        total = None
        for part in parts:
            h, w, area, levy = part
            if levy is None:
                n, tenth = self.draw(2), h / 10
                d = np.sqrt(tenth * (tenth + area[:, None] ** 2 + area**2))
                levy = part[3] = np.outer(area, w) - np.outer(w, area) + d * (n - n.T)
            if total is None:
                total = h, w, area, levy
                continue
            h0, w0, area0, levy0 = total
            together = levy0 + levy + (np.outer(w0, w) - np.outer(w, w0)) / 2
            total = h0 + h, w0 + w, (h * (area + w0 / 2) + h0 * (area0 - w / 2)) / (h0 + h), together
        h, w, area, levy = total
        return w, h * (w / 2 + area), levy


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_path_is_that_of_the_documentation(method):
    path = path_of(method)
    plain = [PlainPath(int(key) % 2**64, 2, areas=method is not WITHOUT_AREAS) for key in keys(5, 0, range(3))]
    for ends in QUESTIONS:
        increment = path.increment(*ends)
        for row, one in enumerate(plain):
            for ours, expected in zip(whole(increment), one.ask(*map(float, ends)), strict=False):
                np.testing.assert_allclose(ours[row], expected, rtol=1e-10, atol=1e-12)


def test_the_path_in_the_documentation_is_right():
    page = (ROOT / "docs" / "artifact.md").read_text(encoding="utf-8")
    key = keys(7, 0, range(1, 2))
    assert f"with the seed 7, the key of the noise k = 0 and the sample i = 1 is {key[0]}." in page
    lines = page.split("| from | to | W without areas | W with areas | U with areas |")[1].split("\n\n")[0].splitlines()
    rows = [[float(cell) for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert len(rows) == 5
    plain, areas = (BridgedPath(method, key, 0.0, 1, np.dtype("float64")) for method in (WITHOUT_AREAS, SPACE_TIME))
    for t, t1, *numbers in rows:
        without, increment = plain.increment(t, t1), areas.increment(t, t1)
        np.testing.assert_allclose([without.w[0, 0], increment.w[0, 0], increment.u[0, 0]], numbers, atol=1e-11)
