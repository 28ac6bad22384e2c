"""The models of mfinzi/constrained-hamiltonian-neural-networks, for a pendulum of two masses."""

from __future__ import annotations

import sys
import types
from typing import Any

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source(
    "mfinzi/constrained-hamiltonian-neural-networks",
    "biases/models/ at commit c624a63",
    "constrained-hamiltonian-neural-networks",
)
TIMES = torch.linspace(0.0, 0.3, 4)


def _imports() -> None:
    # Of the package oil the models use a decorator and a metaclass.
    stub("matplotlib.animation", "mpl_toolkits.mplot3d")
    utils: Any = types.ModuleType("oil.utils.utils")
    utils.export, utils.Named, utils.FixedNumpySeed = (lambda thing: thing), type, object
    sys.modules |= {name: types.ModuleType(name) for name in ("oil", "oil.utils")} | {"oil.utils.utils": utils}
    # torch.solve was removed from torch.
    torch.solve = lambda b, a: (torch.linalg.solve(a, b), None)


def _run(model: Any, state: torch.Tensor, *, method: str = "rk4") -> Trial:
    def integrate(z0: torch.Tensor, ts: torch.Tensor) -> Any:
        return model.integrate(z0, ts, method=method)

    return Trial(Script(integrate, model), (state, TIMES), {"z0": {0: "batch"}, "ts": {0: "times"}})


def _pendulum() -> Any:
    from biases.systems.rigid_body import BodyGraph

    graph = BodyGraph()
    graph.add_extended_nd(0, m=1.0, d=0, tether=(torch.zeros(2), 1.0))
    graph.add_extended_nd(1, m=1.0, d=0)
    graph.add_edge(0, 1, l=1.0)
    return graph


@SOURCE.case("HNN: mass matrix by Cholesky factors, angles as cosine and sine")
def hamiltonian() -> Trial:
    _imports()
    from biases.models.hnn import HNN

    return _run(HNN(None, 2, 16, 2, canonical=True, angular_dims=(0, 1)), torch.randn(3, 2, 2))


@SOURCE.case("LNN: second derivatives of a Lagrangian, and a linear system for the acceleration")
def lagrangian() -> Trial:
    _imports()
    from biases.models.lnn import LNN

    return _run(LNN(None, 2, 16, 2, angular_dims=(0, 1)), torch.randn(3, 2, 2))


@SOURCE.case("CHNN: a Hamiltonian in Cartesian coordinates, projected onto its constraints")
def constrained_hamiltonian() -> Trial:
    _imports()
    from biases.models.constrained_hnn import CHNN

    return _run(CHNN(_pendulum(), 2, hidden_size=16, num_layers=2), torch.randn(3, 2, 2, 2))


@SOURCE.case("CLNN: the same as a Lagrangian, with dopri5")
def constrained_lagrangian() -> Trial:
    _imports()
    from biases.models.constrained_lnn import CLNN

    return _run(CLNN(_pendulum(), 2, hidden_size=16, num_layers=2), torch.randn(3, 2, 2, 2), method="dopri5")
