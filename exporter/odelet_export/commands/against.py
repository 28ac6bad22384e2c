"""The torch model that `odelet bench --against` times beside an artifact. The law here: it gets the artifact's inputs,
and records no gradients."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from odelet.errors import InputError
from odelet_export.commands.arguments import read_target
from odelet_export.commands.target import loaded
from odelet_export.model.call_arguments import call_arguments, check_runs
from odelet_export.model.trees import map_tensors, result_leaves

Outputs = dict[str, np.ndarray]


@contextmanager
def torch_model(
    target: str,
    weights: Path | None,
    values: Mapping[str, np.ndarray | int],
    *,
    device: str,
    threads: int,
) -> Iterator[Callable[[], Outputs]]:
    """Load a model as `odelet export` does; yields a function that calls the model on these inputs.

    values: arrays and whole numbers by input name; base draws among them are left out, as the torch model draws its
    own. An array of shape () is a number where the model's signature says so. The function returns the outputs by name.
    Raises InputError for a target, weights or a device that cannot be used, and for a
    model that fails on these inputs.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda': this torch finds no GPU; use the device 'cpu', or leave --against out")
    place = read_target(target)
    before = torch.get_num_threads()
    # Text that the model's code prints must not mix with the result on stdout.
    with redirect_stdout(sys.stderr), loaded(place, weights=weights) as model:
        args, kwargs = call_arguments(model, _with_floats(model, values))
        check_runs(model, args, kwargs)
        model.eval().to(device)
        torch.set_num_threads(threads)
        try:
            yield lambda: _call(model, *_moved((args, kwargs), device))
        finally:
            torch.set_num_threads(before)


def _with_floats(model: torch.nn.Module, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with Python numbers for the parameters that are annotated as float, or whose default is one."""
    parameters = inspect.signature(model.forward).parameters
    floats = [name for name, p in parameters.items() if p.annotation in (float, "float") or type(p.default) is float]
    return {name: x.item() if name in floats and np.ndim(x) == 0 else x for name, x in values.items()}


def _moved(arguments: Any, device: str) -> Any:
    """Copies of the tensors among the arguments, on a device; a model may write into its inputs."""
    return map_tensors(lambda x: x.to(device, copy=True), arguments)


def _call(model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outputs:
    with torch.no_grad():
        leaves = result_leaves(model(*args, **kwargs))
    return {name: leaf.cpu().numpy() for name, leaf in leaves if isinstance(leaf, torch.Tensor)}
