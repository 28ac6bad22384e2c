"""Times ways to do the same thing, in turns of some calls each, by the time of the processor.

Other work on the machine does not count, and what threads of a library do counts. A turn of a way is as many calls as
take a millisecond, or one: a call of some microseconds is slower where another way has used the caches just before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter, process_time

from odelet.commands.latency import Latency

TURN = 1e-3
# Calls shorter than this many seconds are made once untimed before their turn: after 100 ms of another library, the
# first call of a jitted function of 1 ms takes up to ten times as long.
SHORT = 1e-2


def in_turns(
    ways: Mapping[str, Callable[[], object]], *, seconds: float, turns: Sequence[int] = (5, 500)
) -> dict[str, Latency]:
    """The latencies of one call of each way. seconds, turns: as in `interleaved`."""
    single = {way: _time_of(call) for way, call in ways.items()}
    counts = {way: max(1, round(TURN / max(taken, 1e-6))) for way, taken in single.items()}
    times: dict[str, list[float]] = {way: [] for way in ways}
    least, most = turns
    end = perf_counter() + seconds
    while len(times[next(iter(ways))]) < least or (len(times[next(iter(ways))]) < most and perf_counter() < end):
        for way, call in ways.items():
            if single[way] < SHORT:
                call()
            start = process_time()
            for _ in range(counts[way]):
                call()
            times[way].append((process_time() - start) / counts[way])
    return {way: Latency(tuple(taken)) for way, taken in times.items()}


def _time_of(call: Callable[[], object]) -> float:
    """The seconds of the third of three calls."""
    call()
    call()
    start = process_time()
    call()
    return process_time() - start
