"""Random draws become inputs: they have torch's distributions and give torch's answers, or the model is refused."""

import inspect

import numpy as np
import pytest
import torch
from support.models_random import DRAWS, TIMES, All, Hutchinson, Latent
from torch import nn
from torch.nn import functional
from torchdiffeq import odeint

import odelet
from odelet_export import CaptureError, ParityError, export
from odelet_export.model.random_draws import drawing, one_run
from odelet_export.model.random_sources import ReplayedSource, SeededSource

BATCH = {0: "batch"}


def distance(a, b):
    """The distance of Kolmogorov and Smirnov: the largest difference of two samples' distribution functions."""
    # Numbers that differ only in rounding count as one number.
    a, b = (np.sort(np.round(x.double().numpy(), 5)) for x in (a, b))
    grid = np.unique(np.concatenate([a, b]))
    return np.abs(np.searchsorted(a, grid, "right") / len(a) - np.searchsorted(b, grid, "right") / len(b)).max()


@pytest.mark.parametrize("name", [name for name in DRAWS if name != "randperm"])
def test_a_draw_has_torchs_distribution(name):
    rates = torch.tensor([0.1, 0.3, 0.55, 0.8]).expand(20_000, 4)
    torch.manual_seed(5)
    theirs = DRAWS[name](rates)
    source = SeededSource(3)
    with drawing(source), one_run():
        ours = DRAWS[name](rates)
    assert len(source.arrays) == 1
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    # Two samples of 20,000 numbers from one distribution are this far apart once in a million times.
    assert max(distance(ours[:, i], theirs[:, i]) for i in range(ours.shape[1])) < 0.0265


P = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
SPELLINGS = {
    "input": (lambda: torch.randn_like(input=P), lambda: torch.randn(2, 3)),
    "size": (lambda: torch.randint(high=5, size=[2, 3], low=1), lambda: torch.randint(1, 5, (2, 3))),
    "to": (lambda: torch.empty(3).random_(to=5), lambda: torch.randint(5, (3,)).float()),
    "init": (lambda: nn.init.uniform_(torch.empty(3), a=1.0, b=2.0), lambda: torch.empty(3).uniform_(1.0, 2.0)),
    "method": (lambda: P.multinomial(num_samples=2), lambda: torch.multinomial(input=P, num_samples=2, out=None)),
    "module": (lambda: nn.Dropout(0.5)(P), lambda: torch.dropout(P, 0.5, True)),
    "in place": (
        lambda: functional.dropout(P.clone(), 0.5, inplace=True),
        lambda: torch.dropout_(P.clone(), 0.5, True),
    ),
    "gradient": (lambda: torch.rand(2, requires_grad=True).detach(), lambda: torch.rand((2,), generator=None)),
    "none": (lambda: nn.Dropout(0.5).eval()(P) + functional.dropout(P, 0.0), lambda: 2 * P),
}


