"""A model as a function from a flat row of tensors to a flat row of tensors, each with a name.

Tracing, the reference and the proof all call the model as a `Callee`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
import torch._dynamo.config
from torch import nn

from odelet.artifact.call_card import CallCard, FixedCard
from odelet.artifact.solve_card import TAKEN
from odelet_export.model.kept_state import restoring
from odelet_export.model.number_inputs import (
    GivenDynamic,
    as_argument,
    as_input,
    check_numbers,
    declared_numbers,
    is_number,
)
from odelet_export.model.random_draws import one_run
from odelet_export.model.results import Results, is_fixed, renamed, traced_results
from odelet_export.model.trees import Leaf, Tree, result_leaves
from odelet_intercept.call import Entry
from odelet_intercept.errors import CaptureError
from odelet_intercept.libraries.torchdiffeq_calls import find_copies
from odelet_intercept.user_code import Place


class Watching(Protocol):
    """A watch over a model's decisions while the model is traced."""

    def running(
        self, inputs: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]
    ) -> AbstractContextManager[None]:
        """A context that watches one run of the model. inputs, weights: the tracer's tensors for them, by name."""

    def guards(self) -> list[torch.Tensor]:
        """A bool scalar of the trace for each assumption that the run made: whether it holds."""


class _RunRecord:
    """The record of a run of the model.

    It is an object of its own because torch.export puts a module's attributes back after tracing, also attributes in
    containers, but does not look into objects of other classes.
    """

    copies: tuple[Entry, ...]
    results: Results | None = None  # of the last trace
    leaves: Sequence[Leaf] = ()  # of the last run in plain torch
    first_runs: Sequence[Sequence[Leaf]] = ()  # of the runs on the example before any trace
    watch: Watching | None = None
    grad_mode: bool | None = None
    with_memory: frozenset[Place] = frozenset()


