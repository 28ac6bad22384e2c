"""The flows of rtqichen/ffjord, built by its own train_misc.py, train_cnf.py and vae_lib."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from trial import Script, Source, Trial, fresh_weights, stub, with_arguments

SOURCE = Source(
    "rtqichen/ffjord", "lib/, train_toy.py, train_tabular.py, train_cnf.py, vae_lib/ at commit 994864a", "ffjord"
)

BATCH = {"x": {0: "batch"}, "logpx": {0: "batch"}}

# The defaults of train_toy.py and train_tabular.py, but with smaller sizes.
TOY: dict[str, Any] = dict(
    layer_type="concatsquash",
    dims="16-16",
    num_blocks=1,
    time_length=0.5,
    train_T=True,
    divergence_fn="brute_force",
    nonlinearity="tanh",
    solver="dopri5",
    atol=1e-5,
    rtol=1e-5,
    step_size=None,
    test_solver=None,
    test_atol=None,
    test_rtol=None,
    residual=False,
    rademacher=False,
    batch_norm=False,
    bn_lag=0,
)
TABULAR: dict[str, Any] = {
    **TOY,
    "dims": "20-20",
    "time_length": 1.0,
    "divergence_fn": "approximate",
    "nonlinearity": "softplus",
    "atol": 1e-8,
    "rtol": 1e-6,
}


def _weighted(model: Any) -> Any:
    """The model, changed as by some training: all weights and the statistics of norms are drawn anew."""
    fresh_weights(model)
    for name, parameter in model.named_parameters():
        if name.endswith("sqrt_end_time"):
            parameter.data.fill_(0.8)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0.0, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model


def _flow(dims: int, options: dict[str, Any], *, reverse: bool = False) -> Trial:
    import train_misc

    model = _weighted(train_misc.build_model_tabular(Namespace(**options), dims)).eval()
    x, zero = torch.randn(5, dims), torch.zeros(5, 1)
    return Trial(model, (x, zero), BATCH, kwargs={"reverse": True} if reverse else {})


@SOURCE.case("train_toy.py: concatsquash, exact trace, trained end time", forms={"auto": {}, "driven": {}})
def toy_density() -> Trial:
    return _flow(2, TOY)


@SOURCE.case("train_toy.py: sampling, the same flow in reverse")
def toy_samples() -> Trial:
    return _flow(2, TOY, reverse=True)


@SOURCE.case("train_toy.py --num_blocks 2 --batch_norm True: a stack with moving batch norm")
def toy_stacked() -> Trial:
    return _flow(2, {**TOY, "num_blocks": 2, "batch_norm": True})


@SOURCE.case("train_toy.py --residual True --train_T False --layer_type blend --nonlinearity swish")
def toy_residual_blend() -> Trial:
    return _flow(2, {**TOY, "residual": True, "train_T": False, "layer_type": "blend", "nonlinearity": "swish"})


@SOURCE.case("train_toy.py --layer_type hyper: weights that a network makes of t")
def toy_hyper() -> Trial:
    return _flow(2, {**TOY, "layer_type": "hyper"})


@SOURCE.case("train_toy.py --layer_type squash --nonlinearity elu")
def toy_squash() -> Trial:
    return _flow(2, {**TOY, "layer_type": "squash", "nonlinearity": "elu"})


@SOURCE.case("train_toy.py --spectral_norm True")
def toy_spectral_norm() -> Trial:
    import train_misc

    model = _weighted(train_misc.build_model_tabular(Namespace(**TOY), 2))
    train_misc.add_spectral_norm(model)
    train_misc.spectral_norm_power_iteration(model, 1)
    return Trial(model.eval(), (torch.randn(5, 2), torch.zeros(5, 1)), BATCH)


@SOURCE.case("train_toy.py --JFrobint 0.1 --l2int 0.1: a regularized field, at inference")
def toy_regularized() -> Trial:
    import train_misc

    names = ("l2int", "JFrobint")
    functions = tuple(train_misc.REGULARIZATION_FNS[name] for name in names)
    model = _weighted(train_misc.build_model_tabular(Namespace(**TOY), 2, functions)).eval()
    return Trial(model, (torch.randn(5, 2), torch.zeros(5, 1)), BATCH)


@SOURCE.case(
    "train_toy.py --test_solver rk4, with the steps asked for",
    forms={"unrolled": {"steps": 4}, "rolled": {"steps": 4}},
)
def toy_fixed_steps() -> Trial:
    return _flow(2, {**TOY, "test_solver": "rk4"})


@SOURCE.case("train_tabular.py: 6 columns, Hutchinson's trace with Gaussian noise drawn once a solve")
def tabular_hutchinson() -> Trial:
    return _flow(6, TABULAR)


@SOURCE.case("train_tabular.py --rademacher True --num_blocks 2 --batch_norm True")
def tabular_rademacher_stacked() -> Trial:
    return _flow(6, {**TABULAR, "rademacher": True, "num_blocks": 2, "batch_norm": True})


@SOURCE.case("train_tabular.py --divergence_fn brute_force")
def tabular_brute_force() -> Trial:
    return _flow(6, {**TABULAR, "divergence_fn": "brute_force"})


@SOURCE.case("train_tabular.py --divergence_fn brute_force, reverse")
def tabular_brute_force_samples() -> Trial:
    return _flow(6, {**TABULAR, "divergence_fn": "brute_force"}, reverse=True)


@SOURCE.case("one CNF layer with integration times as an input, exact trace")
def cnf_given_times() -> Trial:
    import train_misc

    model = _weighted(train_misc.build_model_tabular(Namespace(**TOY), 2)).eval()
    layer = model.chain[0]
    args = (torch.randn(5, 2), torch.zeros(5, 1), torch.tensor([0.0, 0.3, 0.5]))
    dynamic = {"z": {0: "batch"}, "logpz": {0: "batch"}}
    return Trial(layer, args, dynamic)


@SOURCE.case("train_toy.py's loss terms: log-density under a normal prior")
def toy_log_density() -> Trial:
    import train_misc

    model = _weighted(train_misc.build_model_tabular(Namespace(**TOY), 2)).eval()

    def density(x: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros(x.shape[0], 1).to(x)
        z, delta_logp = model(x, zero)
        return train_misc.standard_normal_logprob(z).sum(1, keepdim=True) - delta_logp

    return Trial(Script(density, model).eval(), (torch.randn(5, 2),), {"x": {0: "batch"}})


# The defaults of train_cnf.py, but with smaller sizes.
IMAGE: dict[str, Any] = {
    **TOY,
    "dims": "4,8,4",
    "strides": "1,1,1,1",
    "conv": True,
    "layer_type": "ignore",
    "divergence_fn": "approximate",
    "nonlinearity": "softplus",
    "alpha": 1e-6,
    "time_length": 1.0,
    "rademacher": True,
    "autoencode": False,
    "multiscale": False,
    "parallel": False,
    "batch_size": 3,
}


def _image(shape: tuple[int, ...] = (1, 8, 8), *, noise: str = "", **options: Any) -> Trial:
    stub("torchvision.datasets", "torchvision.transforms", "torchvision.utils")
    with_arguments()
    import train_cnf
    import train_misc

    arguments = Namespace(**{**IMAGE, **options})
    model = _weighted(train_cnf.create_model(arguments, shape, None))
    train_misc.set_cnf_options(arguments, model)
    if noise == "exact":
        train_misc.override_divergence_fn(model, "brute_force")
    return Trial(model.eval(), (torch.rand(3, *shape), torch.zeros(3, 1)), BATCH)


@SOURCE.case("train_cnf.py: convolutions, logit transform, Hutchinson's trace through them")
def image_hutchinson() -> Trial:
    return _image()


@SOURCE.case("train_cnf.py --dims 8,16,16,8 --strides 2,2,1,-2,-2: strided and transposed convolutions")
def image_strided() -> Trial:
    return _image(dims="4,8,8,4", strides="2,2,1,-2,-2", layer_type="concat")


@SOURCE.case("train_cnf.py --multiscale True: squeezing, several scales")
def image_multiscale() -> Trial:
    return _image(multiscale=True, dims="4,4")


@SOURCE.case("train_cnf.py --parallel True: a sum of networks at several scales")
def image_parallel() -> Trial:
    return _image((1, 16, 16), parallel=True, dims="4,4", alpha=-1.0)


@SOURCE.case("train_cnf.py --autoencode True: trace through a bottleneck")
def image_autoencode() -> Trial:
    return _image(autoencode=True, dims="4,4,4", layer_type="concat")


@SOURCE.case("train_cnf.py --conv False: a flat image, brute force")
def image_flat_exact() -> Trial:
    return _image((9,), conv=False, dims="8,8", strides="1,1,1", layer_type="concat", noise="exact")


def _vae(name: str, **options: Any) -> Trial:
    from vae_lib.models import CNFVAE

    arguments = Namespace(
        **{**TOY, "z_size": 4, "input_size": [1, 28, 28], "input_type": "binary", "cuda": False, "rank": 1, **options}
    )
    model = getattr(CNFVAE, name)(arguments).eval()
    return Trial(model, (torch.rand(3, 1, 28, 28),), {"x": {0: "batch"}})


@SOURCE.case("train_vae_flow.py -f cnf: VAE with a flow on a drawn latent")
def vae_cnf() -> Trial:
    return _vae("CNFVAE")


@SOURCE.case("train_vae_flow.py -f cnf_bias: biases of the field made by the encoder, as part of the state")
def vae_cnf_bias() -> Trial:
    return _vae("AmortizedBiasCNFVAE")


@SOURCE.case("train_vae_flow.py -f cnf_hyper: weights of the field made by the encoder")
def vae_cnf_hyper() -> Trial:
    return _vae("HypernetCNFVAE", layer_type="concat")
