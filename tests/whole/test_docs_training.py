"""The examples in docs/training.md run, and do what the page says."""

import re
import warnings

import torch
from support.paths import ROOT

import odelet


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "training.md").read_text()
    scope: dict = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*GPU available.*")
        warnings.filterwarnings("ignore", message=".*The number of training batches.*")
        for code in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S):
            exec(code, scope)
    assert list(scope["solves"].integrals) == ["kinetic"] and sum(scope["solves"].calls.values()) > 10
    assert scope["callback"].cost.calls > 10
    model, x = odelet.load("out/rings"), scope["x"]
    expected = scope["callback"].module(scope["trainer"].lightning_module)(x)
    torch.testing.assert_close(torch.from_numpy(model(x.numpy())), expected.detach(), rtol=1e-3, atol=1e-4)
