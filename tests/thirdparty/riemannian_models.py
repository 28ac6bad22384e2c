"""Trials of facebookresearch/riemannian-fm: fields on manifolds, with likelihoods by vmap over jacrev."""

from __future__ import annotations

import types

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("facebookresearch/riemannian-fm", "manifm/ at commit a909279", "riemannian-fm")


def _stubs():
    stub(
        "geopandas",
        "shapely.geometry",
        "igl",
        "torch_scatter",
        "vtk.util.numpy_support",
        "trimesh",
        "pandas",
        "hydra",
        "omegaconf",
        "potpourri3d",
        "polyscope",
        "evtk.hl",
        "evtk.vtk",
        "pyevtk",
    )


class _Settings(types.SimpleNamespace):
    def get(self, name, default=None):
        return getattr(self, name, default)


def _module(manifold, dim, **more):
    from manifm import model_pl

    model_pl.get_manifold = lambda cfg: (manifold, dim)
    model = _Settings(d_model=16, num_layers=3, actfn="swish", atol=1e-5, rtol=1e-5, fourier=None, **more)
    cfg = _Settings(model=model, optim=_Settings(ema_decay=0.99))
    module = model_pl.ManifoldFMLitModule(cfg)
    fresh_weights(module.model.model)
    module.log = lambda *a, **k: None
    return module.eval()


def _sphere():
    from manifm.manifolds import Sphere

    return Sphere()


def _points(n):
    x = torch.randn(n, 3)
    return x / x.norm(dim=-1, keepdim=True)


@SOURCE.case("samples on a sphere: projections in the field")
def sphere_samples() -> Trial:
    _stubs()
    module = _module(_sphere(), 3)

    def run(x0):
        return module.sample(x0.shape[0], x0.device, x0=x0)

    return Trial(Script(run, module), (_points(4),), {"x0": {0: "batch"}})


@SOURCE.case("the exact log-likelihood on a sphere: vmap over jacrev in the field")
def sphere_likelihood() -> Trial:
    _stubs()
    module = _module(_sphere(), 3)

    def run(x):
        return module.compute_exact_loglikelihood(x)

    return Trial(Script(run, module), (_points(4),), {"x": {0: "batch"}})


@SOURCE.case("samples on a flat torus, with Fourier features")
def torus_samples() -> Trial:
    _stubs()
    from manifm.manifolds import FlatTorus

    module = _module(FlatTorus(), 2)

    def run(x0):
        return module.sample(x0.shape[0], x0.device, x0=x0)

    return Trial(Script(run, module), (torch.rand(4, 2) * 6,), {"x0": {0: "batch"}})


@SOURCE.case("samples in the Poincare ball, a field normalized by the metric")
def ball_samples() -> Trial:
    _stubs()
    from manifm.manifolds import PoincareBall

    module = _module(PoincareBall(), 2, metric_normalize=True)

    def run(x):
        return module.sample(x.shape[0], x.device, x0=x)

    return Trial(Script(run, module), (torch.rand(4, 2) * 0.8 - 0.4,), {"x": {0: "batch"}})


@SOURCE.case("samples of positive definite matrices: scatter under vmap, square roots by eigenvalues")
def spd_samples() -> Trial:
    _stubs()
    from manifm.manifolds import SPD

    manifold = SPD()
    module = _module(manifold, 3)

    def run(x0):
        return module.sample(x0.shape[0], x0.device, x0=x0)

    return Trial(
        Script(run, module), (torch.tensor([[1.0, 0.2, 1.5], [0.8, -0.1, 0.9], [1.2, 0.0, 1.0]]),), {"x0": {0: "batch"}}
    )
