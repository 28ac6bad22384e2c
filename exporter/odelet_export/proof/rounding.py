"""How far torch's own answers move by rounding: it is found out run by run, and only as far as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from odelet.artifact.samples import largest_element
from odelet_export.model.reference import SolveCount
from odelet_export.model.time_limit import OutOfTime

# A solve can amplify rounding. An answer may then be as far off as torch's own answer moves in any of this many runs,
# when the inputs change by a few units in the last place. With some models, an adaptive solve in float32 takes another
# step in one run of five or ten, so four runs do not show it.
ROUNDING_RUNS = 16
ROUNDING_ULPS = 2.0
ROUNDING_FACTOR = 10.0
# An answer may also be twice as far off as torch's float32 answer is from its float64 answer, which shows such a step
# too.
OWN_ERRORS = 2.0
# No more runs are made once what they allow is this many times the error: a bit of room, for other machines that verify
# the artifact.
ROOM = 2.0

Answers = tuple[Sequence[np.ndarray], Sequence[SolveCount]]


@dataclass
class Moves:
    """What is known of torch's own answers at one sample.

    steady: whether torch gave the same answers when it ran again; None while nobody has looked. own_errors: the
    distance of each float32 output from its float64 output. moved: the distance by which each output moved in any run
    on other last places. same_steps: whether all these runs took the same steps. runs: how many runs were made.
    """

    steady: bool | None = None
    own_errors: Sequence[float] = ()
    moved: Sequence[float] = ()
    same_steps: bool = True
    runs: int = 0
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def allowed(self, base: Sequence[float]) -> list[float]:
        """The largest error that each output may have. base: the same without rounding."""
        own = self.own_errors or [0.0] * len(base)
        moved = self.moved or [0.0] * len(base)
        return [b + max(OWN_ERRORS * o, ROUNDING_FACTOR * m) for b, o, m in zip(base, own, moved, strict=True)]

    def more(
        self, expected: Answers, run: Callable[[torch.Generator], Answers], own_errors: Callable[[], Sequence[float]]
    ) -> Iterator[None]:
        """Find out more with each turn, as long as there is more to find out.

        expected: torch's answers at the sample. run: runs torch on inputs that are changed in their last places.
        own_errors: runs torch in float64.
        """
        if not self.own_errors:
            self.own_errors = own_errors()
            yield
        outputs, counts = expected
        while self.runs < ROUNDING_RUNS:
            self.runs += 1
            try:
                shaken, again = run(self.generator)
            except OutOfTime:
                raise
            except Exception:  # a model that fails after rounding does not show how far its answer moves
                continue
            self.same_steps &= list(again) == list(counts)
            moved = [distance(one, other) for one, other in zip(shaken, outputs, strict=True)]
            self.moved = [max(pair) for pair in zip(moved, self.moved or moved, strict=True)]
            yield


def shaken(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A tensor with its numbers changed in their last places."""
    if not tensor.is_floating_point():
        return tensor
    units = 2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1
    return (tensor.double() * (1 + ROUNDING_ULPS * torch.finfo(tensor.dtype).eps * units)).to(tensor.dtype)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of two outputs; 0 where they cannot be compared."""
    if a.shape != b.shape:
        return 0.0
    with np.errstate(all="ignore"):
        return largest_element(a.astype(np.float64) - b.astype(np.float64))
