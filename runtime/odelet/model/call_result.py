"""What a call computed, and what is known of its solves where it ended early."""

from __future__ import annotations

from dataclasses import dataclass, field

from odelet.artifact.solve_card import SolveCard
from odelet.engine.reports import reported_stats
from odelet.loops.observer import SolveObserver
from odelet.loops.stats import SolveOutcome, SolveStats
from odelet.numerics.backend import NumpyArray
from odelet.status import Status


@dataclass
class CallResult:
    """What a call computed.

    values: every array of the program, by name. driven: what each driven solve did, and each solve that the fallback
    solved again, by index; after a failed solve nothing more ran. watched: the events and trajectories of the solves
    for which the call asked for them, by index. ended: what ended the call so that outputs are missing: the deadline,
    or the caller; None where nothing did. stopped: of the solves whose loops were stopped between two turns, what they
    had done, with the status of the limit, by index.
    """

    values: dict[str, NumpyArray]
    driven: dict[int, SolveStats]
    watched: dict[int, SolveObserver]
    ended: Status | None = None
    stopped: dict[int, SolveOutcome] = field(default_factory=dict)


def stats_at_the_end(solve: SolveCard, result: CallResult) -> SolveStats:
    """What a solve did in a call whose run was ended: all that is known of one that did not get done."""
    if solve.index in result.driven:
        return result.driven[solve.index]
    if solve.report and all(name in result.values for name in solve.report.values()):
        return reported_stats(solve, result.values)
    status = Status.DEADLINE if result.ended is None else result.ended
    return SolveStats.of(solve, result.stopped.get(solve.index, SolveOutcome(status=status, time=None)))


def has_outputs(stats: SolveStats) -> bool:
    """Whether a solve left something to go on from: a state, the states of its samples, or bounded answers."""
    return stats.status.usable or stats.samples is not None or stats.error_ratio is not None
