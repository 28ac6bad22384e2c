"""Packed sequences, `pack_padded_sequence(x, lengths)`, as the padded rows with their lengths.

A packed sequence has as many rows as the lengths sum up to, a size that a graph does not know. In a trace the packed
rows are all rows of the padded batch, time after time, and each sequence ends at its length in the functions that take
them: recurrent layers, and the return to a padded batch. Any other function would see rows beyond the ends, and is
refused. What torch asks of lengths becomes assumptions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

import odelet_export
from odelet_intercept.errors import CaptureError
from odelet_intercept.user_code import user_frame, with_source

Rewritten = Callable[[], Any] | None

# What is added to a gate of an LSTM so that it is closed, or open, whatever else it gets.
_SATURATED = 1e4


@dataclass(frozen=True)
class _Batch:
    """A padded batch, (times, rows, ...), whose sizes may be symbolic, and the lengths of its sequences, (rows,)."""

    padded: torch.Tensor
    lengths: torch.Tensor

    @property
    def times(self) -> Any:
        """The number of times, which may be symbolic."""
        return self.padded.shape[0]

    @property
    def rows(self) -> Any:
        """The number of sequences, which may be symbolic."""
        return self.padded.shape[1]


# The batches of the tensors that stand for packed rows, and for the numbers of sequences at each time.
_ROWS: MutableMapping[torch.Tensor, _Batch] = WeakTensorKeyDictionary()
_COUNTS: MutableMapping[torch.Tensor, _Batch] = WeakTensorKeyDictionary()
# The files of torch whose code handles packed sequences, and files between them and this one.
_HANDLING = tuple(os.path.join("torch", "nn", folder, "rnn.py") for folder in ("utils", "modules"))
_BETWEEN = (
    os.path.dirname(os.path.abspath(odelet_export.__file__)) + os.sep,
    os.path.join(os.path.dirname(os.path.abspath(torch.__file__)), ""),
)


def refuse_other_functions(name: str, args: Sequence[Any]) -> None:
    """Raise CaptureError where other code than torch's own looks at packed rows or at their numbers.

    name: the name of the torch function that looks.
    """
    if not len(_ROWS) or name in PACKING:
        return
    if any(isinstance(x, torch.Tensor) and (x in _ROWS or x in _COUNTS) for x in args) and not _asked_by_layers():
        raise _of_rows(name)


def _asked_by_layers() -> bool:
    """Whether torch's functions for packed sequences, or its recurrent layers, call what runs now."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        if frame.f_code.co_filename.endswith(_HANDLING):
            return True
        frame = frame.f_back
    return False


def _of_rows(what: str) -> CaptureError:
    return CaptureError(
        f"{with_source(user_frame())}\n  found: {what} of the rows of a packed sequence, whose number depends on the "
        "values of the lengths\n  do: compute with the padded batch, before it is packed or after pad_packed_sequence"
    )


def packed(args: Sequence[Any], _kwargs: Mapping[str, Any], _numbers: object) -> Rewritten:
    """A rewrite of the function behind `pack_padded_sequence`, which takes a batch, its lengths and `batch_first`."""
    x, lengths, batch_first = args

    def pack() -> tuple[torch.Tensor, torch.Tensor]:
        padded = x.transpose(0, 1) if batch_first else x
        times, rows = padded.shape[:2]
        # What torch checks, too; it takes lengths in falling order.
        in_order = (lengths[1:] <= lengths[:-1]).all()
        if not bool(((lengths > 0) & (lengths <= times)).all() & in_order):
            raise RuntimeError(f"lengths must be from 1 to {times}, and in decreasing order")
        batch = _Batch(padded, lengths)
        data, counts = padded.flatten(0, 1), torch.full((times,), rows, dtype=torch.int64)
        _ROWS[data], _COUNTS[counts] = batch, batch
        return data, counts

    return pack


def unpacked(args: Sequence[Any], _kwargs: Mapping[str, Any], _numbers: object) -> Rewritten:
    """A rewrite of the function behind `pad_packed_sequence`, of whose batch the longest sequence fills the length."""
    data, counts, batch_first, padding, total = args
    if (batch := _known(data, counts)) is None:
        return None

    def unpack() -> tuple[torch.Tensor, torch.Tensor]:
        rows = batch.padded
        within = _within(batch).reshape(batch.times, batch.rows, *[1] * (rows.ndim - 2))
        padded = torch.where(within, rows, torch.full((), padding, dtype=rows.dtype))
        if total is batch.times:  # no other length was asked for
            longest = batch.lengths.max()
            if not bool(longest == batch.times):
                padded = padded[: int(longest)]
        elif total != batch.times:
            padded = nn.functional.pad(padded, (0, 0) * (rows.ndim - 1) + (0, total - batch.times), value=padding)
        return (padded.transpose(0, 1) if batch_first else padded), batch.lengths

    return unpack


