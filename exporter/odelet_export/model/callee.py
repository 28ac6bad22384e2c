"""A model's inputs and outputs: which tensors go in under which names, what comes out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from odelet.artifact.card import RESERVED
from odelet_export.model.random_draws import one_run
from odelet_export.model.trees import Tree, result_leaves
from odelet_intercept.call import Entry
from odelet_intercept.errors import CaptureError
from odelet_intercept.torchdiffeq_calls import find_copies


class Watching(Protocol):
    """What watches a model while it is traced."""

    def running(
        self, inputs: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]
    ) -> AbstractContextManager[None]:
        """Be on for one run of the model; inputs, weights: what the tracer has in their place, by name."""

    def guards(self) -> list[torch.Tensor]:
        """For each assumption that the run made a bool scalar of the trace: whether it holds."""


class _Seen:
    """What a traced run found out. torch.export puts a module's attributes back after tracing, those in
    containers too; it does not look into an object of a class of ours."""

    output_names: list[str]
    copies: tuple[Entry, ...]
    dropped: dict[str, str]
    watch: Watching | None = None


class Callee(nn.Module):
    """The model as a function from a flat row of tensors to a flat tuple of tensors.

    Tensors in dicts, tuples and the like have dotted names. Arguments that are not tensors are kept as they are in the
    example.
    """

    def __init__(self, model: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self._tree = Tree(_names(model, args, kwargs), [*args, *kwargs.values()])
        self._keywords = list(kwargs)
        leaves = self._tree.leaves
        self._slots = [i for i, (_, leaf) in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.names = [leaves[i][0] for i in self._slots]
        self.example: list[torch.Tensor] = [leaves[i][1].detach() for i in self._slots]
        self._seen = _Seen()
        self._seen.copies = find_copies(model)
        clash = sorted({name.split(".")[0] for name in self.names} & set(RESERVED))
        if clash:
            raise CaptureError(f"input name {clash[0]!r} is taken by odelet; rename that argument of the model")

    def take_over(self, other: Callee) -> None:
        """Know what the runs of another callee of the same model found out."""
        self._seen = other._seen

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        watch = self._seen.watch
        if watch is None:
            return self._call(tensors)
        with watch.running(dict(zip(self.names, tensors, strict=True)), dict(self.state())):
            outputs = self._call(tensors)
        return (*outputs, *watch.guards())

    def state(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The weights and buffers, by name."""
        yield from self.named_parameters()
        yield from self.named_buffers()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What a run leaves on the model's modules is put back: attributes, and the values of buffers."""
        modules = [(module, dict(vars(module))) for module in self.modules()]
        tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (table, dict(table)) for module, _ in modules for table in (module._buffers, module._parameters)
        ]
        buffers = [(buffer, buffer.clone()) for buffer in self.buffers()]
        try:
            yield
        finally:
            for module, attributes in modules:
                vars(module).clear()
                vars(module).update(attributes)
            for table, entries in tables:
                table.clear()
                table.update(entries)
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)

    @contextmanager
    def watched(self, watch: Watching) -> Iterator[None]:
        """Trace the model under a watch; what it assumes becomes more outputs."""
        self._seen.watch = watch
        try:
            yield
        finally:
            self._seen.watch = None

    def _call(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        leaves = [leaf for _, leaf in self._tree.leaves]
        for slot, tensor in zip(self._slots, tensors, strict=True):
            leaves[slot] = tensor
        given = self._tree.rebuilt(leaves)
        count = len(given) - len(self._keywords)
        with one_run():
            result = self.model(*given[:count], **dict(zip(self._keywords, given[count:], strict=True)))
        found = result_leaves(result)
        outputs = [(name, leaf) for name, leaf in found if isinstance(leaf, torch.Tensor)]
        self._seen.output_names = [name for name, _ in outputs]
        self._seen.dropped = {name: type(leaf).__name__ for name, leaf in found if not isinstance(leaf, torch.Tensor)}
        if not outputs:
            told = ", ".join(f"{name} is a {kind}" for name, kind in self._seen.dropped.items()) or "nothing came"
            raise CaptureError(f"the model returned a {type(result).__name__} without a tensor in it ({told})")
        return tuple(leaf for _, leaf in outputs)

    @property
    def copies(self) -> tuple[Entry, ...]:
        """The functions of copies of torchdiffeq, which the model may call."""
        return self._seen.copies

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, known once the model has run; ONNX allows no output the name of an input."""
        return [f"{name}_out" if name in self.names else name for name in self._seen.output_names]

    @property
    def warnings(self) -> list[str]:
        """What of the model's result is not in the artifact, known once the model has run."""
        return [
            f"the model's output {name} ({kind}) is left out, as it is not a tensor"
            for name, kind in self._seen.dropped.items()
        ]


def _names(model: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """A name for each argument: its parameter's in the model's signature."""
    function = model.forward if isinstance(model, nn.Module) else model
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise CaptureError(f"the example arguments do not fit {type(model).__name__}: {error}") from None
    except ValueError:  # a builtin without a signature
        return [f"input_{i}" for i in range(len(args))] + list(kwargs)
    names: list[str] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{name}_{i}" for i in range(len(value))]
        elif kind is not inspect.Parameter.VAR_KEYWORD and name not in kwargs:
            names.append(name)
    return names + list(kwargs)
