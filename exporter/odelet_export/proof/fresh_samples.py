"""The samples of an export: the example, then fresh inputs that torch takes and answers with finite numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from odelet.artifact.formulas import Formula
from odelet_export.model.field_calls import TooManyCalls
from odelet_export.model.results import StructureError
from odelet_export.model.time_limit import OutOfTime
from odelet_export.proof.judge import Judge, Sample
from odelet_export.proof.sample_inputs import Drawing
from odelet_export.proof.sample_sizes import sample_sizes

# No more samples are drawn after so many that torch did not solve in bounded time, if any others are there.
_MOST_UNENDING = 3
# Fresh inputs are drawn in at most this many sizes for each sample that is wanted.
_TRIES = 8
# How a warning about such inputs begins.
_LEFT_OUT = "some inputs drawn for the comparison were left out: "


class FreshSamples:
    """The samples of an export; torch runs each once, however often the samples are iterated over.

    traced: the sizes by label with which the model was traced. conditions: what the model needs of sizes; the fresh
    samples meet them where they can. count: the number of fresh samples wanted; iteration
    gives more, as some samples may break an assumption. Inputs at which the model fails, or at which torch's own answer
    is not finite where it is on the example, are drawn again, closer to the example. first: the answer on the example,
    where it is known. skipped: a sentence for each kind of inputs that the user should know to be left out.
    """

    def __init__(
        self,
        judge: Judge,
        drawing: Drawing,
        *,
        traced: Mapping[str, int],
        count: int,
        conditions: Sequence[Formula] = (),
        first: Sample | None = None,
    ) -> None:
        self.count = count
        self._judge, self._drawing = judge, drawing
        self._generator = torch.Generator().manual_seed(judge.seed)
        self._sizes = sample_sizes(traced, conditions)
        self._known = [] if first is None else [first]
        self._tries = self._unending = 0
        self._gently = False
        self._left_out: Counter[str] = Counter()
        self.skipped: dict[str, None] = {}

    def __iter__(self) -> Iterator[Sample]:
        number = 0
        while number < len(self._known) or self._draw():
            yield self._known[number]
            number += 1

    def leave_out(self, sample: Sample, why: str, *, told: bool = False) -> None:
        """Note that a sample told nothing. why: a clause about the sample. told: whether the user is to know of it even
        where enough others are compared."""
        if told:
            self.skipped[_LEFT_OUT + why] = None
        if sample.number == len(self._known) - 1:  # other samples were noted before
            self._left_out[why] += 1
            self._gently = not self._gently

    @property
    def left_out(self) -> list[str]:
        """A clause for each reason why drawn inputs were not compared, with how many there were."""
        return [f"{count} because {why}" for why, count in self._left_out.items()]

    def _draw(self) -> bool:
        """Run the model on one more sample, if there is one."""
        if not self._known:
            self._known.append(self._judge.sample(0, self._drawing.example))
            return True
        while self._tries < _TRIES * self.count:
            self._tries += 1
            sizes = next(self._sizes)
            for gently in (self._gently, True):
                if self._unending >= _MOST_UNENDING and len(self._known) > 1:
                    return False
                if self._judge.clock.used_up:
                    self._left_out.setdefault(f"torch had its {self._judge.clock.limit:g} s", 1)
                    return False
                if self._tried(self._drawing.at(sizes, self._generator, gently=gently)):
                    return True
        return False

    def _tried(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Run the model on inputs, and keep the sample if it tells something."""
        try:
            sample = self._judge.sample(len(self._known), tensors)
        except OutOfTime as error:
            self._left_out[str(error)] += 1
            return False
        except TooManyCalls as error:
            self._left_out["torch called the fields too often"] += 1
            self.skipped[_unending(error)] = None
            self._unending += 1
            return False
        except StructureError:
            raise
        except Exception as error:  # the model may raise anything on inputs it was not made for
            self._left_out[f"torch raises {type(error).__name__}"] += 1
            return False
        if _finite(self._known[0].expected) and not _finite(sample.expected):
            self._left_out["torch's own answer is not finite"] += 1
            return False
        self._known.append(sample)
        return True


def _unending(error: TooManyCalls) -> str:
    """The warning for a sample that torch did not solve in bounded time."""
    return (
        f"{_LEFT_OUT}{error}, far more often than on the example (an event "
        "that never comes, or a problem that turns stiff); the runtime ends such a call at max_steps, or at a deadline"
    )


def _finite(arrays: Sequence[np.ndarray]) -> bool:
    """Whether all floating-point numbers are finite."""
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind in "fc")
