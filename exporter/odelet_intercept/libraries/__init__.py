"""The solver libraries whose calls are caught: a module for each, and the roster.

To add a library, write a module with its `Library`, and a line in LIBRARIES. The functions to catch may be methods of
classes, and the library need not be installed: `odelet_intercept.call` documents the fields of a `Library`.
"""

from __future__ import annotations

from odelet_intercept.call import Entry, Library
from odelet_intercept.libraries.mark_calls import MARK
from odelet_intercept.libraries.torchcde_calls import TORCHCDE
from odelet_intercept.libraries.torchdiffeq_calls import TORCHDIFFEQ
from odelet_intercept.libraries.torchsde_calls import TORCHSDE

LIBRARIES: dict[str, Library] = {
    "torchdiffeq": TORCHDIFFEQ,
    "mark": MARK,
    "torchcde": TORCHCDE,
    "torchsde": TORCHSDE,
}


def all_entries() -> tuple[Entry, ...]:
    """The functions to catch, of all libraries that are imported now."""
    return tuple(entry for library in LIBRARIES.values() for entry in library.entries())
