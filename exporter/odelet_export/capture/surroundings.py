"""What surrounds a trace: torch quiet and strict about sizes, weights without gradients, recurrent layers as loops."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch import nn
from torch.export._patches import register_gru_while_loop_decomposition, register_lstm_while_loop_decomposition
from torch.fx.experimental import _config as fx_config

from odelet_export.capture.frames import user_frames
from odelet_export.model.random_draws import distribution_checks_restored

# Loggers that print the failures of tracers, which are explained below or do not matter.
LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "torch._subclasses", "onnxscript")


@contextmanager
def frozen_weights(module: nn.Module) -> Iterator[None]:
    """No gradients of the weights: nothing at inference takes them, and a loop that could is not exportable."""
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in weights:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in weights:
            parameter.requires_grad_(True)


@contextmanager
def recurrent_loops() -> Iterator[None]:
    """Turn recurrent layers into loops, as torch.onnx's own capture does; else their length is baked in."""
    layers = torch.ops.aten.lstm.input, torch.ops.aten.gru.input
    # torch compiles the body of a loop, which turns off the checks of distributions.
    with (
        register_lstm_while_loop_decomposition(),
        register_gru_while_loop_decomposition(),
        distribution_checks_restored(),
    ):
        # An operator remembers the kernel it used last, from an attempt without loops or with them.
        for layer in layers:
            layer._dispatch_cache.clear()
        # What torch keeps of an earlier compilation may fix the length of this loop.
        torch._dynamo.reset()
        try:
            yield
        finally:
            for layer in layers:
                layer._dispatch_cache.clear()


@contextmanager
def quiet_tracing() -> Iterator[None]:
    """No chatter from torch, and no two axes tied because their example sizes happen to be equal."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    duck = fx_config.use_duck_shape
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        fx_config.use_duck_shape = False
        # torch prints half a graph when a trace fails; the model's own words come again when it runs for parity.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), user_frames():
            warnings.simplefilter("ignore")
            yield
    finally:
        fx_config.use_duck_shape = duck
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
