"""How many threads work inside one operator, found by timed calls.

The law here: a number of threads is chosen for the sizes of the inputs, and by time alone; it moves an answer by
rounding at most. A choice is kept in the cache of this user, and a choice that is lost is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import truediv
from statistics import median
from time import perf_counter

import onnxruntime as ort

from odelet.artifact.card import Card
from odelet.artifact.decode import Json
from odelet.engine.opening import Artifact
from odelet.engine.session import MOST_OF_ALL
from odelet.engine.user_cache import cores, processor, remember, remembered
from odelet.model.call_result import CallResult
from odelet.model.observed import NOTHING, Observed
from odelet.model.reopening import ReopeningRunner
from odelet.model.runner import Runner
from odelet.model.settings import CallSettings
from odelet.numerics.backend import NumpyArray

# The folder of the cache.
KIND = "threads"
# More threads than needed take the time of other work: the smallest number is chosen that is so near to the fastest.
NEAR = 1.05
# Each number of threads is timed so often after a first call, but no turn begins after so many seconds.
_TURNS, _SECONDS = 5, 2.0


def counts() -> tuple[int, ...]:
    """The numbers of threads that are tried: 1, 2, 4, ... and the number of cores of this process."""
    most = min(cores(), MOST_OF_ALL)
    return (*(2**power for power in range((most - 1).bit_length())), most)


class Sizes:
    """The sizes of a call that decide how much work an operator has."""

    def __init__(self, card: Card, times: tuple[str, ...]) -> None:
        """times: the inputs that hold output times; how many there are is no matter for an operator."""
        noise = {noise.name for noise in card.noise}
        self._places: dict[str, tuple[str, int | None]] = {}
        for tensor in card.inputs:
            if tensor.size:
                self._places.setdefault(tensor.size, (tensor.name, None))
            if tensor.name in noise or tensor.name in times:
                continue
            for axis, size in enumerate(tensor.shape):
                if isinstance(size, str):
                    self._places[size] = (tensor.name, axis)

    def of(self, values: Mapping[str, NumpyArray]) -> dict[str, int]:
        """The class of each size, as its largest member: 1, 2, 4, 8, ..., so that 33 to 64 are one class."""
        found = {}
        for name, (tensor, axis) in self._places.items():
            size = int(values[tensor]) if axis is None else values[tensor].shape[axis]
            found[name] = 1 << (max(size, 1) - 1).bit_length()
        return found


@dataclass(frozen=True)
class Choice:
    """A number of threads for calls of some sizes. sizes: the largest of the class, by name. milliseconds: median time
    of a call, by number of threads."""

    threads: int
    sizes: Mapping[str, int]
    milliseconds: Mapping[int, float]

    def __str__(self) -> str:
        if not self.milliseconds:
            return "this process has one core"
        times = ", ".join(f"{ms:.3g} ms with {count}" for count, ms in self.milliseconds.items())
        return f"{times} ({', '.join(f'{name} up to {size}' for name, size in self.sizes.items()) or 'fixed sizes'})"

    def to_dict(self) -> Json:
        """Return the choice as JSON types."""
        return {
            "threads": self.threads,
            "sizes": dict(self.sizes),
            "milliseconds": {str(count): ms for count, ms in self.milliseconds.items()},
        }

    @classmethod
    def from_dict(cls, found: Json, sizes: Mapping[str, int]) -> Choice | None:
        """What the cache has kept; None for what is none of today's choices."""
        try:
            milliseconds = {int(count): float(ms) for count, ms in found["milliseconds"].items()}
            threads = found["threads"]
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
            return None
        known = type(threads) is int and threads in milliseconds and tuple(milliseconds) == counts()
        return cls(threads, sizes, milliseconds) if known else None


class MeasuredRunner(ReopeningRunner):
    """The program of an artifact, on the number of threads that timed calls have found for the sizes of its inputs.

    choice: of the latest call whose choice is known; None before it.
    """

    def __init__(self, artifact: Artifact, *, device: str, interruptible: bool = False) -> None:
        super().__init__(artifact, device=device, interruptible=interruptible)
        self._sizes = Sizes(artifact.card, self._times)
        self._choices: dict[tuple[int, ...], Choice | None] = {}
        self.choice: Choice | None = None

    def run_bound(
        self, values: dict[str, NumpyArray], settings: CallSettings, *, observed: Observed = NOTHING
    ) -> CallResult:
        """Run the program on the threads that are fastest for inputs of these sizes, and find them first if need be.

        A call with a deadline or a function `progress` cannot wait for that: it takes a known choice, or one thread.
        """
        sizes = self._sizes.of(values)
        choice = self._known(sizes)
        if choice is None and settings.deadline is None and settings.progress is None:
            # Calls that come meanwhile wait, and count as running, also for a fork of this process.
            with self._guard, self.lock:
                choice = self._known(sizes) or self._measured(values, settings, sizes)
        runner = self if choice is None else self.on(choice.threads)
        self.choice, self.threads = choice, runner.artifact.threads
        return Runner.run_bound(runner, values, settings, observed=observed)

    def artifact_for(self, values: Mapping[str, NumpyArray]) -> Artifact:
        """The artifact as it is open for inputs of these sizes, by a choice that is known; nothing is timed."""
        choice = self._known(self._sizes.of(values))
        return self.artifact if choice is None else self.on(choice.threads).artifact

    def _known(self, sizes: dict[str, int]) -> Choice | None:
        """The choice for some sizes that this model has made, or that the cache holds."""
        key = tuple(sizes.values())
        if key not in self._choices:  # the cache is read once, as many calls may come before a choice can be made
            self._choices[key] = Choice.from_dict(remembered(KIND, self._key(sizes)), sizes)
        return self._choices[key]

    def _key(self, sizes: dict[str, int]) -> dict[str, Json]:
        return {
            "artifact": self.artifact.origin.digest,
            "onnxruntime": ort.__version__,
            "processor": processor(),
            "cores": cores(),
            "sizes": sizes,
        }

    def _measured(self, values: Mapping[str, NumpyArray], settings: CallSettings, sizes: dict[str, int]) -> Choice:
        """Time a call for each number of threads, in turns, and keep the choice."""
        if len(counts()) == 1:
            return Choice(1, sizes, {})
        tried: dict[int, Runner] = {self.artifact.threads: self}
        times: dict[int, list[float]] = {count: [] for count in counts()}
        end = perf_counter() + _SECONDS
        for _ in range(_TURNS + 1):
            for count, taken in times.items():
                tried[count] = tried.get(count) or self.opened(count)
                taken.append(_timed(tried[count], values, settings))
            if perf_counter() > end:
                break
        # The first call of a session is slower, and counts only where there was no time for another one.
        times = {count: taken[1:] or taken for count, taken in times.items()}
        # Ratios are taken turn by turn, so that a disturbance of the machine meets all numbers of threads.
        over_one = {count: median(map(truediv, taken, times[1])) for count, taken in times.items()}
        threads = next(count for count, over in over_one.items() if over <= NEAR * min(over_one.values()))
        milliseconds = {count: 1e3 * median(taken) for count, taken in times.items()}
        choice = Choice(threads, sizes, milliseconds)
        self._choices[tuple(sizes.values())] = choice
        if threads != self.artifact.threads:
            self.runners[threads] = tried[threads]
        remember(KIND, self._key(sizes), choice.to_dict())
        return choice


def _timed(runner: Runner, values: Mapping[str, NumpyArray], settings: CallSettings) -> float:
    """The seconds of a call. It adds nothing to the values."""
    start = perf_counter()
    Runner.run_bound(runner, dict(values), settings)
    return perf_counter() - start
