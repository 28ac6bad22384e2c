"""How long calls take.

The law here: calls are timed in turns, so that a disturbance of the machine meets all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Wall times of one call, in seconds, in the order in which they were measured."""

    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """Return the time in seconds that `percent` percent of the calls do not exceed."""
        return float(np.percentile(self.seconds, percent))

    @property
    def median(self) -> float:
        """The median time, in seconds."""
        return self.percentile(50)

    def over(self, other: Latency) -> float:
        """Return the median of the ratios to another call's times, taken turn by turn, so that disturbances cancel."""
        return float(np.median(np.divide(self.seconds, other.seconds)))


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 1.0,
    turns: Sequence[int] = (5, 1000),
    warmup: int = 2,
    untimed: Collection[str] = (),
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Latency]:
    """Time each call once a turn, for about `seconds` in all, and return the latencies by name.

    turns: the least and the largest number of turns. warmup: how many turns come first and do not count. untimed: the
    calls that are made once more before each turn, as the first call after others may be slower. clock: returns the
    time in seconds; `time.thread_time` leaves out the time that other processes take, for calls that stay on their
    thread.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    least, most = turns
    done, end = -warmup, perf_counter() + seconds
    while done < least or (done < most and perf_counter() < end):
        for name, call in calls.items():
            if name in untimed:
                call()
            start = clock()
            call()
            if done >= 0:
                times[name].append(clock() - start)
        done += 1
    return {name: Latency(tuple(seconds_taken)) for name, seconds_taken in times.items()}
