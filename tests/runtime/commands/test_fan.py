"""Pictures of many paths of an SDE, and of the steps of one: what is drawn is what the model returned."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchsde
from support.artifacts import write_noisy
from support.command_line import call, one_line

import odelet
from odelet import InputError
from odelet.artifact.card import Tensor
from odelet.commands.fan import MOST_PANELS, SINGLE_PATHS, Fan, FanOutput, draw_fan, fan_of, fan_output
from odelet.commands.plot import draw, record, write_picture
from odelet.model.paths import Paths
from odelet_export import export
from odelet_export.capture.cache import capturing_once

Y0 = np.array([[0.0, 2.0], [3.0, 4.0], [-1.0, 1.0]])
TIMES = np.linspace(0.0, 1.0, 9)


class Returning(torch.nn.Module):
    """Paths that return to 1, with noise that grows with the state; the times are constants, or an input."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, **how):
        super().__init__()
        self.how = how

    def f(self, t, y):
        return 2 * (1 - y)

    def g(self, t, y):
        return 0.5 * torch.sqrt(1 + y * y)

    def forward(self, y0, t=None):
        return torchsde.sdeint(self, y0, torch.tensor(TIMES) if t is None else t, dt=0.05, **self.how)


class Last(Returning):
    """The states at the end alone, without and with an axis of another size, which is no axis of times."""

    def forward(self, y0):
        return super().forward(y0)[-1]


def made(folder, model, example, dynamic, **variants):
    with capturing_once():
        for name, form in variants.items():
            export(model, example, folder / name, dynamic=dynamic, samples=1, form=form)
    return {name: odelet.load(folder / name) for name in variants}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder, rows = tmp_path_factory.mktemp("fan"), {"y0": {0: "batch"}}
    y0, t = torch.tensor(Y0[:2]), torch.tensor(TIMES)
    fixed = made(folder, Returning(method="euler"), (y0,), rows, rolled="rolled", driven="driven")
    doubling = Returning(method="milstein", adaptive=True, rtol=1e-3, atol=1e-3)
    adaptive = made(folder, doubling, (y0, t), rows, adaptive="driven")
    last = made(folder, Last(method="euler"), (y0,), rows, last="rolled")
    return {**fixed, **adaptive, **last}


def fan(model, inputs, *, n=30, seed=4, solve=None, sample=0):
    output = fan_output(model.card, solve=solve)
    return fan_of(output, model.paths(n=n, seed=seed, **inputs), inputs, sample=sample)


@pytest.mark.parametrize("name", ["rolled", "driven"])
@pytest.mark.parametrize("sample", [0, 2])
def test_a_fan_shows_the_paths_of_one_row_over_the_output_times(models, name, sample):
    drawn = fan(models[name], {"y0": Y0}, sample=sample)
    paths = models[name].paths(Y0, n=30, seed=4)
    assert drawn.along == "time"
    assert drawn.names == ["y[0]", "y[1]"]
    np.testing.assert_allclose(drawn.places, TIMES, rtol=1e-15)
    np.testing.assert_array_equal(drawn.values, paths.outputs["output"][:, :, sample])
    np.testing.assert_allclose(drawn.quantile(0.25), paths.quantile(0.25)[0][:, sample], rtol=1e-15)
    assert drawn.title == f"solve 0: ito_euler, 30 paths, sample {sample}"


def test_times_that_are_an_input_are_those_of_the_call(models):
    times = TIMES**2 * 0.8
    drawn = fan(models["adaptive"], {"y0": Y0, "t": times}, n=3)
    np.testing.assert_array_equal(drawn.places, times)
    np.testing.assert_array_equal(drawn.values[0], models["adaptive"](Y0, times, seed=4)[:, 0])


