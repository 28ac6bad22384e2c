"""A thousand mutants, at the seed of the day on which nothing bad was left among them."""

import pytest

from fuzz.mutants import mutant, origins
from fuzz.run import Verdict, Worker, run, summary

SEED, COUNT = 1, 1000


@pytest.mark.slow
def test_no_mutant_is_bad():
    verdicts = list(run(SEED, range(COUNT)))
    print(summary(verdicts))
    assert not [str(verdict) for verdict in verdicts if verdict.bad]
    assert {verdict.verdict for verdict in verdicts} >= {"refused", "same", "another model"}


def test_a_mutant_is_made_from_its_seed_and_number_alone():
    assert [mutant(3, number) for number in range(40)] == [mutant(3, number) for number in range(40)]
    made = [mutant(5, number) for number in range(300)]
    assert {one.origin for one in made} == {*origins()}
    assert {one.what for one in made} == {"card", "graph", "other"}
    assert {one.sealed for one in made} == {one.lone for one in made} == {True, False}


@pytest.mark.parametrize(
    ("action", "verdict"),
    [("os.kill(os.getpid(), 11)", "crash"), ("time.sleep(60)", "hang"), ("1 / 0", "foreign exception")],
)
def test_what_is_bad_is_seen(action, verdict, monkeypatch):
    """A worker in which odelet crashes, hangs or fails."""
    monkeypatch.setattr("fuzz.run.PATIENCE", 0.5)
    worker = Worker(1, prelude=f"import os, time, odelet; odelet.load = lambda path: {action}")
    try:
        found = worker.judge(0)
        assert isinstance(found, Verdict)
        assert found.bad
        assert found.verdict == verdict
    finally:
        worker.close()
