"""What the graphs of an artifact may use, for the engines and the targets that are to run them. The roster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from odelet.artifact.card import DTYPES

OF_C = ("float32", "float64", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What the graphs of an artifact may use, and how they meet their host.

    name: as users spell it. about: a clause that says for what the profile is.

    An export keeps to what is inside the graphs. loops: whether a graph may hold a Loop; if not, solves take a form
    without. dynamic: whether the sizes of arrays may vary, from call to call or with the number of steps. types: the
    types of elements; without float64, solves keep their times in float32.

    A build changes how graphs meet their host, so that an artifact of any profile may be built. settings: "optional"
    inputs have defaults, "required" ones the host has to feed, and "fixed" ones are no inputs. batch_first: whether the
    first axis of every input and output, reports too, counts the samples of the batch.
    """

    name: str
    about: str
    loops: bool = True
    dynamic: bool = True
    types: tuple[str, ...] = DTYPES
    onnxruntime: bool = True
    settings: Literal["optional", "required", "fixed"] = "optional"
    batch_first: bool = False

    @property
    def doubles(self) -> bool:
        """Whether a graph may hold float64."""
        return "float64" in self.types


GENERAL = Profile(name="general", about="ONNX Runtime, with all that it can do")
C = Profile(name="c", about="C code in memory of fixed size", loops=False, dynamic=False, types=OF_C, onnxruntime=False)
WEB = Profile(
    name="web",
    about="onnxruntime-web and onnxruntime-node, WebGPU included",
    types=tuple(name for name in DTYPES if name != "float64"),
    settings="required",
)
TRITON = Profile(name="triton", about="Triton's dynamic batching", settings="fixed", batch_first=True)

PROFILES = {profile.name: profile for profile in (GENERAL, C, WEB, TRITON)}
