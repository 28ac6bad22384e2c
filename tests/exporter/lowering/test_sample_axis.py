"""The axis that counts samples: found from the states and the names of axes, and written into the card for noise."""

import numpy as np
import pytest
import torch
from support.models_random import Latent
from torchdiffeq import odeint

import odelet
from odelet.artifact.card import Tensor
from odelet_export import export
from odelet_export.lowering.sample_axis import axis_of_samples, place_of

TIMES = torch.tensor([0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([("times",), ("n", 3)], "n"),
        ([("times", "batch", 3)], "batch"),
        ([("times",)], None),
        ([(4, 3), ("n", 3)], None),
        ([(), ("n", 3)], "n"),
        ([], None),
    ],
)
def test_without_a_state_the_names_and_places_of_axes_decide(shapes, expected):
    inputs = [Tensor(name=f"x{i}", dtype="float32", shape=shape) for i, shape in enumerate(shapes)]
    assert axis_of_samples([], inputs) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("batch", 3), 0),
        (("times", "batch"), 1),
        ((2, "4*batch", 3), 1),
        (("batch*obs + 1",), 0),
        (("batch", "batch"), 0),
        (("batches", 3), None),
        ((3,), None),
        ((), None),
    ],
)
def test_an_axis_is_found_by_its_name_and_in_formulas(shape, expected):
    assert place_of("batch", shape) == expected
    assert place_of(None, shape) is None


def probes(x):
    """Four draws for each sample, in neighbouring rows."""
    start = x.repeat_interleave(4, 0)
    return odeint(lambda t, y: -y, start + torch.randn_like(start), TIMES, method="rk4")[-1]


def series(x):
    """The batch is the second axis of the input, and the first of the state."""
    start = x[0] + torch.randn_like(x[0])
    return odeint(lambda t, y: -y, start, TIMES, method="rk4")[-1] + torch.randn_like(x).sum(0)


def plain(x):
    return x + torch.randn_like(x)


MODELS = {
    "latent": (Latent(), (torch.randn(4, 3), torch.linspace(0, 1, 4)), {"x": {0: "n"}, "t": {0: "times"}}, [0, 1]),
    "probes": (probes, (torch.randn(3, 2),), {"x": {0: "batch"}}, [0]),
    "series": (series, (torch.randn(5, 3, 2),), {"x": {0: "length", 1: "n"}}, [0, 1]),
    "plain": (plain, (torch.randn(4, 3),), {"x": {0: "n"}}, [0]),
    "fixed": (probes, (torch.randn(3, 2),), {}, [None]),
}


@pytest.mark.parametrize(("model", "example", "dynamic", "expected"), MODELS.values(), ids=MODELS)
def test_a_sample_of_an_exported_model_has_the_same_noise_in_every_batch(tmp_path, model, example, dynamic, expected):
    form = "plain" if model is plain else "auto"
    exported = export(model, example, tmp_path / "out", dynamic=dynamic, form=form, samples=1)
    assert [noise.sample_axis for noise in exported.card.noise] == expected
    if not dynamic:
        return
    runtime, noises, answers = odelet.load(tmp_path / "out"), [], []
    (place,) = [axis for axis, name in dynamic["x"].items() if name in ("n", "batch")]
    for batch in (1, 64):
        x = np.repeat(np.moveaxis(example[0].numpy(), place, 0)[:1], batch, 0)
        rest = [array.numpy() for array in example[1:]]
        solution = runtime.solve(np.ascontiguousarray(np.moveaxis(x, 0, place)), *rest, seed=3)
        noises.append(solution.noise)
        answers.append(solution.outputs["output"])
    for (one, many), axis in zip(zip(*(noise.values() for noise in noises), strict=True), expected, strict=True):
        size = one.shape[axis]
        np.testing.assert_array_equal(one, np.take(many, range(size), axis))
    if len(example) == 1:  # the steps of an adaptive solve are those of the whole batch
        np.testing.assert_allclose(answers[0], answers[1][: len(answers[0])], rtol=0, atol=1e-5)
