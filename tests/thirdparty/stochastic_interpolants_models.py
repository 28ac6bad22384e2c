"""Trials of malbergo/stochastic-interpolants: probability flows with a density beside the sample."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial

SOURCE = Source("malbergo/stochastic-interpolants", "interflow/ at commit c9bc956", "stochastic-interpolants")


def _net(**more):
    from interflow import fabrics

    return fabrics.make_fc_net(hidden_sizes=[16, 16], in_size=3, out_size=2, inner_act="relu", final_act="none", **more)


def _run(flow, *modules, **more):
    def run(x0):
        x, dlogp = flow.rollout(x0, **more)
        return x[-1], dlogp[-1]

    return Trial(Script(run, *modules), (torch.randn(4, 2),), {"x0": {0: "batch"}})


@SOURCE.case("samples and their log-density by an exact divergence, rk4")
def rk4() -> Trial:
    from interflow import stochastic_interpolant as si

    b = _net()
    return _run(si.PFlowIntegrator(b=b, method="rk4", interpolant=si.Interpolant("linear", "brownian"), n_step=5), b)


@SOURCE.case("the drift from a velocity and a score, backwards in time, dopri5 with tolerances as lists")
def velocity_and_score() -> Trial:
    from interflow import stochastic_interpolant as si

    v, s = _net(), _net()
    path = si.Interpolant("trig", "brownian")
    b = si.BFromVS(v, s, path.gg_dot)
    return _run(si.PFlowIntegrator(b=b, method="dopri5", interpolant=path, n_step=2), v, s, reverse=True)


@SOURCE.case("a mirror interpolant, samples alone")
def mirror() -> Trial:
    from interflow import stochastic_interpolant as si

    s = _net()
    path = si.Interpolant("mirror", "brownian")
    return _run(si.PFlowIntegrator(b=s, method="dopri5", interpolant=path, n_step=3, mirror=True, sample_only=True), s)


@SOURCE.case("an SDE by the authors' own loop, with noise from torch.randn", forms={"plain": {}})
def sde() -> Trial:
    from interflow import stochastic_interpolant as si

    b, s = _net(), _net()
    path = si.Interpolant("linear", "brownian")
    flow = si.SDEIntegrator(b=b, s=s, eps=torch.tensor(0.1), interpolant=path, n_save=2, n_step=4)

    def run(x0):
        return flow.rollout_forward(x0)

    return Trial(Script(run, b, s), (torch.randn(4, 2),), {"x0": {0: "batch"}})
