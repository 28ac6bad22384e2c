"""Reports a model that cannot be exported because it does not run at all by torch's own error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from odelet_export.errors import ParityError
from odelet_export.model.call_arguments import check_runs
from odelet_intercept.errors import ExportError


@contextmanager
def plain_torch_first(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Run the model on its example in plain torch if the export in the `with` block fails.

    Raises InputError where the model fails there too, as that error is easier to understand; else the error of the
    export.
    """
    try:
        yield
    except ParityError:
        raise  # the model ran
    except ExportError:
        check_runs(model, args, kwargs)
        raise
