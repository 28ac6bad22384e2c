"""The second-order latent ODE of cagatayyildiz/ODE2VAE, with a Bayesian network as its field."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("cagatayyildiz/ODE2VAE", "torch_ode2vae_minimal.py, torch_bnn.py at commit e0fd513", "ODE2VAE")


def _model() -> Any:
    stub("matplotlib.pyplot")
    import scipy.io

    # The script reads its data and starts processes when it is imported.
    scipy.io.loadmat = lambda _: {"X": np.random.rand(510, 16, 784)}
    torch.multiprocessing.set_start_method = lambda *_, **__: None
    (root,) = (path for path in sys.path if path.endswith("/ODE2VAE"))
    script = types.ModuleType("torch_ode2vae_minimal")
    script.__file__ = f"{root}/torch_ode2vae_minimal.py"
    with open(script.__file__) as file:
        exec(compile(file.read().split("if __name__")[0], script.__file__, "exec"), vars(script))
    return script.ODE2VAE(n_filt=2, q=2).eval()


@SOURCE.case("mean_rec: mean trajectories of images")
def mean() -> Trial:
    model = _model()
    return Trial(Script(model.mean_rec, model), (torch.rand(2, 4, 1, 28, 28),), {"X": {0: "batch"}})


@SOURCE.case("forward: a network drawn for the field, the density by the exact trace, the evidence's lower bound")
def bound() -> Trial:
    return Trial(_model(), (torch.rand(2, 4, 1, 28, 28), 10), {"X": {0: "batch"}}, {"method": "rk4"})
