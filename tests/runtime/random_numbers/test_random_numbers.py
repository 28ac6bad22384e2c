"""Random numbers: the published generator, a transform to normals, and numbers that depend on their place alone."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from odelet.random_numbers import fresh_seed, keys, noise_array, normals, normals_by_key, philox, uniforms

ROOT = Path(__file__).resolve().parents[3]
# The constants of Philox by the bits of a word: what words are multiplied by, and what a round adds to the key.
CONSTANTS = {
    32: ((0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)),
    64: ((0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)),
}
# From Random123 (D. E. Shaw Research), tests/kat_vectors, "philox4x32 10": counter, key, result.
KNOWN_ANSWERS = (
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)
SEEDS = (0, 7, 2**32, 2**64 - 1)


def plain_philox(counter, key, bits):
    """Philox4x32-10 or Philox4x64-10 in whole numbers of Python, as the paper writes it."""
    (m0, m1), weyl = CONSTANTS[bits]
    word = 2**bits - 1
    c0, c1, c2, c3 = counter
    for _ in range(10):
        product0, product1 = m0 * c0, m1 * c2
        c0, c1, c2, c3 = (
            (product1 >> bits) ^ c1 ^ key[0],
            product1 & word,
            (product0 >> bits) ^ c3 ^ key[1],
            product0 & word,
        )
        key = [(part + step) & word for part, step in zip(key, weyl, strict=True)]
    return c0, c1, c2, c3


def plain_words(seed, noise, sample, step, count):
    """The 64-bit words from which the numbers of a sample and step are made."""
    words = []
    for pair in range((count + 1) // 2):
        x = plain_philox((pair, step, sample, noise), (seed % 2**32, seed >> 32), 32)
        words += [x[0] + (x[1] << 32), x[2] + (x[3] << 32)]
    return words


def plain_normals(seed, noise, sample, step, count):
    """The same with the mathematics of Python's own functions."""
    words, numbers = plain_words(seed, noise, sample, step, count), []
    for first, second in zip(words[::2], words[1::2], strict=True):
        radius = math.sqrt(-2 * math.log(((first >> 11) + 1) / 2**53))
        angle = 2 * math.pi * (second >> 11) / 2**53
        numbers += [radius * math.cos(angle), radius * math.sin(angle)]
    return numbers[:count]


def words_of(text):
    return [int(word, 16) for word in text.split()]


def encrypted(counters, seed):
    """Results of `philox` for counters (n, 4)."""
    table = np.array(counters, np.uint64).T
    even, odd = philox(table[::2].copy(), table[1::2].copy(), seed)
    return [(*map(int, (a, b, c, d)),) for a, b, c, d in zip(even[0], odd[0], even[1], odd[1], strict=True)]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_integers_are_the_published_ones(counter, key, expected):
    low, high = words_of(key)
    assert encrypted([words_of(counter)], low + (high << 32)) == [tuple(words_of(expected))]
    assert plain_philox(words_of(counter), (low, high), 32) == tuple(words_of(expected))


def test_the_generator_is_the_one_of_numpy_with_words_of_32_bits():
    """numpy has the generator with words of 64 bits alone; the plain one above has both sizes."""
    generator = np.random.Generator(np.random.PCG64(3))
    for _ in range(20):
        counter, key = generator.integers(0, 2**63, 4).tolist(), generator.integers(0, 2**63, 2).tolist()
        # numpy adds 1 to the counter before it draws.
        state = np.random.Philox(counter=sum(c << 64 * i for i, c in enumerate(counter)), key=key[0] + (key[1] << 64))
        expected = plain_philox([counter[0] + 1, *counter[1:]], key, 64)
        assert tuple(state.random_raw(4).tolist()) == expected
    counters = generator.integers(0, 2**32, (500, 4)).tolist()
    for seed in SEEDS:
        expected = [plain_philox(counter, (seed % 2**32, seed >> 32), 32) for counter in counters]
        assert encrypted(counters, seed) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_each_number_is_made_from_its_own_word(seed):
    samples, steps, noise, count = range(3, 6), range(2**32 - 2, 2**32), 5, 7
    drawn = normals(seed, noise, samples, steps, count)
    flat = uniforms(seed, noise, samples, steps, count)
    short = uniforms(seed, noise, samples, steps, count, dtype=np.float32)
    for i, step in enumerate(steps):
        for j, sample in enumerate(samples):
            np.testing.assert_allclose(drawn[i, j], plain_normals(seed, noise, sample, step, count), rtol=0, atol=1e-14)
            words = plain_words(seed, noise, sample, step, count)[:count]
            assert flat[i, j].tolist() == [(word >> 11) / 2**53 for word in words]
            assert short[i, j].tolist() == [(word >> 40) / 2**24 for word in words]


