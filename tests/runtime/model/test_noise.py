"""Random inputs: drawn from a seed if a call does not give them; given again, they bring the same answer."""

from dataclasses import replace

import numpy as np
import pytest
from support.artifacts import write_affine, write_noisy
from support.command_line import call

import odelet
from odelet import ArtifactError, InputError
from odelet.artifact.card import Card
from odelet.artifact.formulas import size_of
from odelet.artifact.input_cards import NoiseCard
from odelet.random_numbers import normals, uniforms

X = np.zeros((4, 3), np.float32)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    return odelet.load(write_noisy(tmp_path_factory.mktemp("noisy")))


def test_a_seed_brings_the_same_numbers_and_none_brings_others(noisy):
    y, u = noisy(X, seed=7)
    for again in (noisy(X, seed=7), noisy(x=X, seed=np.int64(7))):
        np.testing.assert_array_equal(again[0], y)
        np.testing.assert_array_equal(again[1], u)
    assert (noisy(X, seed=8)[0] != y).all()
    assert (noisy(X)[0] != noisy(X)[0]).all()
    assert (y.shape, y.dtype, u.shape, u.dtype) == ((4, 3), np.float32, (8,), np.float64)


def test_given_noise_is_taken_and_leaves_the_other_alone(noisy):
    noise = np.full((4, 3), 0.5, np.float32)
    y, u = noisy(X, noise, seed=7)
    np.testing.assert_array_equal(y, noise)
    np.testing.assert_array_equal(u, noisy(X, seed=7)[1])
    solution = noisy.solve(X, noise_0=noise)
    assert solution.noise.keys() == {"noise_0", "noise_1"}
    np.testing.assert_array_equal(noisy(X, **solution.noise)[1], solution.outputs["u"])


def test_the_numbers_have_the_distributions_of_the_card(noisy):
    y, u = noisy(np.zeros((20_000, 3), np.float32), seed=1)
    assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02 and abs((y > 1.2816).mean() - 0.1) < 0.01
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.002


def test_a_sample_has_the_same_noise_in_every_batch(noisy):
    """noise_1 has two rows for each sample, and each row counts as a sample."""
    few, many = (noisy.solve(np.zeros((batch, 3), np.float32), seed=7).noise for batch in (4, 64))
    np.testing.assert_array_equal(few["noise_0"], many["noise_0"][:4])
    np.testing.assert_array_equal(few["noise_1"], many["noise_1"][:8])
    np.testing.assert_array_equal(
        many["noise_0"][20:24], normals(7, 0, range(20, 24), range(1), 3, dtype=np.float32)[0]
    )
    np.testing.assert_array_equal(many["noise_1"][20:24], uniforms(7, 1, range(20, 24), range(1), 1)[0, :, 0])
    assert np.unique(many["noise_0"]).size == many["noise_0"].size


@pytest.mark.parametrize(
    ("shape", "axis"), [(("batch", 2), 0), ((2, "batch"), 1), ((3, "2*batch", 2), 1), (("batch", "batch"), 0)]
)
def test_the_axis_of_samples_may_be_any(tmp_path, shape, axis):
    model = odelet.load(write_noisy(tmp_path, second=shape, sample_axis=axis))
    arrays = [model(np.zeros((batch, 3), np.float32), seed=1)[1] for batch in (2, 5)]
    few, many = (np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in arrays)
    np.testing.assert_array_equal(few, many[: few.shape[0], : few.shape[1]])
    assert np.unique(many).size == many.size


def test_noise_without_an_axis_of_samples_is_that_of_one_sample(tmp_path):
    """Cards of 0.1 have no axis of samples; where the batch is the first axis, a sample still keeps its numbers."""
    model = odelet.load(write_noisy(tmp_path, second=("batch", 3), sample_axis=None))
    few, many = (model(np.zeros((batch, 3), np.float32), seed=1)[1] for batch in (2, 5))
    np.testing.assert_array_equal(few, many[:2])
    np.testing.assert_array_equal(many.ravel(), uniforms(1, 1, range(1), range(1), 15)[0, 0])


def test_a_call_without_a_seed_takes_one_of_the_operating_system_for_all_its_noise(noisy, monkeypatch):
    seeds = iter((5, 6))
    monkeypatch.setattr("odelet.model.arguments.fresh_seed", lambda: next(seeds))
    for seed in (5, 6):
        for drawn, expected in zip(noisy(X), noisy(X, seed=seed), strict=True):
            np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("second", [(f"batch*{2**60}", 3), (f"batch*{10**30}",), ("batch", 2**60)])
