"""Timing calls side by side."""

import pytest

from odelet.commands.latency import Latency, interleaved


def test_calls_alternate_and_warmup_does_not_count() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    found = interleaved(calls, seconds=0, turns=(3, 10), warmup=1)
    assert order == ["a", "b"] * 4
    assert [len(latency.seconds) for latency in found.values()] == [3, 3]


def test_turns_end_at_the_most() -> None:
    assert len(interleaved({"a": lambda: None}, seconds=60, turns=(1, 7))["a"].seconds) == 7


def test_percentiles_and_ratios_are_those_of_the_times() -> None:
    slow, fast = Latency((2.0, 9.0, 4.0)), Latency((1.0, 3.0, 4.0))
    assert slow.median == 4.0
    assert slow.percentile(100) == 9.0
    assert slow.over(fast) == pytest.approx(2.0)  # of 2, 3 and 1, not 4 / 3


def test_another_clock_is_asked_before_and_after_each_call() -> None:
    ticks = iter(range(100))
    found = interleaved({"a": lambda: next(ticks)}, seconds=0, turns=(2, 2), warmup=1, clock=lambda: float(next(ticks)))
    assert found["a"].seconds == (2.0, 2.0)