def first_count(args: Sequence[Any], _kwargs: Mapping[str, Any], _numbers: object) -> Rewritten:
    """A rewrite of `batch_sizes[0]`, which is the number of sequences."""
    if not isinstance(args[1], int) or args[1] or (batch := _COUNTS.get(args[0])) is None:
        return None
    return lambda: torch.full((), batch.rows, dtype=torch.int64)


def recurrent(kind: str) -> Callable[[Sequence[Any], Mapping[str, Any], object], Rewritten]:
    """A rewrite of a recurrent layer on packed rows. kind: the name of torch's function: gru, lstm, rnn_tanh, ..."""

    def rewrite(args: Sequence[Any], _kwargs: Mapping[str, Any], _numbers: object) -> Rewritten:
        if (batch := _known(args[0], args[1])) is None:
            return None
        data, _, start, weights, biases, layers, dropout, training, both_ways = args
        if training and dropout:
            raise _of_rows("dropout between layers")
        starts = start if kind == "lstm" else (start,)

        def run() -> tuple[torch.Tensor, ...]:
            x = batch.padded
            ways, last = 2 if both_ways else 1, []
            each = len(weights) // (layers * ways)
            for layer in range(layers):
                outputs = []
                for way in range(ways):
                    number = layer * ways + way
                    own = weights[each * number : each * (number + 1)]
                    output, ends = _way(
                        kind, x, batch, [s[number] for s in starts], own, biases=biases, backwards=way == 1
                    )
                    outputs.append(output)
                    last.append(ends)
                x = torch.cat(outputs, -1)
            result = x.flatten(0, 1)
            _ROWS[result] = _Batch(x, batch.lengths)
            return (result, *(torch.stack(part) for part in zip(*last, strict=True)))

        return run

    return rewrite


def _way(
    kind: str,
    x: torch.Tensor,
    batch: _Batch,
    starts: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    *,
    biases: bool,
    backwards: bool,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The outputs of one layer in one direction, (times, rows, features), and its states at the ends, each (rows,
    features). Backwards, each sequence is reversed within its own length."""
    if backwards:
        x = _reversed(x, batch)
    if kind == "lstm":
        # Beyond the end of a sequence the input gate is closed and the forget gate open, so that the cell keeps its
        # state. The gates are those of input, forgetting, cell and output, in this order.
        quarter = weights[0].shape[0] // 4
        signs = torch.cat([torch.full((quarter, 1), sign, dtype=x.dtype) for sign in (-1.0, 1.0, 0.0, 0.0)])
        beyond = (~_within(batch)).to(x.dtype).unsqueeze(-1)
        x, weights = torch.cat([x, beyond], -1), [torch.cat([weights[0], _SATURATED * signs], 1), *weights[1:]]
    function = getattr(torch, kind)
    first = [start.unsqueeze(0) for start in starts]
    output, *cells = function(x, first if kind == "lstm" else first[0], weights, biases, 1, 0.0, False, False, False)
    place = (batch.lengths - 1).reshape(1, -1, 1).expand(1, batch.rows, output.shape[-1])
    ends = [output.gather(0, place).squeeze(0), *(cell.squeeze(0) for cell in cells[1:])]
    return (_reversed(output, batch) if backwards else output), ends


def _within(batch: _Batch) -> torch.Tensor:
    """Whether each sequence has a row at each time, (times, rows)."""
    return torch.arange(batch.times).unsqueeze(1) < batch.lengths.unsqueeze(0)


def _reversed(x: torch.Tensor, batch: _Batch) -> torch.Tensor:
    """The rows of each sequence in reverse order; those beyond its end stay."""
    time = torch.arange(batch.times).unsqueeze(1)
    place = torch.where(_within(batch), batch.lengths.unsqueeze(0) - 1 - time, time)
    return x.gather(0, place.unsqueeze(-1).expand(x.shape))


def _known(data: object, counts: object) -> _Batch | None:
    """The batch that packed rows come from; None where they are torch's own. Raises CaptureError for other rows."""
    if not isinstance(counts, torch.Tensor) or counts not in _COUNTS:
        return None
    if not isinstance(data, torch.Tensor) or data not in _ROWS:
        raise _of_rows("a function")
    return _ROWS[data]


PACKING = {
    "_pack_padded_sequence": packed,
    "_pad_packed_sequence": unpacked,
    **{kind: recurrent(kind) for kind in ("gru", "lstm", "rnn_tanh", "rnn_relu")},
}


@contextmanager
def packed_layers() -> Iterator[None]:
    """Let recurrent layers check the states that they begin with against the symbolic size of a packed batch."""
    original, name = nn.RNNBase.get_expected_hidden_size, "get_expected_hidden_size"

    def expected(self: nn.RNNBase, x: torch.Tensor, counts: torch.Tensor | None) -> Any:
        if counts is None or (batch := _COUNTS.get(counts)) is None:
            return original(self, x, counts)
        return self.num_layers * (2 if self.bidirectional else 1), batch.rows, self.proj_size or self.hidden_size

    setattr(nn.RNNBase, name, expected)
    try:
        yield
    finally:
        setattr(nn.RNNBase, name, original)
