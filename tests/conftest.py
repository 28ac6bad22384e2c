"""Settings and fixtures for all tests."""

import gc
from dataclasses import replace

import pytest

try:
    import torch
except ImportError:  # the runtime is also tested where there is no torch; see tests/runtime/conftest.py
    torch = None


# Full collections look at all that was imported, which is much here, and take a fifth of the time as Python sets them.
gc.set_threshold(700, 10, 200)


@pytest.fixture(autouse=True, scope="module")
def module_seed():
    """Models that a module's fixtures draw are the same in each run, whatever ran before."""
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def test_seed(module_seed):
    """A test draws the same numbers alone, in any order and in any process."""
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture
def captured_once(monkeypatch):
    """All exports of a test, to several forms, use the capture of the first."""
    from odelet_export.capture.cache import capture
    from odelet_export.pipeline import prepare

    first_capture = []

    def once(callee, *args, **options):
        if first_capture:  # the first export has replayed the capture
            monkeypatch.setattr(prepare.CaptureCheck, "check", lambda self, samples: None)
        else:
            first_capture.append((capture(callee, *args, **options), callee))
        captured, traced = first_capture[0]
        callee.take_over(traced)
        return replace(captured, model=captured.model.clone())

    monkeypatch.setattr(prepare, "capture", once)


@pytest.fixture
def short_timings(monkeypatch):
    """Searches of a test time few calls: what they measure is of no interest there."""
    from odelet_export.tuning import measure

    monkeypatch.setattr(measure, "QUICK", (0.0, 2))
    monkeypatch.setattr(measure, "LONG", (0.0, 2))