def test_bands_median_and_single_paths_are_on_the_picture(models):
    drawn = fan(models["rolled"], {"y0": Y0})
    figure = draw_fan(drawn)
    assert len(figure.axes) == 2
    for i, axis in enumerate(figure.axes):
        lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axis.lines}
        np.testing.assert_array_equal(lines["median"], drawn.quantile(0.5)[:, i])
        np.testing.assert_array_equal(lines["single paths"], drawn.values[0, :, i])
        assert len(lines) == 1 + SINGLE_PATHS
        for band, (low, high) in zip(axis.collections, ((0.05, 0.95), (0.25, 0.75)), strict=True):
            corners = band.get_paths()[0].vertices
            for share in (low, high):
                expected = np.stack([drawn.places, drawn.quantile(share)[:, i]], 1)
                assert all(np.isclose(corners, point).all(1).any() for point in expected)
    assert figure.axes[-1].get_xlabel() == "time"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["5% to 95% of the paths", "25% to 75% of the paths", "single paths", "median"]


def test_the_rendered_picture_has_its_colours(models, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    write_picture(tmp_path / "fan.png", draw_fan(fan(models["rolled"], {"y0": Y0}, n=200)))
    pixels = image.imread(tmp_path / "fan.png")[..., :3]

    def share(*colour):
        return (np.abs(pixels - np.array(colour)) < 0.02).all(-1).mean()

    assert share(0.8, 0.89, 0.94) > 0.03  # the pale band
    assert share(0, 0x72 / 255, 0xB2 / 255) > 0.001  # the median
    assert share(0xE6 / 255, 0x9F / 255, 0) > 0.001  # paths
    assert 0.3 < share(1, 1, 1) < 0.97


def test_of_many_elements_those_that_vary_most_are_drawn():
    names = [f"x{i}" for i in range(MOST_PANELS)]
    values = np.random.default_rng(0).normal(size=(3, 4, MOST_PANELS))
    figure = draw_fan(Fan("title", "time", np.arange(4), names, values, 9))
    assert len(figure.axes) == MOST_PANELS
    assert figure.get_suptitle() == f"title\n{MOST_PANELS} of 9 elements, those that vary most"


def test_an_output_that_is_no_solution_is_drawn_along_an_axis_without_times(models, tmp_path):
    drawn = fan(models["last"], {"y0": Y0}, sample=1)
    assert drawn.along == "index along axis 1 of output"
    assert drawn.names == ["output"]
    np.testing.assert_array_equal(drawn.values[:, :, 0], models["last"].paths(Y0, n=30, seed=4).outputs["output"][:, 1])
    noisy = odelet.load(write_noisy(tmp_path / "noisy"))
    x = np.zeros((2, 3), np.float32)
    drawn = fan(noisy, {"x": x}, sample=1)
    np.testing.assert_array_equal(drawn.values[:, :, 0], noisy.paths(x, n=30, seed=4).outputs["y"][:, 1])


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("rolled", {"sample": 3}, "sample=3 is not in the batch, which has 3 samples"),
        ("rolled", {"sample": -1}, "sample=-1 is not in the batch"),
        ("rolled", {"solve": 1}, "solve=1 is not in the artifact, which has 1 solves"),
        ("last", {"solve": 0}, r"solve 0 \(.*\) has a solution that is no output; leave out which solve"),
        ("rolled", {"n": 0}, "n=0 must be a whole number"),
    ],
)
def test_what_cannot_be_drawn_is_told(models, name, asked, message):
    with pytest.raises(InputError, match=message):
        fan(models[name], {"y0": Y0}, **asked)


def test_a_single_time_is_no_fan():
    output = FanOutput(Tensor(name="y", dtype="float32", shape=(1, "batch", 2)), None, 0, 1)
    with pytest.raises(
        InputError, match=r"a single point along its axis 0, and a fan needs two; .* odelet run --paths"
    ):
        fan_of(output, Paths({"y": np.zeros((5, 1, 3, 2))}, dict), {})


@pytest.mark.parametrize("times", [None, "nothing", (0.0, 1.0)])
def test_times_that_the_card_does_not_tell_are_numbered(models, times):
    output = fan_output(models["rolled"].card)
    brownian = replace(output.solve.brownian, times=times)
    unknown = replace(output, solve=replace(output.solve, brownian=brownian))
    drawn = fan_of(unknown, models["rolled"].paths(Y0, n=2), {"y0": Y0})
    assert drawn.along == "number of the output time"
    np.testing.assert_array_equal(drawn.places, np.arange(len(TIMES)))


