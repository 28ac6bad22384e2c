"""The models of edebrouwer/gru_ode_bayes, which bring their own copy of an old torchdiffeq."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("edebrouwer/gru_ode_bayes", "gru_ode_bayes/models.py at commit ddd0b34", "gru_ode_bayes")


def _forecast(*, solver: str, **options: Any) -> Trial:
    stub("pandas", "sklearn.metrics", "sklearn.model_selection", "tensorflow", "matplotlib.pyplot", "tqdm")
    from gru_ode_bayes.models import NNFOwithBayesianJumps

    model = NNFOwithBayesianJumps(2, 8, 8, 4, cov_size=1, cov_hidden=4, solver=solver, **options).eval()
    times, pointers, rows = np.array([0.3, 0.7]), np.array([0, 2, 4]), torch.tensor([0, 1, 1, 2])

    def run(X: torch.Tensor, M: torch.Tensor, cov: torch.Tensor) -> Any:
        h, loss, prediction, loss_1 = model(times, pointers, X, M, rows, 0.1, 1.0, cov)
        return h, prediction, loss

    args = (torch.randn(4, 2), (torch.rand(4, 2) < 0.7).float(), torch.randn(3, 1))
    return Trial(Script(run, model), args)


def _vendored() -> None:
    root = next(Path(p) for p in sys.path if (Path(p) / "gru_ode_bayes").is_dir())
    sys.path.insert(0, str(root / "torchdiffeq"))
    for name in [n for n in sys.modules if n.split(".")[0] == "torchdiffeq"]:
        del sys.modules[name]


@SOURCE.case("double_OU with dopri5 of the old torchdiffeq beside it: solves between observations, jumps at them")
def old_torchdiffeq() -> Trial:
    _vendored()
    return _forecast(solver="dopri5", impute=False)


@SOURCE.case("the same with its own Euler steps, without a solver library", forms={"plain": {}})
def own_euler() -> Trial:
    return _forecast(solver="euler", full_gru_ode=True)
