"""The records that describe a family of models: its data, its members, and the ways in which devices call them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WEIGHTS = Path(__file__).resolve().parent / "weights"
# A function that is called with tensors and returns tensors: a module, or an artifact in its place.
Call = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Samples, divided once into a part to train on and a part that nothing is fitted to.

    train, test: tensors, one row a sample, so that all tensors of a part have equally many rows. Both parts have
    tensors of the same types and, but for the rows, of the same shapes. Raises ValueError where they do not.

    >>> Data(train=(torch.zeros(4, 2),), test=(torch.zeros(1, 2),)).rows
    (4, 1)
    """

    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        for part, tensors in (("train", self.train), ("test", self.test)):
            lengths = [len(tensor) for tensor in tensors]
            if not lengths or min(lengths) != max(lengths) or not lengths[0]:
                shapes = [tuple(tensor.shape) for tensor in tensors]
                raise ValueError(
                    f"{part} has tensors of shapes {shapes}; pass tensors with equally many rows, at least 1"
                )
        kinds = [[(tensor.dtype, tensor.shape[1:]) for tensor in part] for part in (self.train, self.test)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"train has rows of {kinds[0]} and test of {kinds[1]}; pass rows of the same kinds")

    @property
    def rows(self) -> tuple[int, int]:
        """The number of samples to train on, and to test."""
        return len(self.train[0]), len(self.test[0])

    def digest(self) -> str:
        """The sha256 of all tensors, in hex: data are equal if their digests are."""
        state = sha256()
        for tensor in (*self.train, *self.test):
            array = np.ascontiguousarray(tensor.numpy())
            state.update(f"{array.dtype.str}{array.shape}".encode())
            state.update(array.tobytes())
        return state.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Use:
    """A way in which a device calls a trained member. Each use of a member becomes an artifact of its own.

    inputs: (batch) -> tuple of tensors, an example of the arguments; equal batches give equal inputs. dynamic: the axes
    whose sizes vary, as `odelet_export.export` takes them. module: makes the module to export of the trained member; by
    default the member itself. settings: further arguments of `export`.
    """

    inputs: Callable[[int], tuple[Tensor, ...]]
    dynamic: Mapping[str, Any]
    module: Callable[[Any], nn.Module] = field(default=lambda member: member)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of a family.

    about: what it is, as the end of a sentence. build: makes the untrained network; its weights depend on torch's
    random state. loss: (network, *tensors of a batch) -> scalar; it draws from torch's random state, if at all. uses:
    by name; the first one is scored. discrete: whether the network solves nothing, and stands beside the others for
    comparison. settings: of its training, see `odelet_train.Settings`.
    """

    about: str
    build: Callable[[], nn.Module]
    loss: Callable[..., Tensor]
    uses: Mapping[str, Use]
    discrete: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks that do the same task on the same data: the system of the family, and what it is compared with.

    title: its name in tables. about: what it is for, in two sentences. source: the paper. data: loads the data.
    members: by name; names are unique in the zoo. metric: what `score` returns. higher: whether a higher score is
    better. score: (call, *tensors of the test part) -> number, where `call` is the first use of a member, as a module
    or as an artifact. baseline: a name, and a function of the data that returns the score of a simple method. draw:
    (figure of matplotlib, calls by "member-use", data) -> None; calls take and return tensors.
    """

    title: str
    about: str
    source: str
    data: Callable[[], Data]
    members: Mapping[str, Member]
    metric: str
    higher: bool
    score: Callable[..., float]
    baseline: tuple[str, Callable[[Data], float]]
    draw: Callable[[Any, Mapping[str, Call], Data], None]

    def trained(self, member: str) -> nn.Module:
        """A member with its trained weights, in eval mode. Raises ValueError where the family has no such member, and
        FileNotFoundError where its weights are absent."""
        if member not in self.members:
            raise ValueError(f"member={member!r} is not in this family; choose one of {', '.join(self.members)}")
        return trained(self.members[member].build, member)


def trained(build: Callable[[], nn.Module], name: str) -> nn.Module:
    """A network with the trained weights `name`, in eval mode. Raises FileNotFoundError where they are absent."""
    from safetensors.torch import load_file  # No other function needs safetensors.

    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; train the network with `odelet train {name} -o {WEIGHTS}`")
    with torch.random.fork_rng(devices=[]):  # Building draws weights, which the caller's random state must not show.
        network = build()
    network.load_state_dict(load_file(path))
    return network.eval()


def accuracy(call: Call, *tensors: Tensor) -> float:
    """The share of samples that are put into the right class, from 0 to 1. tensors: inputs, and last the class numbers.

    >>> accuracy(nn.Identity(), torch.eye(4), torch.tensor([0, 1, 2, 0]))
    0.75
    """
    *inputs, labels = tensors
    with torch.no_grad():
        return (call(*inputs).argmax(1) == labels).double().mean().item()


def majority(data: Data) -> float:
    """The share of test samples in the class that is most frequent in training, from 0 to 1: a baseline of `accuracy`.

    >>> labels = torch.tensor([1, 1, 0])
    >>> majority(Data(train=(labels,), test=(labels[1:],)))
    0.5
    """
    return (data.test[-1] == data.train[-1].mode().values).double().mean().item()
