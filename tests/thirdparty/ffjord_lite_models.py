"""Trials of jackgoffinet/ffjord-lite: a script with a continuous normalizing flow, tolerances as lists."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial

SOURCE = Source("jackgoffinet/ffjord-lite", "script.py at commit 8a83588", "ffjord-lite")


def _model() -> torch.nn.Module:
    from script import FfjordModel

    return FfjordModel().eval()


@SOURCE.case("the log-density: exact trace by autograd, tolerances as lists, requires_grad_ on the time")
def density() -> Trial:
    from script import standard_normal_logprob

    model = _model()

    def run(x):
        z, delta = model(x, reverse=True)
        return standard_normal_logprob(z) - delta

    return Trial(Script(run, model), (torch.randn(4, 2),), {"x": {0: "batch"}})


@SOURCE.case("samples along given times")
def trajectory() -> Trial:
    model = _model()

    def run(z, t):
        return model(z, integration_times=t)

    return Trial(
        Script(run, model), (torch.randn(4, 2), torch.linspace(0, 1, 5)), {"z": {0: "batch"}, "t": {0: "times"}}
    )
