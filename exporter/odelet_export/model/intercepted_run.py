"""The run of the torch model in which a handler answers its calls of solver libraries: it is set up here alone.

Code that needs the model's answers, calls or solutions in plain torch passes a handler to `run_intercepted`. Contexts
that only some runs need (random numbers from a source, no gradients, attributes put back) are entered around the call.
A trace has a setup of its own, in capture/capture.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from odelet_export.model.callee import Callee
from odelet_intercept.installed import lacking
from odelet_intercept.intercept import Handler, intercepted


def run_intercepted(
    callee: Callee, tensors: Sequence[torch.Tensor], handler: Handler, *, silent: bool = True
) -> tuple[torch.Tensor, ...]:
    """Run a model on some inputs, with `handler` for each of its solves, and return its outputs.

    tensors: one for each name of `callee.names`; the model gets copies, as it may write into its inputs or mark them as
    needing gradients. handler: is given each call, also of a copy of torchdiffeq, and the solver that the call would
    have reached. silent: whether warnings are swallowed. Raises what the model, the handler or a solver raises.
    """
    copies = [tensor.clone() for tensor in tensors]
    with torchdiffeq_solving(silent=silent), intercepted(handler, copies=callee.copies):
        outputs: tuple[torch.Tensor, ...] = callee(*copies)
    return outputs


@contextmanager
def torchdiffeq_solving(*, silent: bool = True) -> Iterator[None]:
    """Let torchdiffeq solve with every method that odelet has, those included that the installed version lacks.

    silent: whether warnings are swallowed. They concern the model's author, who gets them where the model is used.
    """
    with lacking(), warnings.catch_warnings():
        if silent:
            warnings.simplefilter("ignore")
        yield