@pytest.mark.parametrize("axis", [0, None])
def test_noise_too_large_to_draw_is_refused(tmp_path, second, axis):
    model = odelet.load(write_noisy(tmp_path, second=second, sample_axis=axis))
    with pytest.raises(ArtifactError, match="the noise 'noise_1' has the shape .*, too large to draw; check the card"):
        model(X)


WRONG = {
    "negative": ({"seed": -1}, "seed=-1 must be a whole number"),
    "text": ({"seed": "7"}, "seed='7' must be a whole number"),
    "shape": ({"noise_0": X[:2]}, r"input 'noise_0' has shape \(2, 3\), .* expected 4, as in input 'x'"),
    "size": ({"noise_1": np.zeros(4)}, r"the noise 'noise_1' has shape \(4,\); expected \(8,\)"),
    "dtype": ({"noise_0": X.astype(np.float64)}, "'noise_0' has dtype float64"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_refused(noisy, given, message):
    with pytest.raises(InputError, match=message):
        noisy(X, **given)


def test_a_seed_for_a_model_without_noise(tmp_path):
    with pytest.raises(InputError, match="seed=7 cannot be set: the model draws no random numbers"):
        odelet.load(write_affine(tmp_path))(X, seed=7)


@pytest.mark.parametrize("size", ["rows", "Max(2, batch)", "__import__('os').getpid()"])
def test_noise_whose_shape_does_not_follow_must_be_given(tmp_path, size):
    model = odelet.load(write_noisy(tmp_path, second=(size,)))
    with pytest.raises(
        InputError, match=r"'noise_1' \(uniform, noisy.py:4\) is .* a shape that does not follow .*give it"
    ):
        model(X)
    np.testing.assert_array_equal(model(X, noise_1=np.ones(2))[1], np.ones(2))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(
            ("batch", 4),
            ("2*batch", 8),
            ("batch*obs + 1", 13),
            ("(batch + obs)//2 - 1", 2),
            ("7", 7),
            ("obs - batch", -1),
        ),
        *(
            ("rows", None),
            ("2*rows", None),
            ("batch**2", None),
            ("batch/2", None),
            ("batch//0", None),
            ("f(batch)", None),
        ),
        *(("batch.real", None), ("True", None), ("'a'*batch", None), ("batch\n", 4), ("(" * 99 + "1", None)),
        *(("9" * 5000, None), ("-" * 150 + "1", None), ("", None), ("batch if 1 else 2", None)),
    ],
)
def test_sizes_are_read_and_nothing_is_run(text, size):
    assert size_of(text, {"batch": 4, "obs": 3}) == size


def test_a_series_draws_in_each_call(noisy):
    stream = noisy.stream(carry={"x": "y"}, x=X)
    first = stream(seed=1)[0]
    second = stream(seed=2)[0]
    np.testing.assert_array_equal(second, first + noisy(X, seed=2)[0])


def test_the_command_line_draws_by_a_seed_and_says_what_there_is(tmp_path, capsys):
    folder = write_noisy(tmp_path / "noisy")
    np.save(tmp_path / "x.npy", X)
    written = []
    for name, extra in (("a", ["--seed", 7]), ("b", ["--seed", 7]), ("c", [])):
        code, _, err = call(
            capsys, "run", folder, "--input", tmp_path / "x.npy", "--output", tmp_path / f"{name}.npz", *extra
        )
        assert code == 0, err
        written.append(np.load(tmp_path / f"{name}.npz")["y"])
    np.testing.assert_array_equal(written[0], written[1])
    assert (written[0] != written[2]).all()
    assert "noise_0: normal, noisy.py:3" in call(capsys, "info", folder)[1]


def test_a_card_whose_noise_makes_no_sense(noisy):
    card = noisy.card
    assert Card.from_json(card.short_json()) == replace(card, files={})
    with pytest.raises(ArtifactError, match="distribution 'cauchy' is unknown; known are normal, uniform"):
        NoiseCard(name="noise_0", distribution="cauchy")
    assert [noise.sample_axis for noise in Card.from_json(card.short_json()).noise] == [0, 0]
    for axis in (-1, 1):
        with pytest.raises(ArtifactError, match=f"noise 'noise_1': its sample_axis is {axis}, and it has 1 axes"):
            replace(card, noise=(card.noise[0], replace(card.noise[1], sample_axis=axis)))
    with pytest.raises(ArtifactError, match="the noise is not the last of the inputs"):
        replace(card, inputs=card.inputs[::-1])
    with pytest.raises(ArtifactError, match="noise 'noise_1': dtype 'float16' is unknown; known are float32, float64"):
        replace(card, inputs=(*card.inputs[:2], replace(card.inputs[2], dtype="float16")))
    with pytest.raises(ArtifactError, match="an input is named 'seed'"):
        replace(card, inputs=(replace(card.inputs[0], name="seed"), *card.inputs[1:]))
