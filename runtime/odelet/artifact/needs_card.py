"""What a card says of the engine that its graphs need.

The law here: the dataclass is the format, as in `card`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from odelet.artifact.checks import check


@dataclass(frozen=True, kw_only=True)
class NeedsCard:
    """What an engine must know to run the graphs.

    onnxruntime: the lowest version that knows the opset and computes rightly, two numbers as text. opset: of the
    graphs. ir: the highest version of ONNX's file format among the graphs.
    """

    onnxruntime: str
    opset: int
    ir: int

    def __post_init__(self) -> None:
        good = re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", self.onnxruntime) is not None
        check(good, f"needs.onnxruntime {self.onnxruntime!r} is not a version of two numbers")
        check(1 <= self.opset <= 1000, f"needs.opset is {self.opset}")
        check(1 <= self.ir <= 1000, f"needs.ir is {self.ir}")

    @property
    def version(self) -> tuple[int, int]:
        """The version of ONNX Runtime as numbers."""
        major, minor = self.onnxruntime.split(".")
        return int(major), int(minor)
