"""GOKU-nets and latent ODEs of orilinial/GOKU: known equations whose parameters an encoder finds."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from trial import Source, Trial, stub

SOURCE = Source("orilinial/GOKU", "models/, utils/ at commit 538c3c4", "GOKU")


def _run(module: str, make: str, size: tuple[int, ...], *, batch: bool = False, **options: Any) -> Trial:
    stub("matplotlib.pyplot", "pandas", "tqdm", "sklearn")
    model = getattr(importlib.import_module(f"models.{module}"), make)(**options).eval()
    example = torch.rand(3, 6, *size), torch.linspace(0, 0.3, 6)
    return Trial(model, example, {"mini_batch": {0: "batch"}} if batch else None)


@SOURCE.case("latent ODE: a batch of 3, whose series are reversed in a loop, z0 drawn")
def latent() -> Trial:
    return _run("Latent_ODE", "create_latent_ode_lv", (4,))


@SOURCE.case("latent ODE: any number of series, over which its code loops in Python")
def latent_batch() -> Trial:
    return _run("Latent_ODE", "create_latent_ode_lv", (4,), batch=True)


@SOURCE.case("GOKU-net: a pendulum, its equations written in place, a batch of 3 films")
def pendulum() -> Trial:
    return _run("GOKU", "create_goku_pendulum", (8, 8), input_dim=[8, 8])


@SOURCE.case("GOKU-net: the circulation of the blood")
def circulation() -> Trial:
    return _run("GOKU", "create_goku_cvs", (3,))