def test_the_steps_of_step_doubling_are_recorded(models):
    inputs = {"y0": Y0, "t": TIMES, "noise_0": np.arange(3)}
    recorded, solution = record(models["adaptive"], inputs, sample=1), models["adaptive"].solve(**inputs)
    (stats,) = solution.stats.solves
    assert recorded.stats == stats  # recording does not change the solve
    attempts, steps = recorded.recording.attempts, recorded.recording.steps
    assert (len(attempts), len(steps)) == (stats.steps, stats.accepted)
    assert stats.rejected > 3
    assert all(step.accepted == (step.ratio <= 1) for step in attempts)
    time = 0.0
    for step in attempts:
        assert step.time == time
        time = time + step.length if step.accepted else time
    assert time == pytest.approx(1.0)
    for t, expected in zip(TIMES[1:], solution.outputs["output"][1:], strict=True):
        step = next(step for step in steps if t <= step.end)
        np.testing.assert_allclose(step.read(t), expected.reshape(-1), rtol=1e-12)
    figure = draw(recorded)
    assert f"{stats.steps} steps, {stats.accepted} accepted, {stats.rejected} rejected" in figure.get_suptitle()
    assert len(figure.axes) == 3


def test_a_failed_solve_with_step_doubling_is_drawn_until_then(models):
    broken = record(models["adaptive"], {"y0": np.full((1, 2), 1e300), "t": TIMES})
    assert "NOT_FINITE" in draw(broken).get_suptitle()
    (attempt,) = broken.recording.attempts[-1:]
    assert not attempt.accepted


def test_fixed_steps_of_an_sde_are_recorded(models):
    inputs = {"y0": Y0, "noise_0": np.random.default_rng(1).normal(size=(models["driven"].card.solves[0].steps, 3, 2))}
    recorded, states = record(models["driven"], inputs), models["driven"](**inputs)
    lengths = [step.length for step in recorded.recording.attempts]
    assert len(lengths) == models["driven"].card.solves[0].steps
    assert sum(lengths) == pytest.approx(1.0)
    np.testing.assert_array_equal(recorded.recording.steps[-1].ends.y1.reshape(3, 2), states[-1])


class TestCommand:
    @pytest.fixture
    def plot(self, models, tmp_path, capsys):
        np.savez(tmp_path / "x.npz", y0=Y0)

        def plot(name, *options):
            folder = models[name].folder
            return call(capsys, "plot", folder, "--input", tmp_path / "x.npz", "-o", tmp_path / "p.svg", *options)

        return plot

    def test_it_writes_a_picture_and_says_what_is_on_it(self, plot, tmp_path):
        code, out, err = plot("rolled", "--paths", 20, "--sample", 2, "--seed", 1)
        assert (code, err) == (0, "")
        assert out == f"solve 0: ito_euler, 20 paths, sample 2\nwrote {tmp_path / 'p.svg'}\n"
        assert (tmp_path / "p.svg").read_text().startswith("<?xml")

    def test_steps_inside_a_graph_cannot_be_seen_and_the_paths_can(self, plot):
        code, _, err = plot("rolled")
        assert code == 2
        assert "takes its steps inside the graph" in one_line(err)
        assert "or draw many paths with --paths 200" in err
        assert plot("driven")[0] == 0


def test_info_names_the_noise_its_channels_and_the_steps(models):
    for name, words in (
        ("rolled", "ito_euler, rolled, diagonal noise in 2 channels"),
        ("driven", "ito_euler, driven, diagonal noise in 2 channels"),
    ):
        (line,) = [line for line in models[name].card.summary().splitlines() if "ito_euler" in line]
        assert words in line
        assert f"steps {models[name].card.solves[0].steps}" in line
    assert models["driven"].card.solves[0].steps == models["rolled"].card.solves[0].steps
