"""The user's own network, data and loss, as the command line names them, as a job of training."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from odelet.artifact.npy import read_npz
from odelet.errors import InputError
from odelet_export.commands.arguments import read_target
from odelet_export.commands.target import importing
from odelet_models.family import Data, Use
from odelet_train.given.losses import LOSSES, Loss, own_loss
from odelet_train.job import Job

# The prefix of arrays that are the test part.
TEST = "test_"


@contextmanager
def job_given(target: str, data: str | None, loss: str | None, *, held_out: float) -> Iterator[Job]:
    """The training of the user's own network; yields the job.

    target: module:class or FILE.py:class of a network that is built without arguments. data: an .npz of arrays, or
    module:function. loss: a name of LOSSES, or module:function. held_out: the share of the rows that is tested on,
    where the data do not say which. The folders of files stay on sys.path meanwhile.
    Raises InputError for what is not there or does not fit.
    """
    if data is None:
        raise InputError("--data is missing; pass an .npz of arrays, or MODULE:function that returns them")
    if loss is None:
        raise InputError(f"--loss is missing; pass one of {', '.join(LOSSES)}, or MODULE:function")
    if not 0 < held_out < 1:
        raise InputError(f"--held-out {held_out} must be a share between 0 and 1; try 0.2")
    with _function(target, "the network") as build, _loss(loss) as chosen:
        with torch.random.fork_rng(devices=[]):
            network = _built(build, target)
        with nullcontext(None) if _is_file(data) else _function(data, "--data") as function:
            arrays = read_npz(Path(data)) if function is None else _named(function(), network, chosen)
        parts = arrays if isinstance(arrays, Data) else _divided(arrays, network, held_out)
        names = _input_names(network, chosen, parts)
        yield Job(
            name=re.sub(r"\W+", "-", target.rpartition(":")[2]).lower(),
            built_by=target,
            build=lambda: _built(build, target),
            data=parts,
            loss=chosen.of,
            metric=chosen.metric,
            score=lambda trained: chosen.score(trained, *parts.test),
            uses={"call": _use(names, parts)},
        )


def _is_file(text: str) -> bool:
    if text.endswith(".npz"):
        if not Path(text).is_file():
            raise InputError(f"--data {text}: there is no such file")
        return True
    return False


@contextmanager
def _function(text: str, what: str) -> Iterator[Callable[..., Any]]:
    """What module:name or FILE.py:name is, which can be called."""
    try:
        place = read_target(text)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    with importing(place) as module:
        function = getattr(module, place.name, None)
        if not callable(function):
            raise InputError(f"{what} {text}: {place.place} has no class or function {place.name!r}")
        yield function


@contextmanager
def _loss(text: str) -> Iterator[Loss]:
    if text in LOSSES:
        yield LOSSES[text]
        return
    if ":" not in text:
        raise InputError(f"--loss {text!r} is not one of {', '.join(LOSSES)}, nor MODULE:function")
    with _function(text, "--loss") as function:
        yield own_loss(function)


def _built(build: Callable[..., Any], target: str) -> nn.Module:
    try:
        network = build()
    except TypeError as error:
        raise InputError(f"{target} cannot be built without arguments ({error}); name a function that can") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{target} gives a {type(network).__name__}; it must give a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"{target} has no weights to train")
    return network


def _arguments(network: nn.Module) -> list[str]:
    """The names of the arguments of forward that are given by place."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(network.forward).parameters.values() if p.kind in kinds]


def _named(found: Any, network: nn.Module, loss: Loss) -> Data | dict[str, Any]:
    """What a function for --data returned, as arrays by name. A tuple has the inputs first, and then the targets."""
    if isinstance(found, (Data, dict)):
        return found
    if isinstance(found, (tuple, list)):
        names = _arguments(network)
        inputs = len(found) - max(loss.targets, 0)
        taken = [names[i] if i < min(inputs, len(names)) else f"target_{i}" for i in range(len(found))]
        return dict(zip(taken, found, strict=True))
    raise InputError(
        f"--data returns a {type(found).__name__}; return a tuple or a dict of arrays, or odelet_models.family.Data"
    )


def _divided(arrays: Mapping[str, Any], network: nn.Module, held_out: float) -> Data:
    """Arrays as tensors of the network's dtype: inputs in the order of the network's arguments, and then the others."""
    dtype = next(p.dtype for p in network.parameters() if p.is_floating_point())
    tensors = {}
    for name, value in arrays.items():
        try:
            tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
        except TypeError as error:
            raise InputError(f"--data: {name} holds no numbers that torch knows ({error})") from None
        tensors[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    if any(not tensor.ndim for tensor in tensors.values()) or not tensors:
        raise InputError(f"--data has the arrays {', '.join(tensors) or 'none'}; each must have a row for each sample")
    names = [name for name in tensors if not (name.startswith(TEST) and name[len(TEST) :] in tensors)]
    known = _arguments(network)
    names = [name for name in known if name in names] + [name for name in names if name not in known]
    _check_names(network, names)
    tested = [name for name in names if TEST + name in tensors]
    if tested and len(tested) != len(names):
        missing = ", ".join(TEST + name for name in names if name not in tested)
        raise InputError(f"--data has a test part without {missing}; give every array one, or none")
    if tested:
        return Data(train=tuple(tensors[n] for n in names), test=tuple(tensors[TEST + n] for n in names))
    rows = {len(tensors[name]) for name in names}
    if len(rows) != 1 or min(rows) < 2:
        shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in names)
        raise InputError(f"--data has arrays of {shapes}; all need equally many rows, at least 2")
    count = rows.pop()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    test, train = order[: max(1, round(held_out * count))], order[max(1, round(held_out * count)) :]
    return Data(train=tuple(tensors[n][train] for n in names), test=tuple(tensors[n][test] for n in names))


def _check_names(network: nn.Module, names: Sequence[str]) -> None:
    """Raise InputError where an argument that forward needs has no array of its name."""
    parameters = inspect.signature(network.forward).parameters
    absent = [name for name in _arguments(network) if name not in names and parameters[name].default is inspect._empty]
    if absent:
        raise InputError(
            f"--data has no array {absent[0]}, which forward takes; it has {', '.join(names)}: name each input as the "
            "argument that takes it"
        )


def _input_names(network: nn.Module, loss: Loss, data: Data) -> list[str]:
    """The names of the network's inputs among the tensors of the data, which come first."""
    names = _arguments(network)
    count = len(data.train) - loss.targets if loss.targets >= 0 else min(len(names), len(data.train))
    if count < 1 or count > len(names):
        raise InputError(
            f"the data have {len(data.train)} arrays, of which {max(loss.targets, 0)} are targets, and the network "
            f"takes {', '.join(names) or 'no arguments'}; give an array for each argument, and then the targets"
        )
    return names[:count]


def _use(names: Sequence[str], data: Data) -> Use:
    """How a device calls the network: with rows of the test part, whose number is free."""

    def inputs(batch: int) -> tuple[Tensor, ...]:
        rows = torch.arange(batch) % data.rows[1]
        return tuple(tensor[rows] for tensor in data.test[: len(names)])

    return Use(inputs=inputs, dynamic={name: {0: "batch"} for name in names})
