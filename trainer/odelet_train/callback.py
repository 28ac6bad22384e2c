"""The callback of Lightning that watches the solves of every training step."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from odelet.errors import InputError
from odelet_train.device import DeviceCost, exported
from odelet_train.watch.settings import Watching
from odelet_train.watch.watched import Watch, watched

_LOG = logging.getLogger("odelet_train")


class SolveCallback(Callback):
    """Logs the calls of the field in each training step, adds regularisers to the loss, and exports at the end.

    For each line of the model that solves, `nfe/<file:line>` is logged with the calls of the field in the step, and
    `nfe_backward/<file:line>` with those for gradients by the adjoint method; for each regulariser, `watched/<name>`.
    With loggers, `device/calls` and `device/ms` are logged after the export, and `cost` holds them.

    kinetic, jacobian, second, steer, adjoint: as for `watched`.
    budget: the most calls of a line in a step. over_budget: "warn", or "stop" to end the training after the step.
    export: the folder to write an artifact to when training ends. inputs: the example to export with, a tuple of
        tensors. settings: further arguments of `odelet_export.export`, such as {"form": "driven",
        "dynamic": {"x": {0: "batch"}}}. module: returns the module to export, of the LightningModule; by default that
        is exported itself.

    Raises InputError for an argument that has no meaning; in training, for a LightningModule that optimises by itself
    while a regulariser has a weight; and what `export` raises, ParityError among it.

    >>> SolveCallback(kinetic=0.05, budget=100).watching.weights
    {'kinetic': 0.05}
    """

    def __init__(
        self,
        *,
        kinetic: float = 0.0,
        jacobian: float = 0.0,
        second: float = 0.0,
        steer: float = 0.0,
        adjoint: bool = False,
        budget: int | None = None,
        over_budget: str = "warn",
        export: str | Path | None = None,
        inputs: tuple[Tensor, ...] | None = None,
        settings: Mapping[str, Any] | None = None,
        module: Callable[[Any], nn.Module] = lambda trained: trained,
    ) -> None:
        self.watching = Watching(kinetic=kinetic, jacobian=jacobian, second=second, steer=steer, adjoint=adjoint)
        if budget is not None and budget < 1:
            raise InputError(f"budget={budget!r} allows no call; pass 1 or more, or None for no limit")
        if over_budget not in ("warn", "stop"):
            raise InputError(f"over_budget={over_budget!r} must be 'warn' or 'stop'")
        if (export is None) != (inputs is None):
            raise InputError("export and inputs go together: pass a folder and an example, a tuple of tensors")
        self.budget, self.over_budget = budget, over_budget
        self.export, self.inputs, self.settings, self.module = export, inputs, dict(settings or {}), module
        self.cost: DeviceCost | None = None
        self._last: Watch | None = None
        self._warned: set[str] = set()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put a watch around the training steps."""
        step = pl_module.training_step
        if self.watching.weights and not pl_module.automatic_optimization:
            raise InputError(
                f"{self.watching.changes[0]}: this LightningModule optimises by itself, so that no loss can be added "
                "to; use `odelet_train.watched` in its training_step"
            )

        @wraps(step)
        def watched_step(*args: Any, **keywords: Any) -> Any:
            with watched(**vars(self.watching)) as solves:
                found = step(*args, **keywords)
            self._last = solves
            self._note(trainer, pl_module, solves)
            return _with_cost(found, solves)

        pl_module.training_step = watched_step  # type: ignore[method-assign]

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Log the calls for gradients, which are known only now."""
        del trainer
        for place, calls in ({} if self._last is None else self._last.backward_calls).items():
            if calls:
                pl_module.log(f"nfe_backward/{place}", float(calls), batch_size=1)
        self._last = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the trained module, and log what a call of the artifact costs."""
        self._release(pl_module)
        if self.export is None or self.inputs is None or not trainer.is_global_zero:
            return
        self.cost = exported(self.module(pl_module), self.inputs, self.export, self.settings)
        _LOG.info("%s", self.cost)
        metrics = {"device/ms": self.cost.milliseconds}
        if self.cost.calls is not None:
            metrics["device/calls"] = float(self.cost.calls)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the watch away, also where training was interrupted."""
        del trainer, stage
        self._release(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the watch away."""
        del trainer, exception
        self._release(pl_module)

    def _release(self, pl_module: LightningModule) -> None:
        vars(pl_module).pop("training_step", None)

    def _note(self, trainer: Trainer, pl_module: LightningModule, solves: Watch) -> None:
        for place, calls in solves.calls.items():
            pl_module.log(f"nfe/{place}", float(calls), prog_bar=True, batch_size=1)
            if self.budget is not None and calls > self.budget and place not in self._warned:
                self._warned.add(place)
                ends = "; training ends after this step" if self.over_budget == "stop" else ""
                warnings.warn(
                    f"{place} makes {calls} calls of its field in a step, above the budget of {self.budget}{ends}; "
                    "raise `kinetic`, or loosen the tolerances of the solve",
                    RuntimeWarning,
                    stacklevel=2,
                )
                trainer.should_stop |= self.over_budget == "stop"
        for kind, value in solves.integrals.items():
            pl_module.log(f"watched/{kind}", value, batch_size=1)


def _with_cost(found: Any, solves: Watch) -> Any:
    """What a training step returned, with the cost in its loss."""
    if not solves.sums or found is None:
        return found
    if isinstance(found, Mapping):
        return {**found, "loss": found["loss"] + solves.cost}
    return found + solves.cost
