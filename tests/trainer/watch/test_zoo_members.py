"""Every member of the zoo is watched: nothing changes without weights, and a loss without a solve is refused."""

import pytest
import torch

from odelet_models import FAMILIES, load_family
from odelet_train import watched

MEMBERS = [(name, member) for name in FAMILIES for member in load_family(name).members]


@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_a_member_is_watched_and_regularised_or_refused_by_name(name, member):
    family = load_family(name)
    chosen, rows = family.members[member], [tensor[:4] for tensor in family.data().train]
    torch.manual_seed(0)
    network = chosen.build().train()

    def loss(**watch):
        network.zero_grad()
        torch.manual_seed(1)
        with watched(**watch) as solves:
            value = chosen.loss(network, *rows)
        (value + solves.cost).backward()
        return value.detach(), [p.grad.clone() for p in network.parameters() if p.grad is not None], solves

    torch.manual_seed(1)
    network.zero_grad()
    value = chosen.loss(network, *rows)
    value.backward()
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    still, same, solves = loss()
    if torch.equal(value.detach(), chosen_again(chosen, network, rows)):  # torchsde's paths have a seed of their own
        assert torch.equal(value.detach(), still)
        assert all(torch.equal(a, b) for a, b in zip(gradients, same, strict=True))
    changed = [solve for solve in solves.solves if solve.entry in ("odeint", "odeint_adjoint", "odeint_event")]
    if not solves.solves or len(changed) < len([solve for solve in solves.solves if not solve.depth]):
        with pytest.raises(ValueError, match=r"kinetic=0.1 changes solves"):
            loss(kinetic=0.1)
        return
    _, _, solves = loss(kinetic=0.1)
    assert float(solves.integrals["kinetic"]) >= 0 and torch.isfinite(solves.integrals["kinetic"])
    assert sum(solves.calls.values()) == sum(loss()[2].calls.values())


def chosen_again(chosen, network, rows):
    """The loss once more, from the same random state."""
    torch.manual_seed(1)
    return chosen.loss(network, *rows).detach()
