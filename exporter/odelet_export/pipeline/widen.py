"""Makes captures hold for more sizes: conditions that no answer depends on are left out.

An operator of torch may choose its way by a size where both ways give one answer, and a line of the model may too, as
`if n % 4: x = pad(x)`, which a padding of 0 serves as well. Such a condition is left out where the captured graph gives
the model's answers at sizes on the other side of it. For a line of the model's own the other side is traced, too: what
is then traced says for which sizes its path is taken, and the graph that is right on both sides is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from odelet_export.capture.captured import Captured
from odelet_export.capture.sizes.conditions import SizeCondition
from odelet_export.capture.sizes.shortest import fewest, is_readable
from odelet_export.pipeline.comparing import Comparing
from odelet_export.proof.size_evidence import SizeEvidence, Sizes, holds
from odelet_intercept.errors import CaptureError

# A model is traced on at most so many sides of its decisions.
_MOST_SIDES = 4
# The model is run at no more than so many sizes to find some that it takes.
_MOST_TRIES = 6


@dataclass(frozen=True)
class _Side:
    """A capture, the conditions that it needs, and the evidence of it."""

    captured: Captured
    conditions: Sequence[SizeCondition]
    evidence: SizeEvidence

    def takes(self, sizes: Sizes) -> bool:
        """Whether the conditions hold for sizes."""
        return holds(self.conditions, sizes)

    def serves(self, other: _Side) -> bool:
        """Whether the capture answers as the model on the other side of it."""
        labels = {label for one in (*self.conditions, *other.conditions) for label in one.labels}
        return self.evidence.right_where(lambda sizes: other.takes(sizes) and not self.takes(sizes), labels)


def widened(captured: Captured, comparing: Comparing) -> Captured:
    """A capture that needs as few conditions on sizes as its evidence allows."""
    if not captured.size_conditions:
        return captured
    best = _needed(captured, comparing)
    covered = [best]
    while best.conditions and len(covered) < _MOST_SIDES:
        sizes = _elsewhere(covered)
        if sizes is None:
            break
        try:
            other = _needed(comparing.recapture(sizes), comparing)
        except CaptureError:
            break
        if not best.serves(other):
            if not all(other.serves(side) for side in covered):
                break
            best = other
        covered.append(other)
    return best.captured.for_sizes(_united(best, covered), comparing.dynamic)


def _needed(captured: Captured, comparing: Comparing) -> _Side:
    """The side of a capture, without those conditions of operators that make no difference."""
    evidence = SizeEvidence(*comparing.of(captured))
    kept = list(captured.size_conditions)
    for condition in captured.size_conditions:
        others = [other for other in kept if other is not condition]
        if not condition.by_user and evidence.right_without(condition, others):
            kept = others
    return _Side(captured, kept, evidence)


def _elsewhere(sides: Sequence[_Side]) -> Sizes | None:
    """Sizes that none of some sides takes and the model does; the example's first. None where none are found."""
    evidence = sides[0].evidence
    labels = {label for side in sides for one in side.conditions for label in one.labels}
    example = evidence.example_sizes
    if min(example.values()) > 1 and not any(side.takes(example) for side in sides):
        return example
    tries = 0
    for sizes in evidence.near(labels):
        if any(side.takes(sizes) for side in sides) or len({*sizes.values()}) < len(sizes):
            continue
        if evidence.runs(sizes):
            return sizes
        tries += 1
        if tries == _MOST_TRIES:
            return None
    return None


def _united(best: _Side, covered: Sequence[_Side]) -> Sequence[SizeCondition]:
    """The conditions under which any side takes the sizes."""
    if len(covered) == 1:
        return best.conditions
    common = [one for one in best.conditions if all(one.text in {c.text for c in side.conditions} for side in covered)]
    shared = {one.text for one in common}
    own = [[one for one in side.conditions if one.text not in shared] for side in covered]
    if not all(own):
        return common
    text = " or ".join(" and ".join(f"({one.text})" for one in row) for row in own)
    place = next((one.place for row in own for one in row if one.by_user), own[0][0].place)
    united = fewest([*common, SizeCondition(place, text, by_user=True)])
    if all(map(is_readable, united)):
        return united
    example = best.evidence.example_sizes
    return next((side.conditions for side in covered if side.takes(example)), best.conditions)