class Callee(nn.Module):
    """The model as a function from a flat row of tensors to a flat tuple of tensors.

    model: a module or a function. args, kwargs: the example, in nested containers. Tensors inside containers have
    dotted names. Arguments that are not tensors stay as they are in the example, besides the numbers that `dynamic`
    gives a label, which are inputs too. Raises CaptureError where the example does not fit the model's signature, where
    a name is reserved, and where a label is given to what is no number.

    arguments: the names of the arguments, in order. names: the names of the input tensors, in order. example: the
    values of these tensors in the example.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        dynamic: GivenDynamic | None = None,
    ) -> None:
        super().__init__()
        self.model = model = uncompiled(model)
        self.arguments = _names(model, args, kwargs)
        self._tree = Tree(self.arguments, [*args, *kwargs.values()])
        self._keywords = list(kwargs)
        leaves = self._tree.leaves
        check_numbers(dynamic, leaves)
        numbers = declared_numbers(dynamic)
        self._slots = [
            i
            for i, (name, leaf) in enumerate(leaves)
            if isinstance(leaf, torch.Tensor) or (name in numbers and is_number(leaf))
        ]
        self.names = [leaves[i][0] for i in self._slots]
        self.example: list[torch.Tensor] = [as_input(leaves[i][1]) for i in self._slots]
        self._record = _RunRecord()
        self._record.copies = find_copies(model)
        clash = sorted({name.split(".")[0] for name in self.names} & set(TAKEN))
        if clash:
            raise CaptureError(f"input name {clash[0]!r} is taken by odelet; rename that argument of the model")

    @property
    def whole_numbers(self) -> list[str]:
        """The names of the inputs that are whole numbers for the model, not tensors."""
        leaves = self._tree.leaves
        return [name for name, leaf in (leaves[i] for i in self._slots) if isinstance(leaf, int)]

    def take_over(self, other: Callee) -> None:
        """Use the record of another callee of the same model, which has run."""
        self._record = other._record

    @property
    def grad_mode(self) -> bool:
        """Whether the model runs with gradients; as where it is called, until a first run has found out."""
        mode = self._record.grad_mode
        return torch.is_grad_enabled() if mode is None else mode

    @grad_mode.setter
    def grad_mode(self, mode: bool) -> None:
        self._record.grad_mode = mode

    @property
    def with_memory(self) -> frozenset[Place]:
        """The lines that solve with a field that keeps something from one call to the next, known after a first run."""
        return self._record.with_memory

    @with_memory.setter
    def with_memory(self, places: frozenset[Place]) -> None:
        self._record.with_memory = places

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output tensors, and under a watch the guards of its assumptions after them."""
        record = self._record
        if record.watch is None:
            # A compiled part of the model runs as it is written: the compiler would take its time at each new size.
            with torch.set_grad_enabled(self.grad_mode), torch.compiler.set_stance("force_eager"):
                leaves = result_leaves(self._call(tensors))
            # A tensor with a history could not be copied with the model.
            record.leaves = [(name, x.detach() if isinstance(x, torch.Tensor) else x) for name, x in leaves]
            return tuple(self.outputs_of(leaves))
        watched = record.watch.running(dict(zip(self.names, tensors, strict=True)), dict(self.state()))
        with watched, torch._dynamo.config.patch(error_on_nested_fx_trace=False):  # a compiled part runs as written
            record.results, outputs = traced_results(self._call(tensors), record.first_runs)
        return (*outputs, *record.watch.guards())

    @property
    def leaves(self) -> Sequence[Leaf]:
        """The leaves of the result of the last run in plain torch."""
        return self._record.leaves

    def outputs_of(self, leaves: Sequence[Leaf]) -> list[torch.Tensor]:
        """The outputs among the leaves of a result: those of the last trace; the tensors, if there was none."""
        if self._record.results is None:
            return [leaf for _, leaf in leaves if isinstance(leaf, torch.Tensor)]
        return self._record.results.of_run(leaves)

    def remember(self, runs: Sequence[Sequence[Leaf]]) -> None:
        """Keep the results of the first runs, with which a trace compares the numbers in its result."""
        self._record.first_runs = runs

    def changed(self) -> list[str]:
        """Sentences about numbers in the last result that are another in the artifact."""
        return [] if self._record.results is None else self._record.results.changed(self._record.leaves)

    def state(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The weights and buffers, by name."""
        yield from self.named_parameters()
        yield from self.named_buffers()

    def restoring(self) -> AbstractContextManager[None]:
        """A context that puts back, on leaving, what runs of the model change on its objects."""
        return restoring(self)

    @contextmanager
    def watched(self, watch: Watching) -> Iterator[None]:
        """Let a watch follow the runs of the model; the guards of its assumptions become further outputs."""
        self._record.watch = watch
        try:
            yield
        finally:
            self._record.watch = None

    def _call(self, tensors: Sequence[torch.Tensor]) -> Any:
        """The model's own result."""
        leaves = [leaf for _, leaf in self._tree.leaves]
        for slot, tensor in zip(self._slots, tensors, strict=True):
            leaves[slot] = tensor if isinstance(leaves[slot], torch.Tensor) else as_argument(tensor)
        arguments = self._tree.rebuilt(leaves)
        count = len(arguments) - len(self._keywords)
        with one_run():
            return self.model(*arguments[:count], **dict(zip(self._keywords, arguments[count:], strict=True)))

    @property
    def copies(self) -> tuple[Entry, ...]:
        """The functions of copies of torchdiffeq, which the model may call."""
        return self._record.copies

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, known once the model was traced."""
        return [self._output_name(name) for name in self.results.outputs]

    def _output_name(self, name: str) -> str:
        return f"{name}_out" if name in self.names else name  # ONNX allows no output the name of an input

    @property
    def results(self) -> Results:
        """What became of the model's result in the last trace."""
        assert self._record.results is not None, "the model was not traced"
        return self._record.results

    @property
    def warnings(self) -> list[str]:
        """A warning for each part of the model's result that the artifact leaves out."""
        return self.results.warnings

    def card(self) -> CallCard:
        """The arguments that are no inputs and the structure of the result, as the card has them."""
        return CallCard(
            arguments=tuple(self.arguments),
            fixed=tuple(
                FixedCard(name=name, value=leaf)
                if is_fixed(leaf)
                else FixedCard(name=name, described=type(leaf).__name__)
                for name, leaf in self._tree.leaves
                if name not in self.names
            ),
            result=renamed(self.results.structure, self._output_name),
        )


def uncompiled(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model behind what torch.compile returns for it; any other model is itself."""
    for attribute in ("_orig_mod", "_torchdynamo_orig_callable"):
        if attribute in getattr(model, "_modules", {}) or attribute in getattr(model, "__dict__", {}):
            original: Callable[..., Any] = getattr(model, attribute)
            return uncompiled(original)
    return model


def _names(model: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
    """A name for each argument: the name of its parameter in the model's signature.

    Arguments of `*args` are numbered, and those of a builtin without a signature are `input_0`, `input_1`, ...
    Raises CaptureError for arguments that do not fit the signature.
    """
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
