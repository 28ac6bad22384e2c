"""The continuous recurrent units of boschresearch/Continuous-Recurrent-Units: a Kalman filter, without a solver."""

from __future__ import annotations

import types

import torch
from trial import Source, Trial, stub

SOURCE = Source("boschresearch/Continuous-Recurrent-Units", "lib/ at commit 79723e7", "Continuous-Recurrent-Units")


@SOURCE.case(
    "the fast layer: means and covariances by eigenvectors that geotorch keeps orthogonal", forms={"plain": {}}
)
def fast() -> Trial:
    stub("tqdm", "torchvision")
    from lib.CRULayer import CRULayer

    settings = types.SimpleNamespace(
        f_cru=True, rkn=False, bandwidth=2, num_basis=3, trans_net_hidden_units=[], trans_net_hidden_activation="tanh",
        trans_covar=0.1, trans_var_activation="elup1", enc_var_activation="elup1", dec_var_activation="exp",
        t_sensitive_trans_net=False, orthogonal=True,
    )  # fmt: skip
    double = {"dtype": torch.float64}
    model = CRULayer(2, settings).double().eval()
    covariance = [torch.ones(2, 2, **double), torch.ones(2, 2, **double), torch.zeros(2, 2, **double)]
    observed = torch.randn(2, 4, 2, **double), torch.rand(2, 4, 2, **double), torch.randn(2, 4, **double), covariance
    return Trial(model, (*observed, torch.ones(2, 4, dtype=torch.bool), torch.arange(4, **double).repeat(2, 1)))
