"""Port-Hamiltonian systems with port-Hamiltonian controllers, of DecodEPFL/DeepDisCoPH."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("DecodEPFL/DeepDisCoPH", "envCT.py, train.py at commit 28ba995", "DeepDisCoPH")


def _run(layers: int) -> Trial:
    stub("matplotlib.pyplot")
    from envCT import Controller, PHInterconnectionEnv, SystemEnv
    from torchdiffeq import odeint

    agents, times = 2, torch.linspace(0, 0.2, 5)
    graph, step = torch.ones(agents, agents), 0.05
    system = SystemEnv(agents, torch.randn(4 * agents, 1), ctls=graph)
    depth = 1 if layers > 1 else 2
    controller = Controller(layers, step, r=12.0, n_agents=agents, interconnection=graph, n_H_layers=depth)
    closed = PHInterconnectionEnv(system, controller)

    def run(z: torch.Tensor) -> torch.Tensor:
        solution: torch.Tensor = odeint(closed, z, times, method="euler", options={"step_size": step})
        return solution

    return Trial(Script(run, closed), (torch.randn(closed.n, 1),))


@SOURCE.case("a controller whose weights change at each step")
def varying() -> Trial:
    return _run(5)


@SOURCE.case("a controller of constant weights, block_diag in the field")
def constant() -> Trial:
    return _run(1)
