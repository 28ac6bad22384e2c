"""Trials of locuslab/torchdeq: equilibrium layers with the library's own solvers, and marked."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial

import odelet_export

SOURCE = Source("locuslab/torchdeq", "torchdeq/ at commit 4f6bd5f", "torchdeq")


class _Layer(torch.nn.Module):
    """The layer of the library's own tutorial: an injection and a weight-normalized map."""

    def __init__(self, **settings):
        super().__init__()
        from torchdeq import get_deq
        from torchdeq.norm import apply_norm

        self.injection = torch.nn.Linear(6, 8)
        self.map = torch.nn.Linear(8, 8)
        self.out = torch.nn.Linear(8, 3)
        self.deq = get_deq(**settings)
        apply_norm(self.map, norm_type="weight_norm")

    def forward(self, x):
        injected = self.injection(x)
        z, info = self.deq(lambda z: torch.tanh(0.5 * self.map(z) + injected), torch.zeros_like(injected))
        return self.out(z[-1])


def _trial(**settings):
    return Trial(_Layer(**settings).eval(), (torch.randn(4, 6),), {"x": {0: "batch"}})


@SOURCE.case(
    "fixed-point iterations until a tolerance: the number of iterations depends on values", forms={"plain": {}}
)
def until_tolerance() -> Trial:
    return _trial(f_solver="fixed_point_iter", f_max_iter=30, f_tol=1e-3)


@SOURCE.case("ten iterations without statistics", forms={"plain": {}})
def fixed_number() -> Trial:
    net = _Layer(f_solver="simple_fixed_point_iter", f_max_iter=10)

    def forward(x):
        injected = net.injection(x)
        z, info = net.deq(lambda z, tau=1.0: torch.tanh(0.5 * net.map(z) + injected), torch.zeros_like(injected))
        return net.out(z[-1])

    return Trial(Script(forward, net.eval()), (torch.randn(4, 6),), {"x": {0: "batch"}})


@SOURCE.case("six steps of Anderson acceleration: a linear system in each step", forms={"plain": {}})
def anderson() -> Trial:
    return _trial(f_solver="anderson", f_max_iter=6, f_tol=0.0)


@SOURCE.case("Broyden's method, six steps", forms={"plain": {}})
def broyden() -> Trial:
    return _trial(f_solver="broyden", f_max_iter=6, f_tol=0.0)


@SOURCE.case("the layer's map by odelet's mark")
def marked() -> Trial:
    net = _Layer(f_solver="fixed_point_iter")

    def run(x):
        injected = net.injection(x)
        z = odelet_export.mark(lambda z: torch.tanh(0.5 * net.map(z) + injected), torch.zeros_like(injected))
        return net.out(z)

    return Trial(Script(run, net.eval()), (torch.randn(4, 6),), {"x": {0: "batch"}})
