"""The steps of a program: graphs to run, solves to drive, steps to repeat, and steps to choose between. The law here:
as in `card`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from odelet.artifact.checks import check, check_file_name


@dataclass(frozen=True, kw_only=True)
class RunStep:
    """A step of the program that runs a graph. run: the graph's file."""

    run: str

    def __post_init__(self) -> None:
        check_file_name(self.run)


@dataclass(frozen=True, kw_only=True)
class DriveStep:
    """A step of the program that drives a solve. drive: the solve's index."""

    drive: int


@dataclass(frozen=True, kw_only=True)
class CarriedCard:
    """A value that a loop carries from one turn to the next.

    turn: its name in a turn. start: the value of the first turn, made before the loop. after: the value that a turn
    makes for the next one. result: the name of the last value, which stays after the loop; None where nothing takes it.
    """

    turn: str
    start: str
    after: str
    result: str | None = None


@dataclass(frozen=True, kw_only=True)
class StackedCard:
    """A value that a loop collects. made: its name in a turn. result: the name of the values of all turns, stacked
    along a new first axis."""

    made: str
    result: str


@dataclass(frozen=True, kw_only=True)
class ClockCard:
    """Where a loop of steps has its time. time: the name in a turn of the carried value that is the time reached, as
    time runs forward; one number, or one for each sample. start, end: the first and the last output time where they
    are known, else null: the times are then an input."""

    time: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, kw_only=True)
class LoopStep:
    """A step of the program that repeats others, as ONNX's operator Loop repeats its body. A run of them is a turn.

    repeat: the steps of a turn. most: the name of the largest number of turns, an int64 scalar, or None for no limit.
    go_on: the name of a bool scalar that says whether to take the first turn; None if so. again: the name of a bool
    scalar, made in each turn, that says whether to take another; None if so. iteration: the name by which a turn reads
    its number, from 0, an int64 scalar; None where it does not. carried, stacked: the values that pass between turns,
    and those that are collected. solve: the index of the solve of which each turn is an attempted step; None for a loop
    that takes no steps, such as the search for an event, and for the steps of a solve inside a field. all_turns:
    whether nothing of the solve can be read where its loop ends early; where it can, the graphs take the early end for
    the limit of steps. clock: the time of the turns, where they have one.
    """

    repeat: tuple[RunStep | LoopStep | BranchStep, ...]
    most: str | None = None
    go_on: str | None = None
    again: str | None = None
    iteration: str | None = None
    carried: tuple[CarriedCard, ...] = ()
    stacked: tuple[StackedCard, ...] = ()
    solve: int | None = None
    all_turns: bool = False
    clock: ClockCard | None = None

    def __post_init__(self) -> None:
        check(len(self.repeat) > 0, "a loop of the program repeats nothing")
        check(self.most is not None or self.again is not None, "a loop of the program has no end")
        carried, stacked = self.carried, [one.result for one in self.stacked]
        inside = [one.turn for one in carried] + ([] if self.iteration is None else [self.iteration])
        check_once("a loop of the program gives a turn", inside)
        check_once("a loop of the program makes", [*(x.result for x in carried if x.result is not None), *stacked])

    @property
    def graph_files(self) -> Iterator[str]:
        """The files of the graphs of a turn, in order."""
        return files_of(self.repeat)


@dataclass(frozen=True, kw_only=True)
class ChosenCard:
    """A value that both branches make. then, otherwise: its names in the branches. result: its name after them."""

    then: str
    otherwise: str
    result: str


@dataclass(frozen=True, kw_only=True)
class BranchStep:
    """A step of the program that runs the steps of one of two branches, as ONNX's operator If does.

    choose: the name of a bool scalar. then, otherwise: the steps where it is true, and where it is false. chosen: the
    values that both make.
    """

    choose: str
    then: tuple[RunStep | LoopStep | BranchStep, ...]
    otherwise: tuple[RunStep | LoopStep | BranchStep, ...]
    chosen: tuple[ChosenCard, ...]

    def __post_init__(self) -> None:
        check_once("a branch of the program makes", [one.result for one in self.chosen])

    @property
    def graph_files(self) -> Iterator[str]:
        """The files of the graphs of both branches, in order."""
        return files_of((*self.then, *self.otherwise))


def check_once(who: str, names: Sequence[str]) -> None:
    """Raise ArtifactError where a name is there twice. who: the start of a sentence about a name."""
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    check(twice is None, f"{who} {twice!r} twice")


ProgramStep: TypeAlias = RunStep | DriveStep | LoopStep | BranchStep


def files_of(steps: Sequence[ProgramStep]) -> Iterator[str]:
    """The files of the graphs that steps run themselves, in order."""
    for step in steps:
        if isinstance(step, RunStep):
            yield step.run
        elif not isinstance(step, DriveStep):
            yield from step.graph_files


def check_loops(steps: Sequence[ProgramStep], *, solves: int) -> None:
    """Raise ArtifactError for a loop, among steps or inside them, of a solve that is not one of so many."""
    for step in steps:
        if isinstance(step, LoopStep):
            there = step.solve is None or 0 <= step.solve < solves
            check(there, f"a loop of the program takes steps of the solve {step.solve}, which is not there")
            check_loops(step.repeat, solves=solves)
        elif isinstance(step, BranchStep):
            check_loops((*step.then, *step.otherwise), solves=solves)
