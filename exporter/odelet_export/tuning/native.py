"""Libraries of native code among the candidates of a tuning: whether they can be built, and of which candidates.

The law here: only the fastest of the candidates that are accurate enough are built, as that takes seconds. A library
has the answers of the graphs that it is built from, which have the sizes of one call: the steps of `bounded` are found
on calls, too, and its row has an error of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec

from odelet_export.lowering.forms import FORMS
from odelet_export.lowering.forms.loop_free import LOOP_FREE
from odelet_export.targets.build.built import BuildError
from odelet_export.targets.build.c.compiler import compiler
from odelet_export.tuning.candidates import Candidate
from odelet_export.tuning.record import Row

# At most so many candidates are built. No other is begun once the builds have taken so many seconds together.
MOST, SECONDS = 4, 90.0


def unavailable(numbers: Iterable[str] = ()) -> str:
    """Why no library can be built, as a clause; "" where one can be. numbers: the inputs that are Python numbers."""
    if names := ", ".join(numbers):
        return f"a library takes no Python numbers as inputs, and the model has {names}"
    try:
        if compiler() is None:
            return "no C compiler is installed"
    except BuildError as error:
        return str(error)
    return "" if find_spec("emx_onnx_cgen") else 'it takes emx-onnx-cgen: pip install "odelet[c]"'


def twin(candidate: Candidate) -> Candidate:
    """The candidate whose library has the answers of another candidate."""
    # A form without loops in its graphs stays as it is; the loops of all others are written in C.
    form = FORMS.get(candidate.form, LOOP_FREE)
    without_loops = form.straight or form.loops_outside
    return replace(candidate, form=form.name if without_loops else LOOP_FREE.name, native=True)


def promising(rows: Iterable[Row], target: float) -> Sequence[Candidate]:
    """The candidates to build, the fastest in ONNX Runtime first. rows: on all calls; a row above the time budget
    counts too, as a library may be within it."""
    # Code in C has its weights as they are.
    rows = [row for row in rows if not row.candidate.native and row.candidate.weights is None]
    good = sorted((row for row in rows if row.worst <= target), key=lambda row: row.time)
    return list(dict.fromkeys(twin(row.candidate) for row in good))[:MOST]
