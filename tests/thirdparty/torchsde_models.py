"""The examples of google-research/torchsde: two latent SDEs, both parts of the SDE-GAN, and the score model."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("google-research/torchsde", "examples/ at commit eb3a00e, with its torchsde", "torchsde")


def _latent(**arguments: Any) -> tuple[Any, torch.Tensor]:
    """The model of latent_sde.py, with its command line, and the times of its data."""
    stub("matplotlib.pyplot", "tqdm")
    import torchsde

    script: Any = import_module("examples.latent_sde")
    given = {"method": "euler", "dt": 1e-2, "adaptive": False, "rtol": 1e-3, "atol": 1e-3, **arguments}
    script.args, script.device = argparse.Namespace(**given), torch.device("cpu")
    script.sdeint_fn = torchsde.sdeint_adjoint if arguments.get("adjoint") else torchsde.sdeint
    model = script.LatentSDE()
    fresh_weights(model.net)
    return model, script.make_segmented_cosine_data().ts_ext


def _latent_trial(function: str, **arguments: Any) -> Trial:
    model, times = _latent(**arguments)

    def run(eps: torch.Tensor) -> Any:
        call = model if function == "forward" else getattr(model, function)
        return call(times, eps.shape[0], eps=eps)

    return Trial(Script(run, model), (torch.randn(3, 1),), {"eps": {0: "batch"}})


@SOURCE.case("latent_sde.py: the posterior with its divergence, Euler, adjoint", forms={"auto": {}, "driven": {}})
def latent_posterior() -> Trial:
    return _latent_trial("forward", adjoint=True)


@SOURCE.case("latent_sde.py --adaptive True --method milstein: steps by an error estimate")
def latent_adaptive() -> Trial:
    return _latent_trial("forward", adaptive=True, method="milstein")


@SOURCE.case("latent_sde.py: samples of the prior, names={'drift': 'h'}, SRK", forms={"auto": {}, "driven": {}})
def latent_prior() -> Trial:
    return _latent_trial("sample_p")


@SOURCE.case("latent_sde.py: samples of the posterior, SRK")
def latent_samples() -> Trial:
    return _latent_trial("sample_q")


def _lorenz() -> ModuleType:
    stub("fire", "matplotlib.pyplot", "matplotlib.gridspec", "tqdm")
    return import_module("examples.latent_sde_lorenz")


@SOURCE.case("latent_sde_lorenz.py: data from the stochastic attractor, SRK with dt 1e-3")
def lorenz_data() -> Trial:
    attractor, times = _lorenz().StochasticLorenz(), torch.linspace(0, 0.1, 6)

    def run(y0: torch.Tensor) -> Any:
        return attractor.sample(y0, times, noise_std=0.01, normalize=False)

    return Trial(run, (torch.randn(3, 3),), {"y0": {0: "batch"}})


def _lorenz_model() -> Any:
    return fresh_weights(
        _lorenz().LatentSDE(data_size=3, latent_size=4, context_size=8, hidden_size=16)  # 64 and 128 there
    )


def _lorenz_loss(**settings: Any) -> Trial:
    model, times = _lorenz_model(), torch.linspace(0, 0.5, 26)

    def run(xs: torch.Tensor) -> Any:
        return model(xs, times, 0.01, **settings)

    return Trial(Script(run, model), (0.1 * torch.randn(26, 3, 3),), {"xs": {1: "batch"}})


@SOURCE.case(
    "latent_sde_lorenz.py: the loss, a GRU, a context looked up by time, logqp", forms={"auto": {}, "driven": {}}
)
def lorenz_loss() -> Trial:
    return _lorenz_loss()


@SOURCE.case("latent_sde_lorenz.py with adjoint=True, method='milstein'")
def lorenz_adjoint() -> Trial:
    return _lorenz_loss(adjoint=True, method="milstein")


@SOURCE.case("latent_sde_lorenz.py: samples of the prior, a batch size as the input")
def lorenz_samples() -> Trial:
    model, times = _lorenz_model(), torch.linspace(0, 0.05, 4)

    def run(batch_size: int) -> Any:
        return model.sample(batch_size, times)

    return Trial(Script(run, model), (3,), {"batch_size": "batch"})  # type: ignore[dict-item]  # a number


def _gan() -> ModuleType:
    stub("fire", "matplotlib.pyplot", "tqdm")
    return import_module("examples.sde_gan")


def _generator() -> Any:
    return fresh_weights(
        _gan().Generator(data_size=1, initial_noise_size=5, noise_size=3, hidden_size=16, mlp_size=16, num_layers=1)
    )


def _discriminator() -> Any:
    return fresh_weights(_gan().Discriminator(data_size=1, hidden_size=16, mlp_size=16, num_layers=1))


@SOURCE.case("sde_gan.py: the generator, general noise, reversible Heun, adjoint", forms={"auto": {}, "driven": {}})
def gan_generator() -> Trial:
    model, times = _generator(), torch.linspace(0, 63, 64)

    def run(batch_size: int) -> Any:
        return model(times, batch_size)

    return Trial(Script(run, model), (3,), {"batch_size": "batch"})  # type: ignore[dict-item]  # a number


@SOURCE.case("sde_gan.py: the generator as it is, its times an input", forms={"auto": {"steps": 63}})
def gan_generator_times() -> Trial:
    return Trial(_generator(), (torch.linspace(0, 63, 64), 3), {"batch_size": "batch"})  # type: ignore[dict-item]  # a number


@SOURCE.case("sde_gan.py: the discriminator, torchcde with its backend torchsde", forms={"auto": {}, "driven": {}})
def gan_discriminator() -> Trial:
    values = torch.randn(3, 64, 1).cumsum(1) * 0.1
    path = torch.cat([torch.linspace(0, 63, 64)[None, :, None].expand(3, 64, 1), values], dim=2)
    return Trial(_discriminator(), (path,), {"ys_coeffs": {0: "batch"}})


@SOURCE.case("sde_gan.py: the score of generated samples, two solves")
def gan_score() -> Trial:
    generator, discriminator, times = _generator(), _discriminator(), torch.linspace(0, 15, 16)

    def run(batch_size: int) -> Any:
        return discriminator(generator(times, batch_size))

    return Trial(Script(run, generator, discriminator), (3,), {"batch_size": "batch"})  # type: ignore[dict-item]  # a number


def _filter(x: torch.Tensor, kernel: torch.Tensor, *, normalized: bool) -> torch.Tensor:
    """What kornia's filter2D computes: each channel is convolved with a kernel (1, h, w) whose sum is made 1."""
    assert normalized
    kernel = (kernel / kernel.abs().sum()).expand(x.shape[1], 1, *kernel.shape[1:]).to(x.dtype)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    return torch.nn.functional.conv2d(padded, kernel, groups=x.shape[1])


