"""Decompositions of operators that quantize a number and take it back, as models trained for quantization call them.

Source: torch, aten/src/ATen/native/quantized/FakeQuantPerTensorAffine.cpp: q = round(x / scale) + zero_point, held
within its range; the result is (q - zero_point) scale. Halves are rounded to even.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

aten = torch.ops.aten


def fake_quantize(x: Tensor, scale: float, zero_point: int, quant_min: int, quant_max: int) -> tuple[Tensor, Tensor]:
    """The number that x is after quantization, and whether it was within the range."""
    quantized = torch.round(x * (1.0 / scale)) + zero_point
    held = torch.clamp(quantized, quant_min, quant_max)
    return (held - zero_point) * scale, (quantized >= quant_min) & (quantized <= quant_max)


def learned_fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, enabled: Tensor, quant_min: int, quant_max: int
) -> tuple[Tensor, Tensor]:
    """As `fake_quantize`, with the scale and the zero point in tensors of one number; enabled: whether to quantize."""
    scale, zero = scale.to(x.dtype).reshape(()), zero_point.to(x.dtype).reshape(())
    quantized = torch.round(x * (1.0 / scale)) + zero
    held = torch.clamp(quantized, quant_min, quant_max)
    on = (enabled != 0).reshape(())
    inside = (quantized >= quant_min) & (quantized <= quant_max)
    return torch.where(on, (held - zero) * scale, x), inside | ~on


DECOMPOSITIONS: dict[OpOverload, Callable[..., Any]] = {
    aten.fake_quantize_per_tensor_affine_cachemask.default: fake_quantize,
    aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default: learned_fake_quantize,
}
