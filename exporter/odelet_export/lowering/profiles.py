"""What the graphs of an artifact may use, for the engines and the targets that are to run them. The roster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What the graphs of an artifact may use.

    name: as users spell it. about: a clause that says for what the profile is. loops: whether a graph may hold a Loop;
    if not, solves take a form without. dynamic: whether the sizes of arrays may vary, from call to call or with the
    number of steps.
    """

    name: str
    about: str
    loops: bool = True
    dynamic: bool = True


GENERAL = Profile(name="general", about="ONNX Runtime, with all that it can do")
C = Profile(name="c", about="C code in memory of fixed size", loops=False, dynamic=False)

PROFILES = {profile.name: profile for profile in (GENERAL, C)}
