"""What a card says of the Brownian motion of a solve of an SDE.

The law here: the dataclass is the format, as in `card`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from odelet.artifact.checks import check, check_names
from odelet.methods.sde import NOISES

if TYPE_CHECKING:
    from odelet.methods.sde import SdeMethod


@dataclass(frozen=True, kw_only=True)
class BrownianCard:
    """The Brownian motion of a solve.

    noise: the kind of noise, one of NOISES. channels: how many channels it has. inputs: the names of the model's inputs
    that it is made of. For fixed steps they are standard normal numbers, one input for each of the method's `draws`;
    for steps that follow an error estimate, a key for each batch row. memory: the names of the values that the first
    step of a driven solve receives. first_step, least_step: where steps follow an error estimate, the length of the
    first one and the length at which a step is accepted whatever its error. times, solution: for pictures, the
    output times, or the name of the input that gives them, and the name of the output that is the solution; None where
    there are none.
    """

    noise: str
    channels: int
    inputs: tuple[str, ...]
    memory: tuple[str, ...] = ()
    first_step: float | None = None
    least_step: float | None = None
    times: tuple[float, ...] | str | None = None
    solution: str | None = None

    def __post_init__(self) -> None:
        check_names("noise of an SDE", [self.noise], NOISES)
        check(1 <= self.channels < 2**31, f"a Brownian motion has {self.channels} channels; expected 1 or more")

    def __str__(self) -> str:
        return f"{self.noise} noise in {self.channels} channel{'s' if self.channels > 1 else ''}"

    def check_fits(self, me: str, method: SdeMethod, *, outside: bool, adaptive: bool) -> None:
        """Raise ArtifactError for a motion that does not go with the method of its solve. me: names the solve."""
        check(self.noise in method.noises, f"{me} {method.name} does not solve {self.noise} noise")
        wanted = 1 if adaptive else len(method.draws)
        check(len(self.inputs) == wanted, f"{me} it names {len(self.inputs)} noise inputs; {method.name} has {wanted}")
        check(len({*self.inputs}) == len(self.inputs), f"{me} its noise inputs {list(self.inputs)} repeat a name")
        lengths = [x for x in (self.first_step, self.least_step) if x is not None]
        check(len(lengths) == 2 * adaptive, f"{me} first_step and least_step go with an error estimate, and only it")
        check(all(0 < x < math.inf for x in lengths), f"{me} a length of steps is {lengths}; expected above 0")
        remembered = len(method.memory) if outside else 0
        check(len(self.memory) == remembered, f"{me} it names {len(self.memory)} values of memory, not {remembered}")
