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


def in_turns(
    ways: Mapping[str, Callable[[], object]], *, seconds: float, turns: Sequence[int] = (5, 500)
) -> dict[str, Latency]:
    """The latencies of one call of each way. seconds, turns: as in `interleaved`."""
    counts = {way: _in_a_turn(call) for way, call in ways.items()}
    repeated = {way: partial(_repeat, call, counts[way]) for way, call in ways.items()}
    latencies = interleaved(repeated, seconds=seconds, turns=turns, warmup=1, clock=process_time)
    return {way: Latency(tuple(taken / counts[way] for taken in latency.seconds)) for way, latency in latencies.items()}


def _in_a_turn(call: Callable[[], object]) -> int:
    """How many calls take as long as a turn."""
    _repeat(call, 2)
    start = process_time()
    call()
    return max(1, round(TURN / max(process_time() - start, 1e-6)))


def _repeat(call: Callable[[], object], count: int) -> None:
    for _ in range(count):
        call()
