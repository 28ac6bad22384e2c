"""What a call keeps of its driven solves besides their results: events, trajectories and recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from odelet.artifact.card import Card
from odelet.artifact.solve_card import DRIVEN
from odelet.errors import InputError
from odelet.loops.recorder import Recording
from odelet.numerics.events import Event

# Events of solve 0, or of each solve by its index in the card.
Events: TypeAlias = Sequence[Event] | Mapping[int, Sequence[Event]]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a call keeps of its driven solves besides their results.

    events: to look for. dense: whether all solves keep their trajectory. recordings: where to record the attempted
    steps of a solve, by its index in the card.
    """

    events: Events = ()
    dense: bool = False
    recordings: Mapping[int, Recording] = field(default_factory=dict)

    @property
    def events_by_solve(self) -> Mapping[int, Sequence[Event]]:
        """The events to look for in each solve, by its index."""
        if isinstance(self.events, Mapping):
            return self.events
        return {0: self.events} if self.events else {}

    def check(self, card: Card) -> None:
        """Raise InputError for a model whose solves cannot be observed in this way."""
        if not (self.events or self.dense):
            return
        if not card.solves:
            raise InputError("events and dense are of a solve, and this model has none")
        if not card.driven:
            raise InputError(
                f"events and dense need the solver outside the graph, and this artifact has the form {card.form!r}; "
                f"export the model with the form {DRIVEN.name!r}"
            )
        indices = {solve.index for solve in card.solves}
        if not self.events_by_solve.keys() <= indices:
            raise InputError(f"events are for solves {sorted(self.events_by_solve)}; the model has {sorted(indices)}")


NOTHING = Observed()
