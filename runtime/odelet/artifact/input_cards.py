"""What a card says of a model's inputs besides their shapes: what is assumed of them, and which are drawn at random.

The law here: the dataclasses are the format, as in `card`.
"""

from __future__ import annotations

from dataclasses import dataclass

from odelet.artifact.checks import check, check_names
from odelet.artifact.formulas import Formula
from odelet.errors import ArtifactError

# The distributions of random inputs, and the dtypes that their numbers may have.
DISTRIBUTIONS = {"normal": ("float32", "float64"), "uniform": ("float32", "float64"), "key": ("int64",)}


@dataclass(frozen=True, kw_only=True)
class AssumptionCard:
    """What the model's Python code took for granted on the example, and must be the same in each call.

    It is a decision on values, or a condition on sizes. output: name of the bool scalar graph output that is True where
    the decision is the same; empty for a condition on sizes. source, text: the place and the line of the code. value:
    how the code decided. inputs: names of the model's inputs that the decision or the sizes depend on. sizes: the
    condition, a formula of the sizes of named axes such as "batch % 2 == 0"; empty for a decision.
    """

    output: str
    source: str
    text: str
    value: str
    inputs: tuple[str, ...]
    sizes: str = ""

    def __post_init__(self) -> None:
        try:
            Formula(self.sizes or "0")
        except ValueError as error:
            raise ArtifactError(f"card: an assumption at {self.source}: {error}") from None
        check(not (self.sizes and self.output), f"an assumption on sizes names the output {self.output!r}")

    @property
    def axes(self) -> frozenset[str]:
        """The names of the axes that a condition on sizes is about."""
        return Formula(self.sizes).names if self.sizes else frozenset()

    @property
    def refusal(self) -> str:
        """The message for inputs for which the decision would be another: why they are refused, and what to do."""
        if self.sizes:
            return (
                f"the model takes inputs with {self.sizes} alone, because of {self.text!r} ({self.source}), and not "
                "the sizes that came now. Pass such sizes, or write that line for all sizes and export the model again"
            )
        of_inputs = f" of {', '.join(self.inputs)}" if self.inputs else ""
        return (
            f"the model was exported with an example for which {self.text!r} ({self.source}) is {self.value}, and "
            f"always goes that way; for the values{of_inputs} that came now it is not {self.value}. Export the model "
            "again with an example like these inputs, or write the decision with torch.where"
        )

    def __str__(self) -> str:
        from_inputs = f", from {', '.join(self.inputs)}" if self.inputs else ""
        return (
            f"{self.source}: {self.text!r} {f'takes {self.sizes}' if self.sizes else f'is {self.value}'}{from_inputs}"
        )


@dataclass(frozen=True, kw_only=True)
class NoiseCard:
    """Random numbers that the model draws, as one of the exported model's inputs.

    name: of the input, whose shape is that of the numbers. distribution: "normal" (mean 0, variance 1), or "uniform"
    (from 0 up to 1), or "key" for a number of 64 bits for each sample, of which the solver makes a Brownian path.
    source: the line of the model's code that draws them. sample_axis: the axis of the shape that counts samples, each
    of which has random numbers of its own; None where there is none, and in cards of 0.1. step_axis: the axis that
    counts the steps of a solve, or None.
    """

    name: str
    distribution: str
    source: str = ""
    sample_axis: int | None = None
    step_axis: int | None = None

    def __post_init__(self) -> None:
        check_names(f"noise {self.name!r}: distribution", [self.distribution], tuple(DISTRIBUTIONS))
