"""What a card says of the values that a model takes, besides their shapes: what is assumed of them, what is drawn.

The law here: as in `card`, the fields are the format.
"""

from __future__ import annotations

from dataclasses import dataclass

from odelet.artifact.checks import check_names

DISTRIBUTIONS = ("normal", "uniform")


@dataclass(frozen=True, kw_only=True)
class AssumptionCard:
    """A decision of the model's Python code that was taken once, on the example, and must be the same in each call.

    output: name of the bool scalar graph output that is True where it is. source, text: the place and the line of the
    code. value: what it was. inputs: names of the model's inputs that it depends on.
    """

    output: str
    source: str
    text: str
    value: str
    inputs: tuple[str, ...]

    @property
    def refusal(self) -> str:
        """Why inputs for which the decision would be another are refused, and what to do."""
        whose = f" of {', '.join(self.inputs)}" if self.inputs else ""
        return (
            f"the model was exported with an example for which {self.text!r} ({self.source}) is {self.value}, and "
            f"follows that way always; for the values{whose} that came now it is not. Export the model again with an "
            "example like these inputs, or write the decision with torch.where"
        )

    def __str__(self) -> str:
        return f"{self.source}: {self.text!r} is {self.value}" + (
            f", from {', '.join(self.inputs)}" * bool(self.inputs)
        )


@dataclass(frozen=True, kw_only=True)
class NoiseCard:
    """Random numbers that the model draws, as one of its inputs. name: of the input, which has the shape.
    distribution: standard normal, or uniform from 0 up to 1. source: where the model draws them."""

    name: str
    distribution: str
    source: str = ""

    def __post_init__(self) -> None:
        check_names(f"noise {self.name!r}: distribution", [self.distribution], DISTRIBUTIONS)
