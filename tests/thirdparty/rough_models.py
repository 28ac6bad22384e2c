"""The models of jambo6/neuralRDEs, on random log-signatures."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import torch
from trial import Script, Source, Trial

SOURCE = Source("jambo6/neuralRDEs", "ncdes/ at commit a283d0c", "neuralRDEs")


def _trial(**settings: Any) -> Trial:
    # The package's own __init__ imports a library of signatures, which the models do not need.
    package: Any = types.ModuleType("ncdes")
    package.__path__ = [str(Path(folder) / "ncdes") for folder in sys.path if Path(folder).name == "neuralRDEs"]
    sys.modules["ncdes"] = package
    from ncdes.rdeint import rdeint

    package.rdeint = rdeint
    from ncdes.model import NeuralRDE

    model = NeuralRDE(3, 6, 5, 2, hidden_hidden_dim=8, num_layers=2, **settings).eval()

    def run(initial: torch.Tensor, logsig: torch.Tensor) -> Any:
        return model((initial, logsig))

    batch = {0: "batch"}
    args = (torch.randn(4, 3), torch.randn(4, 7, 6))
    return Trial(Script(run, model), args, {"initial": batch, "logsig": batch})


@SOURCE.case("the log-ODE method: the piece of a log-signature found by bisect, midpoint with unit steps")
def last() -> Trial:
    return _trial()


@SOURCE.case("the state at each piece, rk4")
def sequences() -> Trial:
    return _trial(return_sequences=True, solver="rk4")