def _score_model() -> Any:
    stub("fire", "kornia", "tqdm", "torchvision")
    sys.modules["kornia"].filter2D = _filter  # type: ignore[attr-defined]  # a stub, or a kornia without that name
    cont_ddpm, unet = import_module("examples.cont_ddpm"), import_module("examples.unet")
    size = (1, 8, 8)  # 28 x 28 and 64 channels there
    denoiser = unet.Unet(
        input_size=size,
        hidden_channels=8,
        groups=4,
        dim_mults=(1, 2),
        attn_resolutions=(4,),
        attention_cls=unet.LinearTimeSelfAttention,
    )
    return cont_ddpm.ReverseDiffeqWrapper(cont_ddpm.ScoreMatchingSDE(fresh_weights(denoiser), input_size=size)).eval()


def _images(function: str) -> Trial:
    model = _score_model()

    def run(y: torch.Tensor) -> Any:
        return getattr(model, function)(y=y, dt=0.02)  # 0.01 there

    return Trial(Script(run, model), (torch.randn(2, 1, 8, 8),), {"y": {0: "batch"}})


@SOURCE.case("cont_ddpm.py: samples by the reverse SDE with a U-net, Stratonovich midpoint, Tweedie's correction")
def score_sde() -> Trial:
    return _images("sde_sample_final")


@SOURCE.case("cont_ddpm.py: samples by the reverse ODE, rk4")
def score_ode() -> Trial:
    return _images("ode_sample_final")
