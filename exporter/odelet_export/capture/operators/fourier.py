"""Decompositions of Fourier transforms between real and complex tensors along axes whose length may change.

ONNX's operator returns half of a spectrum, or takes one, if it is told the signal's length. Where the length is no
constant, the rules of opset 20 for shapes take the length of the input for that of the output, and ONNX Runtime then
puts the output into the memory of a tensor of another length, which fails. The transforms of whole spectra keep the
length of their input, so that the rules are right for them. In float64, ONNX Runtime's inverse transform divides by the
length in float32; the forward transform divides by nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NotImplementedType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from odelet_export.capture.operators.complex_parts import joined, parts_of

aten = torch.ops.aten


def half_spectrum(x: Tensor, dim: Sequence[int], norm: int, onesided: bool) -> Tensor | NotImplementedType:
    """aten._fft_r2c: the first half of the whole spectrum.

    x: real. dim: the axes to transform, of which the last is halved. norm: torch's number of the normalisation.
    """
    size = x.shape[dim[-1]]
    if not onesided or not isinstance(size, torch.SymInt):
        return NotImplemented
    # Indices say nothing of sizes, while a slice would have torch compare its end with the axis, and fix the length.
    return aten._fft_r2c(x, dim, norm, False).index_select(dim[-1], torch.arange(size // 2 + 1))


def from_half_spectrum(x: Tensor, dim: Sequence[int], norm: int, size: int) -> Tensor | NotImplementedType:
    """aten._fft_c2r: the inverse transform of the whole spectrum, whose other half is the conjugate in reverse.

    x: complex, with size // 2 + 1 elements in the last axis of dim. dim, norm: as in half_spectrum. size: the length of
    the result in that axis.
    """
    *others, last = dim
    if not isinstance(size, torch.SymInt) and x.dtype is not torch.complex128:
        return NotImplemented
    half = aten._fft_c2c(x, others, norm, False) if others else x
    places = torch.arange(size)
    given = places <= size // 2
    real, imaginary = (part.index_select(last, torch.where(given, places, size - places)) for part in parts_of(half))
    along = [-1 if axis == last % x.ndim else 1 for axis in range(x.ndim)]
    sign = torch.where(given, 1.0, -1.0).to(real.dtype).reshape(along)
    return aten._fft_c2c(joined(real, imaginary * sign), [last], norm, False).real


def inverse(x: Tensor, dim: Sequence[int], norm: int, forward: bool) -> Tensor | NotImplementedType:
    """aten._fft_c2c in complex128: an inverse transform as a forward one of numbers whose parts are exchanged.

    dim, norm: as in half_spectrum.
    """
    if forward or x.dtype is not torch.complex128:
        return NotImplemented
    return _exchanged(aten._fft_c2c(_exchanged(x), dim, norm, True))


def _exchanged(x: Tensor) -> Tensor:
    real, imaginary = parts_of(x)
    return joined(imaginary, real)


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten._fft_r2c.default: half_spectrum,
    aten._fft_c2r.default: from_half_spectrum,
    aten._fft_c2c.default: inverse,
}
