"""Exports a trained network, with parity, and measures what a call of the artifact costs on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from odelet.errors import InputError
from odelet_train.uses import arrays


@dataclass(frozen=True)
class DeviceCost:
    """What a call of an artifact costs. path: its folder. calls: evaluations of its fields in a call on the example;
    None where a solve in a graph does not say. milliseconds: the median wall time of such a call, by ONNX Runtime on
    this machine. rows: samples in the example."""

    path: Path
    calls: int | None
    milliseconds: float
    rows: int

    def __str__(self) -> str:
        calls = "some" if self.calls is None else self.calls
        return f"{self.path}: a call with {self.rows} samples makes {calls} evaluations in {self.milliseconds:.3g} ms"


def exported(
    network: nn.Module, inputs: tuple[Tensor, ...], out: str | Path, settings: Mapping[str, Any]
) -> DeviceCost:
    """Export a network in eval mode, and measure the artifact on the same inputs. The mode is put back.

    settings: arguments of `odelet_export.export` by name, such as `form` and `dynamic`. Raises what `export` raises.
    """
    import odelet
    from odelet.commands.latency import interleaved
    from odelet_export import export

    modes = [(module, module.training) for module in network.modules()]
    try:
        export(network.eval(), inputs, out, **settings)
    finally:
        for module, training in modes:
            module.training = training
    model = odelet.load(out)
    values = arrays(inputs)
    calls = model.solve(*values).stats.evaluations
    latency = interleaved({"call": lambda: model(*values)}, seconds=0.5)["call"]
    rows = len(inputs[0]) if inputs and inputs[0].ndim else 1
    return DeviceCost(Path(out), calls, 1e3 * latency.median, rows)


def read_settings(text: str) -> dict[str, Any]:
    """The settings of an export in a text such as "form=driven rtol=1e-5".

    Raises InputError for text of another shape, and for a name that is no setting of an export.
    """
    from odelet_export.pipeline.settings import ExportChanges

    settings: dict[str, Any] = {}
    for pair in text.replace(",", " ").split():
        name, mark, value = pair.partition("=")
        name = name.replace("-", "_")
        if not mark or name not in ExportChanges.__annotations__:
            raise InputError(
                f"--export {text!r}: {pair!r} is no setting of an export; write NAME=VALUE, as in "
                "'form=driven rtol=1e-5'"
            )
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = {"True": True, "False": False, "None": None}.get(value, value)
    return settings