@pytest.mark.parametrize("draw", [normals, uniforms])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("samples", "steps", "count"), [(5, 7, 3), (64, 40, 2), (1, 3, 20_000), (9000, 2, 1)])
def test_a_block_and_its_parts_are_equal_to_the_bit(draw, dtype, samples, steps, count):
    """Whatever is drawn at once: all, one step at a time, some samples, or fewer elements."""
    whole = draw(11, 2, range(samples), range(steps), count, dtype=dtype)
    assert whole.shape == (steps, samples, count) and whole.dtype == dtype
    for step in range(steps):
        one = draw(11, 2, range(samples), range(step, step + 1), count, dtype=dtype)
        np.testing.assert_array_equal(one[0], whole[step])
    few = range(samples // 3, samples // 3 + 1)
    np.testing.assert_array_equal(draw(11, 2, few, range(steps), count, dtype=dtype), whole[:, few.start : few.stop])
    less = max(1, count - 1)
    np.testing.assert_array_equal(draw(11, 2, range(samples), range(steps), less, dtype=dtype), whole[..., :less])


def test_float32_normals_are_the_float64_ones_rounded():
    places = (range(10), range(3), 5)
    wide = normals(1, 0, *places)
    np.testing.assert_array_equal(normals(1, 0, *places, dtype=np.float32), wide.astype(np.float32))


def test_other_seeds_noises_samples_steps_and_elements_bring_other_numbers():
    drawn = [normals(seed, noise, range(8), range(8), 8) for seed in (0, 1, 2**32) for noise in (0, 1)]
    assert np.unique(drawn).size == np.size(drawn)


def test_the_numbers_have_their_distributions_along_each_axis():
    """Moments within 5 standard errors, no correlation of neighbours, and the largest distance of the distribution
    function (Kolmogorov) below what chance passes once in 10,000 draws."""
    n = 240_000
    for shape in ((1, 1, n), (1, n, 1), (n, 1, 1), (60, 80, 50)):
        steps, samples, count = shape
        z = normals(5, 1, range(samples), range(steps), count).ravel()
        for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
            assert abs((z**power).mean() - moment) < 5 * math.sqrt(variance / n)
        u = uniforms(5, 1, range(samples), range(steps), count).ravel()
        assert u.min() >= 0 and u.max() < 1
        phi = np.sort([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])
        for numbers in (np.sort(u), phi):
            assert np.abs(numbers - (np.arange(n) + 0.5) / n).max() < 2.23 / math.sqrt(n)
        for lag in (1, 2, 3, 50):
            assert abs((z[lag:] * z[:-lag]).mean()) < 5 / math.sqrt(n - lag)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(
    ("shape", "sample_axis", "step_axis"),
    [((4, 3), 0, None), ((3, 4), 1, None), ((2, 4, 3), 1, 0), ((4, 2, 3), 0, 1), ((2, 3, 4), 2, None), ((), None, None),
     ((3, 2), None, None), ((0, 3), 0, None), ((4, 0), 0, None), ((3, 5), None, 0), ((4,), 0, None)],
)  # fmt: skip
def test_an_array_holds_each_samples_numbers_in_its_own_order(distribution, shape, sample_axis, step_axis):
    draw = {"normal": normals, "uniform": uniforms}[distribution]
    array = noise_array(distribution, 9, 4, shape, np.float32, sample_axis=sample_axis, step_axis=step_axis)
    assert (array.shape, array.dtype, array.flags.c_contiguous) == (shape, np.float32, True)
    axes = [axis for axis in (step_axis, sample_axis) if axis is not None]
    first = np.moveaxis(array, axes, range(len(axes)))
    if step_axis is None:
        first = first[None]
    if sample_axis is None:
        first = first[:, None]
    for step, of_step in enumerate(first):
        for sample, numbers in enumerate(of_step):
            expected = draw(9, 4, range(sample, sample + 1), range(step, step + 1), int(numbers.size), dtype=np.float32)
            np.testing.assert_array_equal(numbers.ravel(), expected.ravel())


def test_a_part_of_a_batch_holds_the_numbers_of_the_whole():
    whole = noise_array("normal", 3, 1, (4, 9, 2), np.float32, sample_axis=1, step_axis=0)
    parts = [
        noise_array("normal", 3, 1, (4, n, 2), np.float32, sample_axis=1, step_axis=0, first_sample=first)
        for first, n in ((0, 2), (2, 6), (8, 1))
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize(("sample_axis", "most"), [(0, 1.1), (1, 2.1), (None, 1.1)])
def test_a_large_draw_takes_no_more_than_twice_its_own_memory(sample_axis, most):
    tracemalloc.start()
    try:
        array = noise_array("normal", 1, 0, (1000, 4000), np.float64, sample_axis=sample_axis)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * array.nbytes + 4e6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed=-1 must be from 0"),
        ({"seed": 2**64}, "seed=18446744073709551616 must be from 0"),
        ({"noise": 2**32}, r"noise=range\(4294967296, 4294967297\) must go by 1"),
        ({"samples": range(-1, 3)}, r"samples=range\(-1, 3\) must go by 1"),
        ({"steps": range(0, 4, 2)}, r"steps=range\(0, 4, 2\) must go by 1"),
        ({"steps": range(2**32, 2**32 + 1)}, "steps=.* to below"),
        ({"count": -1}, "count=-1 must be from 0"),
        ({"dtype": np.float16}, "dtype=.*float16.* must be float32 or float64"),
    ],
)
@pytest.mark.parametrize("draw", [normals, uniforms])
def test_what_has_no_place_is_refused(draw, given, message):
    place = {"seed": 1, "noise": 0, "samples": range(2), "steps": range(2), "count": 3, "dtype": np.float64} | given
    with pytest.raises(ValueError, match=message):
        draw(place["seed"], place["noise"], place["samples"], place["steps"], place["count"], dtype=place["dtype"])


