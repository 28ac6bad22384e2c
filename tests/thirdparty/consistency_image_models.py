"""Trials of openai/consistency_models: an image U-Net, the Karras sampler and one step."""

from __future__ import annotations

import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("openai/consistency_models", "cm/ at commit e32b69e", "consistency_models")


def _parts():
    stub("torchvision.transforms", "mpi4py", "piq", "flash_attn", "blobfile", "xformers")
    from cm.karras_diffusion import KarrasDenoiser
    from cm.unet import UNetModel

    net = UNetModel(
        image_size=8,
        in_channels=3,
        model_channels=32,
        out_channels=3,
        num_res_blocks=1,
        attention_resolutions=(2,),
        channel_mult=(1, 2),
        num_classes=5,
        num_head_channels=16,
        use_scale_shift_norm=True,
        resblock_updown=True,
        use_fp16=False,
    )
    return KarrasDenoiser(sigma_data=0.5), fresh_weights(net).eval()


@SOURCE.case("the probability flow dx/dt = (x - D(x)) / t by torchdiffeq's euler, over Karras times")
def probability_flow() -> Trial:
    diffusion, net = _parts()
    from cm.karras_diffusion import get_sigmas_karras

    times = get_sigmas_karras(3, 0.002, 80.0)[:-1]

    def run(x, y):
        def field(t, x):
            _, denoised = diffusion.denoise(net, x, t.expand(x.shape[0]), y=y)
            return (x - denoised.clamp(-1, 1)) / t

        return odeint(field, x * 80.0, times, method="euler")[-1]

    return Trial(
        Script(run, net), (torch.randn(2, 3, 8, 8), torch.tensor([1, 3])), {"x": {0: "batch"}, "y": {0: "batch"}}
    )


@SOURCE.case("karras_sample's Heun loop, as it is", forms={"plain": {}})
def heun() -> Trial:
    diffusion, net = _parts()
    from cm import karras_diffusion as k

    def run(x, y):
        def denoiser(x_t, sigma):
            return diffusion.denoise(net, x_t, sigma, y=y)[1].clamp(-1, 1)

        return k.sample_heun(denoiser, x * 80.0, k.get_sigmas_karras(3, 0.002, 80.0), k.get_generator("dummy")).clamp(
            -1, 1
        )

    return Trial(
        Script(run, net), (torch.randn(2, 3, 8, 8), torch.tensor([1, 3])), {"x": {0: "batch"}, "y": {0: "batch"}}
    )
