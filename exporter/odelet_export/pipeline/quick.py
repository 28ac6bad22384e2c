"""What a quick export leaves out, and the sentence that says so on the screen, in the report and in the card."""

from __future__ import annotations

LEFT_OUT = (
    "quick left out the replay of the capture under torchdiffeq, and the comparison in float64 where rounding moves "
    "torch's answers; export without quick before the artifact is used"
)
