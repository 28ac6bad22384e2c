"""A zoo of model families: each written as a user would write it, with its data, its loss and its trained weights.

A family is one file with a record `FAMILY` (`family.Family`), and one line in `FAMILIES`. Models import torch, solver
libraries and `mark`; they know nothing of their training and of their export.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from odelet_models.family import Family

# The module of each family, by name. Modules are strings, so that listing imports no family.
FAMILIES: dict[str, str] = {
    "odenet": "odelet_models.odenet",
    "flows": "odelet_models.flows",
    "flows_wine": "odelet_models.flows_wine",
    "image_flows": "odelet_models.image_flows",
    "latent_ode": "odelet_models.latent_ode",
    "ode_rnn": "odelet_models.ode_rnn",
    "neural_cde": "odelet_models.neural_cde",
    "flow_matching": "odelet_models.flow_matching",
    "deq": "odelet_models.deq",
    "hamiltonian": "odelet_models.hamiltonian",
}

__all__ = ["FAMILIES", "load_family"]


def load_family(name: str) -> Family:
    """Import and return the record of a family. Raises ValueError where `name` is not a key of FAMILIES.

    >>> load_family("odenet").title
    'ODE-Net'
    """
    if name not in FAMILIES:
        raise ValueError(f"name={name!r} is not a model family; choose one of {', '.join(FAMILIES)}")
    family: Family = import_module(FAMILIES[name]).FAMILY
    return family
