"""How many threads work inside one operator, by the work that the card says an operator has for the sizes of a call.

The law here: the rule is `threads_for` of the engine; nothing is timed, and nothing is kept beyond the process.
"""

from __future__ import annotations

from collections.abc import Mapping

from odelet.artifact.work_card import work_of
from odelet.engine.opening import Artifact
from odelet.engine.session import threads_for
from odelet.model.call_result import CallResult
from odelet.model.observed import NOTHING, Observed
from odelet.model.reopening import ReopeningRunner
from odelet.model.runner import Runner
from odelet.model.settings import CallSettings
from odelet.numerics.backend import NumpyArray


class WorkRunner(ReopeningRunner):
    """The program of an artifact whose sizes vary: on one thread, and on more for calls with large operators."""

    def __init__(self, artifact: Artifact, *, device: str, interruptible: bool = False) -> None:
        super().__init__(artifact, device=device, interruptible=interruptible)
        used = {axis for product in self.card.products for axis in product.axes}
        self._places = {
            size: (tensor.name, axis)
            for tensor in self.card.inputs
            for axis, size in enumerate(tensor.shape)
            if isinstance(size, str) and size in used
        }

    def run_bound(
        self, values: dict[str, NumpyArray], settings: CallSettings, *, observed: Observed = NOTHING
    ) -> CallResult:
        """Run the program on as many threads as the rule says for inputs of these sizes."""
        runner = self.on(self._threads(values))
        self.threads = runner.artifact.threads
        return Runner.run_bound(runner, values, settings, observed=observed)

    def artifact_for(self, values: Mapping[str, NumpyArray]) -> Artifact:
        """The artifact as it is open for inputs of these sizes."""
        return self.on(self._threads(values)).artifact

    def _threads(self, values: Mapping[str, NumpyArray]) -> int:
        sizes = {size: values[name].shape[axis] for size, (name, axis) in self._places.items()}
        return threads_for(work_of(self.card.products, sizes))
