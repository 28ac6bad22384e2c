"""The spiking neuron of smestern/AdEx-Neural-ODE."""

from __future__ import annotations

from typing import Any

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("smestern/AdEx-Neural-ODE", "adex_nODE.py at commit 35e1bd9", "AdEx-Neural-ODE")


def _neuron(**options: Any) -> Any:
    stub("matplotlib.pyplot", "pyabf")
    from adex_nODE import AdEx

    neuron = AdEx(**options)
    neuron.t, neuron.I_ext = neuron.t[:200], neuron.I_ext * 0 + 2e-10
    return neuron


@SOURCE.case("AdEx: resets in the field, a current at int(t // step), 200 Euler steps")
def reset() -> Trial:
    neuron = _neuron()
    return Trial(Script(neuron.simulate, neuron), ())


@SOURCE.case("AdEx, event driven: to the next spike and over its reset")
def spike() -> Trial:
    neuron = _neuron(event_driven=True)
    from torchdiffeq import odeint_event

    def to_spike(v: torch.Tensor, w: torch.Tensor) -> Any:
        options = {"step_size": neuron.step_size}
        time, (v, w) = odeint_event(
            neuron, (v, w), neuron.t0, event_fn=neuron.event_fn, odeint_interface=neuron.odeint, method="euler",
            options=options,
        )  # fmt: skip
        return time, neuron.state_update((v[-1], w[-1]))

    return Trial(Script(to_spike, neuron), (torch.tensor([-0.05]), torch.tensor([0.0])))