@pytest.mark.parametrize(("one", "other"), SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_of_one_draw_give_the_same_numbers(one, other):
    results = []
    for spelling in (one, other):
        with drawing(SeededSource(2)), one_run():
            results.append(spelling())
    np.testing.assert_array_equal(results[0], results[1])


def test_attention_is_refused_with_dropout_only():
    q = torch.ones(1, 2, 4)
    with drawing(SeededSource(0)), one_run():
        functional.scaled_dot_product_attention(query=q, key=q, value=q)
        with pytest.raises(CaptureError, match="scaled_dot_product_attention"):
            functional.scaled_dot_product_attention(q, q, q, None, 0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_uniform_numbers_in_half_precision_stay_below_1(dtype):
    with drawing(SeededSource(0)), one_run():
        u = torch.rand(100_000, dtype=dtype)
    assert u.dtype == dtype
    assert (u.max() < 1, u.min() >= 0, abs(u.double().mean() - 0.5) < 0.01) == (True, True, True)


def test_permutations_are_equally_likely():
    counts = torch.zeros(24)
    source = SeededSource(1)
    with drawing(source), one_run():
        for _ in range(2400):
            p = torch.randperm(4)
            counts[p[0] * 6 + (p[1] - (p[1] > p[0]).long()) * 2 + (p[2] > p[3]).long()] += 1
    assert (
        (counts - 100) ** 2 / 100
    ).sum() < 60  # chi squared with 23 degrees of freedom is larger once in 30,000 times


def eager(model, arguments, noise):
    """The outputs of torch for the values of base draws. noise: by the name of the input."""
    given = [torch.from_numpy(noise[name]) for name in sorted(noise, key=lambda name: int(name.split("_")[1]))]
    with drawing(ReplayedSource(given)), one_run(), torch.no_grad():
        return model(*arguments)


@pytest.mark.slow
def test_a_model_with_every_draw_gives_the_answers_of_torch(tmp_path):
    exported = export(All(), (0.1 + 0.8 * torch.rand(5, 4),), tmp_path / "out", dynamic={"p": BATCH})
    assert len(exported.card.noise) == len(DRAWS)
    p = 0.1 + 0.8 * torch.rand(7, 4)
    solution = odelet.load(tmp_path / "out").solve(p.numpy(), seed=1)
    expected = eager(All(), (p,), solution.noise)
    np.testing.assert_allclose(solution.outputs["output"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("form", "per_sample"), [("adaptive", False), ("driven", False), ("adaptive", True)])
def test_a_latent_ode_takes_its_noise_as_inputs(tmp_path, form, per_sample):
    torch.manual_seed(0)
    model = Latent().eval()
    t = torch.linspace(0, 1, 4)
    exported = export(
        model,
        (torch.randn(4, 3), t),
        tmp_path / "out",
        dynamic={"x": BATCH, "t": {0: "times"}},
        form=form,
        per_sample=per_sample,
        samples=2,
    )
    start, observed = exported.card.noise
    assert (start.distribution, observed.distribution) == ("normal", "normal")
    assert [str(tensor) for tensor in exported.card.inputs[2:]] == [
        "float32 [batch, 4]",
        "float32 [times, batch, 4]",
    ]
    assert start.source == f"models_random.py:{line_of(Latent, 'rsample')}"
    runtime = odelet.load(tmp_path / "out")
    x, t = torch.randn(6, 3), torch.linspace(0, 0.7, 3)
    solution = runtime.solve(x.numpy(), t.numpy(), seed=4)
    if not per_sample:
        expected = eager(model, (x, t), solution.noise)
        np.testing.assert_allclose(solution.outputs["output"], expected, rtol=1e-3, atol=1e-4)
    assert odelet.verify(runtime).passed, "the samples hold their noise"


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


def test_noise_drawn_in_the_first_call_of_a_field_is_one_input(tmp_path):
    torch.manual_seed(0)
    model = Hutchinson()
    exported = export(model, (torch.randn(4, 3),), tmp_path / "out", dynamic={"x": BATCH}, samples=2)
    (noise,) = exported.card.noise
    assert noise.source == f"models_random.py:{line_of(Hutchinson, 'randn_like')}"
    x = torch.randn(5, 3)
    solution = odelet.load(tmp_path / "out").solve(x.numpy(), seed=2)
    z, log_p = eager(model, (x,), solution.noise)
    np.testing.assert_allclose(solution.outputs["output_0"], z, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(solution.outputs["output_1"], log_p, rtol=1e-3, atol=1e-4)


def test_slices_of_a_solve_share_their_noise(tmp_path):
    def model(x, t):
        return odeint(lambda t, y: -y, x + torch.randn_like(x), t, method="rk4")

    export(model, (torch.ones(3), torch.linspace(0, 1, 5)), tmp_path / "out", dynamic={"t": {0: "t"}}, form="driven")
    runtime = odelet.load(tmp_path / "out")
    x, t = np.ones(3, np.float32), np.linspace(0, 1, 5, dtype=np.float32)
    stream = runtime.stream(x=x, seed=3)
    np.testing.assert_array_equal(np.concatenate([stream(t=t[:2]), stream(t=t[2:])]), runtime(x, t, seed=3))


def drawn_in_each_call(x):
    def field(t, y):
        return -y + torch.randn_like(y)  # HERE

    return odeint(field, x, TIMES)


def dropout_in_each_call(x):
    return odeint(lambda t, y: -functional.dropout(y, 0.5, training=True), x, TIMES)  # HERE


def of_poisson(x):
    return odeint(lambda t, y: -y, torch.poisson(x.exp()), TIMES)  # HERE


def of_gamma(x):
    return odeint(lambda t, y: -y, torch.distributions.Gamma(x.exp(), 1.0).sample(), TIMES)  # HERE


def seeded_for_any_batch(x):
    torch.manual_seed(3)
    return odeint(lambda t, y: -y, x + torch.randn_like(x), TIMES)  # HERE


def seeded_from_values(x):
    g = torch.Generator().manual_seed(3)
    return odeint(lambda t, y: -y, torch.bernoulli(x.sigmoid(), generator=g), TIMES)  # HERE


def mapped(x):
    start = torch.vmap(lambda row: row + torch.randn(2), randomness="different")(x)  # HERE
    return odeint(lambda t, y: -y, start, TIMES)


def of_complex_numbers(x):
    return odeint(lambda t, y: -y, x + torch.randn(2, dtype=torch.complex64).real, TIMES)  # HERE


def into_another(x):
    return odeint(lambda t, y: -y, x + torch.randn(2, out=torch.empty(2)), TIMES)  # HERE


REFUSED = {
    of_complex_numbers: "random numbers of torch.complex64",
    into_another: "randn with out=",
    mapped: "random numbers drawn under torch.vmap",
    drawn_in_each_call: "random numbers drawn anew in each evaluation of the field(?s:.*)if self.e is None",
    dropout_in_each_call: "drawn anew in each evaluation",
    of_poisson: "random numbers of poisson, which is no arithmetic",
    of_gamma: "random numbers of _standard_gamma",
    seeded_for_any_batch: "a seeded draw whose size changes with the inputs",
    seeded_from_values: "a seeded draw that depends on the values of a tensor",
}


@pytest.mark.parametrize("model", REFUSED, ids=lambda model: model.__name__)
def test_a_draw_that_cannot_be_exported_is_refused_with_its_line(model, tmp_path):
    line = rf'test_random_draws\.py", line {line_of(model, "# HERE")}\n    .*# HERE\n(?s:.*)'
    with pytest.raises(CaptureError, match=line + REFUSED[model]):
        export(model, (torch.rand(3, 2),), tmp_path / "out", dynamic={"x": BATCH})


class Seeded(nn.Module):
    """Draws that are the same in each call, because the model seeds them, and one draw that is not seeded."""

    def forward(self, x):
        free = torch.rand(2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            frozen = torch.randn(2) + torch.distributions.Normal(torch.zeros(2), 3.0).sample() + torch.randint(5, (2,))
        g = torch.Generator().manual_seed(12)
        frozen = frozen + torch.normal(torch.ones(2), 0.5, generator=g) + torch.empty(2).exponential_(generator=g)
        return odeint(lambda t, y: -y, x + frozen + free + torch.randn(2), TIMES, method="rk4")[-1]


def test_draws_that_the_model_seeds_are_constants(tmp_path):
    exported = export(Seeded(), (torch.randn(3, 2),), tmp_path / "out", dynamic={"x": BATCH}, samples=2)
    assert [noise.distribution for noise in exported.card.noise] == ["uniform", "normal"]
    solution = odelet.load(tmp_path / "out").solve(np.zeros((2, 2), np.float32), seed=1)
    expected = eager(Seeded(), (torch.zeros(2, 2),), solution.noise)
    np.testing.assert_allclose(solution.outputs["output"], expected, rtol=1e-5, atol=1e-6)


class Kept(nn.Module):
    """A model that keeps a generator: each call goes on where the last ended, so that no two calls agree."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def forward(self, x):
        return odeint(lambda t, y: -y, x + torch.randn(2, generator=self.generator), TIMES, method="rk4")[-1]


def test_a_generator_that_is_kept_between_calls_is_refused(tmp_path):
    with pytest.raises(ParityError, match="torch itself gives other answers"):
        export(Kept(), (torch.randn(3, 2),), tmp_path / "out")


def test_torch_draws_as_before_after_a_refused_export(tmp_path):
    x = torch.ones(3, 2)
    torch.manual_seed(4)
    expected = torch.randn(3)
    torch.manual_seed(4)
    with pytest.raises(CaptureError):
        export(of_poisson, (x,), tmp_path / "out")
    np.testing.assert_array_equal(torch.randn(3), expected)
    with pytest.raises(ValueError, match="parameter"):
        torch.distributions.Normal(0.0, -1.0)
