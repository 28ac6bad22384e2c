"""What the arrays between the driver and the graphs of a solve must be: their dtypes and their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from odelet.engine.session import Port
from odelet.errors import ArtifactError


@dataclass(frozen=True)
class PortShape:
    """What an array must be. dtypes: any of these. sizes: of its axes, None for any size."""

    dtypes: tuple[str, ...]
    sizes: tuple[int | None, ...]

    def fits(self, port: Port, *, stated: bool) -> bool:
        """Whether a port can be such an array. stated: whether it must state its rank."""
        if port.dtype not in self.dtypes:
            return False
        if not port.shape and not stated:
            return True
        return len(port.shape) == len(self.sizes) and all(
            None in (a, b) or a == b for a, b in zip(port.shape, self.sizes, strict=True)
        )

    def __str__(self) -> str:
        return f"{' or '.join(self.dtypes)} [{', '.join('?' if size is None else str(size) for size in self.sizes)}]"


@dataclass(frozen=True)
class Role:
    """What the driver feeds to a graph, and which outputs it needs of it, by name."""

    feeds: Mapping[str, PortShape]
    needs: Mapping[str, PortShape]
    optional: Mapping[str, PortShape] = field(default_factory=dict)


def check_port(what: str, port: Port, expected: PortShape, *, stated: bool) -> None:
    """Raise ArtifactError for a port that does not fit. stated: whether it must state its rank."""
    if not expected.fits(port, stated=stated):
        raise ArtifactError(f"{what} is {port}; the driver has {expected}: export the model again")
