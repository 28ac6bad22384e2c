"""What lies beside a library that was built from an artifact: how to call it, and which artifact it was built from.

The law here: as in `card`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from odelet.artifact.card import Tensor, checksum_of
from odelet.artifact.checks import check, check_file_name, check_names
from odelet.artifact.decode import decode, parse_json
from odelet.errors import ArtifactError

NATIVE_FILE = "odelet.native.json"
# The settings that a library takes, in the order of its struct `odelet_settings`.
NATIVE_SETTINGS = ("rtol", "atol", "max_steps")


@dataclass(frozen=True, kw_only=True)
class NativeCard:
    """A library and how to call it.

    library: its file. sha256: of its bytes. function: the name of the function that solves. artifact: the SHA-256 of
    the card of the artifact, as hex digits. machine: the kind of processor that it was compiled for, with a digest of
    the instructions that this has. compiler: what compiled it. arena: bytes that a call works in. settings: those that
    a call may change, with the values of the export; null where the parts of the state have values of their own.
    inputs, outputs: what the function takes and gives, in order; the reports of solves are among the outputs.
    """

    library: str
    sha256: str
    function: str
    artifact: str
    machine: str
    compiler: str
    arena: int
    settings: dict[str, float | None]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        check_file_name(self.library)
        check(self.function.isidentifier(), f"the function of a library is {self.function!r}")
        check_names("setting of a library", list(self.settings), NATIVE_SETTINGS)
        check(self.arena >= 0, f"the arena of a library has {self.arena} bytes")
        for tensor in (*self.inputs, *self.outputs):
            fixed = all(isinstance(size, int) for size in tensor.shape)
            check(fixed, f"{tensor.name!r} of a library is {tensor}, and has no fixed shape")


def native_text(card: NativeCard) -> str:
    """The text of the description, with its checksum."""
    data = json.loads(json.dumps(asdict(card)))
    return json.dumps({**data, "checksum": checksum_of(data)}, indent=2)


def read_native(folder: Path) -> NativeCard:
    """The description of the library in a folder, whose bytes are those that it names. Raises ArtifactError."""
    try:
        data = parse_json((folder / NATIVE_FILE).read_bytes(), what=NATIVE_FILE)
        seal = data.pop("checksum", None) if isinstance(data, dict) else None
        if not isinstance(data, dict) or seal != checksum_of(data):
            raise ArtifactError(f"{folder / NATIVE_FILE}: it was changed after it was written; build the library again")
        card = decode(NativeCard, data, what=NATIVE_FILE)
        found = hashlib.sha256((folder / card.library).read_bytes()).hexdigest()
    except OSError as error:
        raise ArtifactError(
            f"{folder}: it holds no library that was built for odelet ({error.strerror or error}); build one with: "
            "odelet build ARTIFACT --target native"
        ) from None
    if found != card.sha256:
        raise ArtifactError(f"{folder / card.library}: it was changed after it was built; build it again")
    return card
