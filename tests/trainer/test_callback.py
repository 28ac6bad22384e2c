"""The callback logs what the solves of each step cost, keeps to a budget, and exports what was trained."""

import warnings

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchdiffeq import odeint

import odelet
from odelet_export import CaptureError, ParityError
from odelet_train import SolveCallback, watched

BATCH = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(8, 2)
LINE = "test_callback.py:{}"


class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()

    def forward(self, x):
        def field(t, y):
            return self.net(y)

        return odeint(field, x, torch.tensor([0.0, 1.0]), rtol=1e-7, atol=1e-7, method="dopri5")[-1]


SOLVED = LINE.format(Flow.forward.__code__.co_firstlineno + 4)


class Module(lightning.LightningModule):
    """Fits a flow to the targets 1 - x. returns: the loss, or a dict with it, or nothing."""

    def __init__(self, *, rate=0.0, returns="loss"):
        super().__init__()
        torch.manual_seed(0)
        self.flow, self.rate, self.returns = Flow(), rate, returns
        self.automatic_optimization = returns != "nothing"

    def training_step(self, batch, _index):
        loss = (self.flow(batch[0]) - 1 + batch[0]).square().mean()
        if self.returns == "nothing":
            self.optimizers().step()
            return None
        return {"loss": loss} if self.returns == "dict" else loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate)


def fitted(module, callback, folder, *, steps=1, logger=False):
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[callback],
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        log_every_n_steps=1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*GPU available.*")
        trainer.fit(module, DataLoader(TensorDataset(BATCH), batch_size=8))
    return trainer


class Kept(lightning.pytorch.loggers.logger.DummyLogger):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.metrics = {}

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics


def test_logged_calls_are_those_of_the_artifact(tmp_path):
    out, logger = tmp_path / "artifact", Kept()
    settings = {"form": "driven", "dynamic": {"x": {0: "batch"}}, "samples": 1}
    callback = SolveCallback(export=out, inputs=(BATCH,), settings=settings, module=lambda module: module.flow)
    module = Module()
    trainer = fitted(module, callback, tmp_path, logger=logger)
    calls = int(trainer.logged_metrics[f"nfe/{SOLVED}"])
    assert calls == odelet.load(out).solve(BATCH.numpy()).stats.evaluations == callback.cost.calls > 10
    assert logger.metrics["device/calls"] == calls and 0 < logger.metrics["device/ms"] == callback.cost.milliseconds
    assert str(callback.cost).endswith("ms") and callback.cost.rows == 8
    assert "training_step" not in vars(module) and module.training


@pytest.mark.parametrize("returns", ["loss", "dict"])
def test_a_regulariser_is_added_to_the_loss(returns, tmp_path):
    module, alone = Module(rate=0.5, returns=returns), Module(rate=0.5)
    with watched(kinetic=0.3) as solves:
        loss = alone.training_step((BATCH,), 0)
    (loss + solves.cost).backward()
    trainer = fitted(module, SolveCallback(kinetic=0.3), tmp_path)
    for found, p in zip(module.flow.parameters(), alone.flow.parameters(), strict=True):
        assert torch.equal(found, p.detach() - 0.5 * p.grad)
    assert trainer.logged_metrics["watched/kinetic"] == pytest.approx(float(solves.integrals["kinetic"]), rel=1e-6)


def test_a_callback_without_weights_changes_nothing(tmp_path):
    plain, watching = Module(rate=0.5), Module(rate=0.5)
    fitted(plain, lightning.pytorch.callbacks.Callback(), tmp_path, steps=3)
    fitted(watching, SolveCallback(), tmp_path, steps=3)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watching.parameters(), strict=True))


def test_calls_for_gradients_are_logged_beside(tmp_path):
    trainer = fitted(Module(), SolveCallback(adjoint=True), tmp_path)
    assert trainer.logged_metrics[f"nfe_backward/{SOLVED}"] > 10


def test_a_budget_warns_once_or_stops(tmp_path):
    reason = rf"^{SOLVED} makes \d+ calls of its field in a step, above the budget of 5"
    with pytest.warns(RuntimeWarning, match=reason) as seen:
        trainer = fitted(Module(), SolveCallback(budget=5), tmp_path, steps=3)
    assert trainer.global_step == 3 and len(seen) == 1
    with pytest.warns(RuntimeWarning, match=reason + "; training ends after this step; raise `kinetic`"):
        trainer = fitted(Module(), SolveCallback(budget=5, over_budget="stop"), tmp_path, steps=3)
    assert trainer.global_step == 1
    assert fitted(Module(), SolveCallback(budget=500), tmp_path, steps=2).global_step == 2


def test_a_module_that_optimises_by_itself_is_counted_and_not_regularised(tmp_path):
    trainer = fitted(Module(returns="nothing"), SolveCallback(), tmp_path)
    assert trainer.logged_metrics[f"nfe/{SOLVED}"] > 10
    with pytest.raises(ValueError, match="kinetic=0.1: this LightningModule optimises by itself"):
        fitted(Module(returns="nothing"), SolveCallback(kinetic=0.1), tmp_path)


def test_an_interrupted_training_takes_the_watch_away(tmp_path, monkeypatch):
    module = Module()

    def broken(*_):
        raise RuntimeError("power cut")

    monkeypatch.setattr(module.flow, "forward", broken)
    with pytest.raises(RuntimeError, match="power cut"):
        fitted(module, SolveCallback(kinetic=0.1, export=tmp_path / "x", inputs=(BATCH,)), tmp_path)
    assert "training_step" not in vars(module) and not (tmp_path / "x").exists()


def test_an_export_that_fails_is_an_error_of_the_training(tmp_path):
    class Opaque(nn.Module):
        def forward(self, x):
            return torch.from_numpy(x.numpy() + 1)

    callback = SolveCallback(export=tmp_path / "x", inputs=(BATCH,), module=lambda module: Opaque())
    with pytest.raises((CaptureError, ParityError)):
        fitted(Module(), callback, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"budget": 0}, "budget=0 allows no call"),
        ({"over_budget": "halt"}, "over_budget='halt' must be 'warn' or 'stop'"),
        ({"export": "x"}, "export and inputs go together"),
        ({"inputs": (BATCH,)}, "export and inputs go together"),
        ({"kinetic": -1.0}, "kinetic=-1.0 must be a number"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        SolveCallback(**arguments)
