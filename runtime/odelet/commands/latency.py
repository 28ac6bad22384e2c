"""How long calls take: interleaved, so that what disturbs one disturbs all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Wall times of one call, in seconds, in the order they were measured."""

    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """The time that `percent` percent of the calls stay under, in seconds."""
        return float(np.percentile(self.seconds, percent))

    @property
    def median(self) -> float:
        return self.percentile(50)

    def over(self, other: Latency) -> float:
        """The median of the ratios to another call's times, turn by turn: what disturbs both cancels."""
        return float(np.median(np.divide(self.seconds, other.seconds)))


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 1.0,
    turns: Sequence[int] = (5, 1000),
    warmup: int = 2,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Latency]:
    """Time each call once a turn, for about `seconds` in all.

    turns: at least and at most so many. warmup: turns that do not count. clock: what a call is timed by, in seconds;
    `time.thread_time` leaves out what other processes take, for calls that stay on their thread.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    least, most = turns
    done, end = -warmup, perf_counter() + seconds
    while done < least or (done < most and perf_counter() < end):
        for name, call in calls.items():
            start = clock()
            call()
            if done >= 0:
                taken[name].append(clock() - start)
        done += 1
    return {name: Latency(tuple(times)) for name, times in taken.items()}
