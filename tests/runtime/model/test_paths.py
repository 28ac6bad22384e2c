"""Many paths of a model that draws random numbers: each is a call of its own, however many are solved at once."""

import numpy as np
import pytest
from support.artifacts import write_affine, write_noisy
from support.command_line import call

import odelet
from odelet import InputError, cli
from odelet.model import paths as paths_module

X = np.array([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]], np.float32)


@pytest.fixture(scope="module", params=["several at once", "one at a time"])
def noisy(request, tmp_path_factory):
    """A model whose outputs are rows of the batch, and one with an axis of another size, which cannot be divided."""
    second = ("batch",) if request.param == "several at once" else ("2*batch",)
    return odelet.load(write_noisy(tmp_path_factory.mktemp("noisy"), second=second))


def test_a_path_is_a_call_and_depends_on_no_other(noisy, monkeypatch):
    paths = noisy.paths(X, n=7, seed=3)
    y, u = noisy(X, seed=3)
    np.testing.assert_array_equal(paths.outputs["y"][0], y)
    np.testing.assert_array_equal(paths.outputs["u"][0], u)
    assert paths.count == 7 and paths.outputs["y"].shape == (7, 2, 3)
    np.testing.assert_array_equal(noisy.paths(X, n=3, seed=3).outputs["y"], paths.outputs["y"][:3])
    monkeypatch.setattr(paths_module, "ROWS", 4)
    for name, x in noisy.paths(X, n=7, seed=3).outputs.items():
        np.testing.assert_array_equal(x, paths.outputs[name])
    assert np.unique(paths.outputs["y"] - X).size == 7 * 6
    assert np.unique(paths.outputs["u"]).size == paths.outputs["u"].size


def test_statistics_are_those_of_the_distribution(noisy):
    count = 4000
    paths = noisy.paths(X, n=count, seed=1)
    bound = 5 / np.sqrt(count)
    assert paths.mean[0].dtype == np.float32
    np.testing.assert_allclose(paths.mean[0], X, atol=bound)
    np.testing.assert_allclose(paths.std[0], 1.0, atol=bound)
    low, middle, high = paths.quantile(0.1, 0.5, 0.9)[0]
    np.testing.assert_allclose(
        [low - X, middle - X, high - X], np.full((3, 2, 3), [[[-1.2816]], [[0]], [[1.2816]]]), atol=0.12
    )
    np.testing.assert_allclose(paths.of(lambda x: x.max(axis=0))[1], 1.0, atol=0.01)
    assert np.isnan(noisy.paths(X, n=1).std[0]).all()


def test_without_a_seed_each_sample_of_paths_is_another(noisy):
    assert (noisy.paths(X, n=2).outputs["y"] != noisy.paths(X, n=2).outputs["y"]).all()


def test_progress_is_told(noisy):
    told = []
    noisy.paths(X, n=5, seed=0, progress=told.append)
    assert told == sorted(told) and told[-1] == 5


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3"])
def test_a_bad_count_is_refused(noisy, count):
    with pytest.raises(InputError, match="n=.* must be a whole number of paths, at least 1"):
        noisy.paths(X, n=count)


@pytest.mark.parametrize("shares", [(), (-0.1,), (0.5, 1.1)])
def test_bad_shares_of_quantiles_are_refused(noisy, shares):
    with pytest.raises(InputError, match="must be one or more numbers from 0 to 1"):
        noisy.paths(X, n=2).quantile(*shares)


def test_what_draws_nothing_has_no_paths(tmp_path):
    with pytest.raises(InputError, match="this one draws none; call it once"):
        odelet.load(write_affine(tmp_path / "affine")).paths(X)


def test_given_noise_is_refused(noisy):
    with pytest.raises(InputError, match="'noise_0' is given; leave it out"):
        noisy.paths(X, n=2, noise_0=np.zeros((2, 3), np.float32))


class TestCommandLine:
    @pytest.fixture
    def run(self, capsys, monkeypatch, tmp_path):
        monkeypatch.setattr(cli, "entry_points", lambda group: [])
        folder = write_noisy(tmp_path / "noisy")
        np.savez(tmp_path / "x.npz", x=X)
        target = tmp_path / "y.npz"

        def run(*options, target=target):
            return call(capsys, "run", folder, "--input", tmp_path / "x.npz", "--output", target, *options)

        return run

    def test_it_writes_the_distribution(self, run, tmp_path):
        code, out, err = run("--paths", "50", "--seed", "2", "--quantiles", "0.25,0.75")
        assert (code, err) == (0, "")
        assert out.endswith("paths 50\n") and "y.quantiles [2, 2, 3]" in out
        model = odelet.load(tmp_path / "noisy")
        expected = model.paths(X, n=50, seed=2)
        with np.load(tmp_path / "y.npz") as arrays:
            assert set(arrays.files) == {
                "quantiles",
                *(f"{name}.{what}" for name in "yu" for what in ("mean", "std", "quantiles")),
            }
            np.testing.assert_array_equal(arrays["y.mean"], expected.mean[0])
            np.testing.assert_array_equal(arrays["u.std"], expected.std[1])
            np.testing.assert_array_equal(arrays["y.quantiles"], expected.quantile(0.25, 0.75)[0])

    def test_one_line_for_what_cannot_be(self, run, tmp_path):
        assert "--quantiles 0.1;0.9 must be numbers" in run("--paths", "5", "--quantiles", "0.1;0.9")[2]
        assert "need an .npz" in run("--paths", "5", target=tmp_path / "y.npy")[2]
        assert "n=0 must be a whole number" in run("--paths", "0")[2]
