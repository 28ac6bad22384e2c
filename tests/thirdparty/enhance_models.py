"""Trials of resemble-ai/resemble-enhance: flow matching of latents with a WaveNet, the time warped by a power."""

from __future__ import annotations

import numpy as np
import torch
from torchdiffeq import odeint
from trial import Script, Source, Trial, fresh_weights

SOURCE = Source(
    "resemble-ai/resemble-enhance", "resemble_enhance/enhancer/lcfm/cfm.py at commit 8e97814", "resemble-enhance"
)


def _cfm():
    import sys
    import types
    from pathlib import Path

    folder = Path(sys.path[0]) / "resemble_enhance/enhancer/lcfm"
    package = types.ModuleType("lcfm")
    package.__path__ = [str(folder)]
    sys.modules["lcfm"] = package
    from lcfm.cfm import CFM

    return fresh_weights(CFM(cond_dim=4, output_dim=4, time_emb_dim=8, solver_nfe=4)).eval()


@SOURCE.case("CFM.sample: the authors' own midpoint loop; times as numpy numbers", forms={"plain": {}})
def sample() -> Trial:
    cfm = _cfm()
    cfm.solver.verbose = False
    type(cfm.solver).visualizing = False
    import scipy.optimize as so

    solve = so.fsolve
    so.fsolve = lambda *a, **k: float(np.ravel(solve(*a, **k))[0])

    def run(x, noise):
        return cfm.sample(x, ψ0=noise)

    return Trial(
        Script(run, cfm),
        (torch.randn(2, 4, 12), torch.randn(2, 4, 12)),
        {"x": {0: "batch", 2: "frames"}, "noise": {0: "batch", 2: "frames"}},
    )


@SOURCE.case("the same field by torchdiffeq, rk4")
def solved() -> Trial:
    cfm = _cfm()

    def run(x, noise):
        return odeint(
            lambda t, y: cfm._to_v(ψt=y, x=x, t=t.expand(y.shape[0])), noise, torch.linspace(0, 1, 3), method="rk4"
        )[-1]

    return Trial(
        Script(run, cfm),
        (torch.randn(2, 4, 12), torch.randn(2, 4, 12)),
        {"x": {0: "batch", 2: "frames"}, "noise": {0: "batch", 2: "frames"}},
    )
