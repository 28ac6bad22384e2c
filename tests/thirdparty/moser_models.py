"""Trials of noamroze/moser_flow: the field of Moser flow divides a neural field by a density with a divergence."""

from __future__ import annotations

import sys
import types

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("noamroze/moser_flow", "moser.py, common/ at commit 0a9fe44", "moser_flow")


def _torus() -> torch.nn.Module:
    sys.modules["eikonal.implicit_network_3d"] = types.ModuleType("eikonal.implicit_network_3d")
    sys.modules["eikonal.implicit_network_3d"].ImplicitNetwork = None
    stub("skimage", "temp", "trimesh", "igl", "open3d", "pymesh", "geopandas", "gdist", "plotly.graph_objs", "pyhocon")
    from moser import TorusMoserFlow

    config = {
        "prior": "uniform_cube",
        "architectures": {"potential": {"type": "mlp", "hidden_dims": [16, 16], "activation": "tanh"}},
        "ode_args": {"rtol": 1e-5, "atol": 1e-5, "method": "dopri5"},
    }
    return fresh_weights(TorusMoserFlow(2, config, torch.device("cpu")))


@SOURCE.case("transport on a torus: the divergence of u in the field, a check for NaN, the result modulo 1")
def transport() -> Trial:
    model = _torus()

    def run(x):
        return model.transport(x)

    return Trial(Script(run, model), (torch.rand(4, 2) * 2 - 1,), {"x": {0: "batch"}})


@SOURCE.case("the log-likelihood by the change of variables: a divergence of a field with a divergence in it")
def log_likelihood() -> Trial:
    model = _torus()

    def run(x):
        return model.direct_log_likelihood(x)

    return Trial(Script(run, model), (torch.rand(4, 2) * 2 - 1,), {"x": {0: "batch"}})


@SOURCE.case("the density itself, without a solve", forms={"plain": {}})
def density() -> Trial:
    return Trial(_torus(), (torch.rand(4, 2) * 2 - 1,), {"x": {0: "batch"}})
