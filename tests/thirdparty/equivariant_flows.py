"""E(n) equivariant flows of vgsatorras/en_flows: particles and molecules."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial

SOURCE = Source("vgsatorras/en_flows", "flows/ffjord.py, egnn/ at commit 2fd18bf", "en_flows")


@SOURCE.case("particles: Hutchinson's trace, edges of a batch by a loop over it, kept by the size of the batch")
def particles() -> Trial:
    from egnn.models import EGNN_dynamics
    from flows.ffjord import FFJORD

    dynamics = EGNN_dynamics(n_particles=4, n_dimension=2, hidden_nf=8, n_layers=1, recurrent=True, tanh=True)
    return Trial(FFJORD(dynamics, trace_method="hutch").eval(), (torch.randn(3, 4, 2),), {"x": {0: "batch"}})


@SOURCE.case("molecules: masks of nodes and edges, an assertion in the field, rk4")
def molecules() -> Trial:
    from egnn.models import EGNN_dynamics_QM9
    from flows.ffjord import FFJORD

    dynamics = EGNN_dynamics_QM9(in_node_nf=3, context_node_nf=0, n_dims=3, hidden_nf=8, n_layers=1)
    flow: Any = FFJORD(dynamics, trace_method="hutch").eval()
    flow.set_odeint(method="rk4")
    node_mask = torch.ones(2, 4, 1)
    node_mask[1, 3] = 0
    edge_mask = node_mask * node_mask.transpose(1, 2) * (1 - torch.eye(4))

    def run(x: torch.Tensor, node_mask: torch.Tensor, edge_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return flow(x, node_mask, edge_mask.reshape(-1, 1))

    return Trial(Script(run, flow), (torch.randn(2, 4, 5) * node_mask, node_mask, edge_mask))
