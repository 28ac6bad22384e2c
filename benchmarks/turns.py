"""Times ways to do the same thing, in turns of some calls each, by the time of the processor.

Other work on the machine does not count, and what threads of a library do counts. A turn of a way is as many calls as
take a millisecond, or one: a call of some microseconds is slower where another way has used the caches just before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import process_time

from odelet.commands.latency import Latency, interleaved

TURN = 1e-3
# Calls shorter than this many seconds come once untimed before their turn: after 100 ms of another library, the
# first call of a jitted function of 1 ms takes up to ten times as long.
SHORT = 1e-2


def in_turns(
    ways: Mapping[str, Callable[[], object]], *, seconds: float, turns: Sequence[int] = (5, 500)
) -> dict[str, Latency]:
    """The latencies of one call of each way. seconds, turns: as in `interleaved`."""
    single = {way: _time_of(call) for way, call in ways.items()}
    counts = {way: max(1, round(TURN / max(taken, 1e-6))) for way, taken in single.items()}
    latencies = interleaved(
        {way: partial(_repeat, call, counts[way]) for way, call in ways.items()},
        seconds=seconds,
        turns=turns,
        warmup=0,
        untimed={way for way, taken in single.items() if taken < SHORT},
        clock=process_time,
    )
    return {way: Latency(tuple(taken / counts[way] for taken in latency.seconds)) for way, latency in latencies.items()}


def _repeat(call: Callable[[], object], count: int) -> None:
    for _ in range(count):
        call()


def _time_of(call: Callable[[], object]) -> float:
    """The seconds of the third of three calls."""
    call()
    call()
    start = process_time()
    call()
    return process_time() - start
