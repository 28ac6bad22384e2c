"""Loads trained weights from a file into a model. The law here: names must match exactly; no code of a file runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from odelet.errors import InputError

_SHOWN = 3


def load_weights(model: nn.Module, file: Path) -> None:
    """Load a .safetensors, .pt or .pth file into a model, on the CPU.

    A .pt or .pth file holds a state_dict, or a dict with a state_dict under "state_dict". Raises InputError for a file
    that cannot be read, and for weights that are missing, left over, or of another shape; the model may then hold some
    of the weights.
    """
    if not file.is_file():
        raise InputError(f"--weights {file}: there is no such file")
    in_file = _read(file)
    in_model = model.state_dict()
    _check_shapes(file, in_file, in_model)
    try:
        result = model.load_state_dict(in_file, strict=False)
    except RuntimeError as error:
        raise InputError(f"--weights {file} does not fit {type(model).__name__}: {error}") from None
    # A file may hold tied weights once, under one of their names.
    filled = {tensor.data_ptr() for name, tensor in in_model.items() if name in in_file}
    missing = [name for name in result.missing_keys if name not in in_model or in_model[name].data_ptr() not in filled]
    problems = []
    if missing:
        problems.append(f"it lacks {_some(missing)}")
    if result.unexpected_keys:
        problems.append(f"the model has no {_some(result.unexpected_keys)}")
    if problems:
        raise InputError(f"--weights {file} does not fit {type(model).__name__}: {'; '.join(problems)}")


def _read(file: Path) -> dict[str, torch.Tensor]:
    """The weights of a file, by name. Raises InputError for a file that holds anything else."""
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise InputError(f"--weights {file}: it is not a readable .safetensors file ({error})") from None
    if file.suffix not in (".pt", ".pth"):
        raise InputError(f"--weights {file}: its ending must be .safetensors, .pt or .pth")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        if "Unsupported global" in str(error):
            raise InputError(
                f"--weights {file}: it holds more than tensors, and loading that could run code from the file; "
                "save model.state_dict() alone"
            ) from None
        if isinstance(error, UnpicklingError):
            raise InputError(f"--weights {file}: it is not a file that torch.save wrote") from None
        raise InputError(f"--weights {file}: it cannot be read ({str(error).splitlines()[0]})") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        wrong = type(content).__name__
        if isinstance(content, Mapping):
            wrong = "dict of " + next(type(v).__name__ for v in content.values() if not isinstance(v, torch.Tensor))
        raise InputError(f"--weights {file}: it holds a {wrong}; save model.state_dict()")
    return dict(content)


def _check_shapes(file: Path, in_file: Mapping[str, torch.Tensor], in_model: Mapping[str, Any]) -> None:
    wrong = [
        f"{name} is {list(tensor.shape)} there and {list(in_model[name].shape)} in the model"
        for name, tensor in in_file.items()
        if isinstance(in_model.get(name), torch.Tensor) and in_model[name].shape != tensor.shape
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InputError(f"--weights {file} does not fit: {'; '.join(wrong[:_SHOWN])}{more}")


def _some(names: Sequence[str]) -> str:
    """The first few names, and the number of further names, as text."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
