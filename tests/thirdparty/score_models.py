"""Trials of yang-song/score_sde_pytorch: the probability flow of a score model, by SciPy and by torchdiffeq."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source(
    "yang-song/score_sde_pytorch", "models/ddpm.py, likelihood.py, sde_lib.py at commit cb1f359", "score_sde_pytorch"
)


def _score():
    stub("ml_collections", "op", "tensorflow", "tensorflow_gan")
    import sde_lib
    from models import ddpm

    model = SimpleNamespace(
        nonlinearity="swish",
        normalization="GroupNorm",
        nf=32,
        ch_mult=(1, 2),
        num_res_blocks=1,
        attn_resolutions=(4,),
        dropout=0.0,
        resamp_with_conv=True,
        conditional=True,
        num_scales=1000,
        sigma_max=50.0,
        sigma_min=0.01,
        scale_by_sigma=False,
        beta_min=0.1,
        beta_max=20.0,
    )
    config = SimpleNamespace(
        model=model,
        data=SimpleNamespace(image_size=8, num_channels=3, centered=True),
        training=SimpleNamespace(continuous=True),
        device="cpu",
    )
    return sde_lib.VPSDE(), fresh_weights(ddpm.DDPM(config)).eval()


@SOURCE.case("get_likelihood_fn as it is: scipy.integrate.solve_ivp over numpy arrays")
def scipy() -> Trial:
    sde, net = _score()
    import likelihood

    bits = likelihood.get_likelihood_fn(sde, lambda x: (x + 1) / 2)

    def run(data):
        return bits(net, data)[:2]

    return Trial(Script(run, net), (torch.randn(2, 3, 8, 8),), {"data": {0: "batch"}})


@SOURCE.case("the same likelihood by torchdiffeq, with the repository's divergence and a drawn Rademacher vector")
def torchdiffeq() -> Trial:
    sde, net = _score()
    import likelihood
    from models import utils

    def drift(x, t):
        score = utils.get_score_fn(sde, net, train=False, continuous=True)
        return sde.reverse(score, probability_flow=True).sde(x, t)[0]

    divergence = likelihood.get_div_fn(drift)

    def run(data):
        with torch.no_grad():
            noise = torch.randint_like(data, low=0, high=2).float() * 2 - 1.0

            def field(t, state):
                x = state[0]
                t = torch.ones(x.shape[0]) * t
                return drift(x, t), divergence(x, t, noise)

            z, delta = odeint(
                field,
                (data, data.new_zeros(data.shape[0])),
                torch.tensor([1e-3, 1.0]),
                method="rk4",
                options={"step_size": 0.5},
            )
            return -(sde.prior_logp(z[-1]) + delta[-1])

    return Trial(Script(run, net), (torch.randn(2, 3, 8, 8),), {"data": {0: "batch"}})