def test_fresh_seeds_differ_and_use_all_bits():
    seeds = [fresh_seed() for _ in range(64)]
    assert len(set(seeds)) == 64 and all(0 <= seed < 2**64 for seed in seeds)
    assert np.bitwise_or.reduce(np.array(seeds, np.uint64)) == 2**64 - 1


def documented():
    """The rows of the table of numbers in docs/artifact.md, as texts."""
    lines = (ROOT / "docs" / "artifact.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| seed | k | i | s | e // 2 |"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 2 :]]
    return rows[: next(i for i, row in enumerate(rows) if not row)]


@pytest.mark.parametrize("row", documented(), ids=lambda row: "-".join(row[:5]))
def test_the_numbers_in_the_documentation_are_right(row):
    """By the generator, and by the page's own words in plain Python."""
    seed, noise, sample, step, pair = map(int, row[:5])
    expected = words_of(row[5])
    assert plain_philox((pair, step, sample, noise), (seed % 2**32, seed // 2**32), 32) == tuple(expected)
    assert encrypted([(pair, step, sample, noise)], seed) == [tuple(expected)]
    a, b = (expected[0] + (expected[1] << 32), expected[2] + (expected[3] << 32))
    r = math.sqrt(-2 * math.log((a // 2**11 + 1) / 2**53))
    v = 2 * math.pi * (b // 2**11) / 2**53
    written = [float(cell) for cell in row[6:]]
    np.testing.assert_allclose([r * math.cos(v), r * math.sin(v)], written, rtol=0, atol=1e-11)
    place = (seed, noise, range(sample, sample + 1), range(step, step + 1), 2 * pair + 2)
    np.testing.assert_allclose(normals(*place)[0, 0, -2:], written, rtol=0, atol=1e-11)
    assert uniforms(*place)[0, 0, -2:].tolist() == [(a // 2**11) / 2**53, (b // 2**11) / 2**53]
    assert uniforms(*place, dtype=np.float32)[0, 0, -2:].tolist() == [(a // 2**40) / 2**24, (b // 2**40) / 2**24]


def test_the_documentation_has_a_row_for_each_part_of_a_place():
    places = np.array([row[:5] for row in documented()]).T
    assert all(len(set(column)) > 1 for column in places.tolist())


def test_a_key_for_each_sample_is_a_seed_of_its_own():
    of_samples = keys(9, 3, range(2, 7))
    assert of_samples.dtype == np.int64 and np.unique(keys(9, 3, range(10**5))).size == 10**5
    for noise, step, count, dtype in ((0, 0, 1, np.float64), (2, 5, 3, np.float32)):
        numbers = normals_by_key(of_samples, noise, range(step, step + 4), count, dtype=dtype)
        assert numbers.dtype == dtype
        for sample, key in enumerate(of_samples):
            alone = normals(int(key) % 2**64, noise, range(1), range(step, step + 4), count, dtype=dtype)
            np.testing.assert_array_equal(numbers[:, sample], alone[:, 0])


def test_the_bits_of_a_key_are_those_of_a_counter():
    pair, step, sample, noise, seed = 0, 0, 6, 3, 9
    words = plain_philox((pair, step, sample, noise), (seed, 0), 32)
    assert int(keys(seed, noise, range(6, 7))[0]) % 2**64 == words[0] + (words[1] << 32)
    with pytest.raises(ValueError, match="seed=-1 must be from 0"):
        keys(-1, 0, range(1))
    with pytest.raises(ValueError, match="noise=range"):
        normals_by_key(np.zeros(1, np.int64), 2**32, range(1), 1)
