"""The losses that the command line knows by name: of a network and the tensors of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from odelet_models.family import accuracy


@dataclass(frozen=True)
class Loss:
    """A loss by name. of: (network, *tensors of a batch) -> scalar. targets: how many of the tensors, the last ones,
    are no inputs of the network. metric: the name of what `score` returns for a network and the tensors of a test."""

    of: Callable[..., Tensor]
    targets: int
    metric: str
    score: Callable[..., float]


def _mse(network: nn.Module, *tensors: Tensor) -> Tensor:
    *inputs, target = tensors
    found = network(*inputs)
    if found.shape != target.shape:
        raise ValueError(
            f"the network returns the shape {tuple(found.shape)} for targets of {tuple(target.shape)}; "
            "mse needs equal ones"
        )
    return nn.functional.mse_loss(found, target)


def _cross_entropy(network: nn.Module, *tensors: Tensor) -> Tensor:
    *inputs, target = tensors
    return nn.functional.cross_entropy(network(*inputs), target.long())


def _nll(network: nn.Module, *tensors: Tensor) -> Tensor:
    return -network(*tensors).mean()


def _value(of: Callable[..., Tensor]) -> Callable[..., float]:
    return lambda network, *tensors: float(of(network, *tensors).detach())


LOSSES: dict[str, Loss] = {
    "mse": Loss(_mse, 1, "mse", _value(_mse)),
    "cross_entropy": Loss(_cross_entropy, 1, "accuracy", accuracy),
    "nll": Loss(_nll, 0, "nll", _value(_nll)),
}


def own_loss(function: Callable[..., Tensor]) -> Loss:
    """A function of the user's as a loss. Which of the tensors are inputs only the network's arguments can say."""
    return Loss(function, -1, "loss", _value(function))
