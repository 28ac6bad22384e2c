"""The export command, run in the process of the tests, and a file of models for it."""

import io
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import EntryPoint

import pytest

from odelet import cli

# Models for a file: each fails or succeeds in its own way.
MODEL = """
import torch
from torch import nn
from torchdiffeq import odeint

class Flow(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.field = nn.Linear(width, width)

    def forward(self, x, t, scale=1.0):
        return odeint(lambda t, y: torch.tanh(self.field(y)), x * scale, t, rtol=1e-4, atol=1e-5)

class Scaled(Flow):
    factor = 1.5

    def forward(self, x):
        factor = self.factor
        t = torch.tensor([0.0, 1.0])
        return odeint(lambda t, y: factor * self.field(y), x, t, method="euler", options={"step_size": 0.5})

class Sly(Scaled):
    factor = property(lambda self: 1.5 if torch.compiler.is_exporting() else 1.0)

class Branching(Flow):
    def forward(self, x):
        x = x if x.sum() > 0 else -x
        return odeint(lambda t, y: -y, x, torch.tensor([0.0, 1.0]))

class Counting(Flow):
    def forward(self, x):
        return odeint(lambda t, y: -y, x * int(x.sum()), torch.tensor([0.0, 1.0]))

def build():
    print("built")
    torch.manual_seed(0)
    return Flow()
"""


def run(*args):
    """Return (exit code, stdout, stderr) of `odelet export ARGS`.

    The command is registered by hand, so that no installed entry point is needed. Output is captured without a fixture
    of pytest's, so that fixtures of any scope may call this.
    """
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        command = EntryPoint("export", "odelet_export.commands.export_cli:export_command", cli.GROUP)
        patch.setattr(cli, "entry_points", lambda group: [command])
        patch.setattr(cli.app, "registered_commands", list(cli.app.registered_commands))
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exited:
            cli.main(["export", *map(str, args)])
    return exited.value.code, out.getvalue(), err.getvalue()
