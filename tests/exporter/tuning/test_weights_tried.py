"""Tuning with weights in fewer bits among the candidates."""

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint

from odelet.artifact.weights import FLOAT16, INT8, STORED
from odelet_export import tune
from odelet_export.errors import FormError
from odelet_export.pipeline.settings import ExportSettings
from odelet_export.tuning.candidates import Solves, candidates, check_rosters
from odelet_export.tuning.settings import Tried


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.field = nn.Sequential(nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 40))

    def forward(self, x):
        return odeint(
            lambda t, y: self.field(y), x, torch.tensor([0.0, 1.0]), method="rk4", options={"step_size": 0.25}
        )[-1]


@pytest.mark.parametrize("kind", STORED)
def test_each_candidate_is_tried_with_the_stored_weights_too(kind):
    plain = candidates(Solves(("dopri5",), 1), Tried(), target=1e-2)
    both = candidates(Solves(("dopri5",), 1), Tried(weights=[kind]), target=1e-2)
    assert both[: len(plain)] == plain and len(both) == 2 * len(plain)
    for one in both[len(plain) :]:
        settings = ExportSettings.of(**one.options)
        assert (settings.storage.weights, settings.storage.max_error) == (kind, 1e-2)
        assert one.flags[-4:] == ["--weights-as", kind, "--max-error", "0.01"] and kind in str(one)


def test_an_unknown_way_is_refused():
    with pytest.raises(FormError, match="--weights-as 'int3' is not one of float16"):
        check_rosters(Tried(weights=["int3"]))


def test_a_tuning_measures_them(short_timings, tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 40)).astype(np.float32)
    asked = {"methods": ["rk4"], "forms": ["rolled"], "steps": [4], "weights": [FLOAT16, INT8], "no_native": True}
    tuning = tune(Wide(), {"x": x}, tmp_path / "tune", target=2e-3, **asked)
    rows = {(row.candidate.weights, row.candidate.steps): row for row in tuning.rows}
    exact, half = rows[None, 4], rows[FLOAT16, 4]
    assert half.bytes < exact.bytes and exact.error < half.error < 2e-3
    assert rows[INT8, 4].bytes < half.bytes and half.error < rows[INT8, 4].error
