"""Settings of torch during a trace: context managers, each of which puts its changes back on leaving."""

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
from odelet_export.model.distribution_checks import distribution_checks_restored

# torch's loggers that print the failures of tracers. `failures` explains those that end a capture.
LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "torch._subclasses", "onnxscript")


@contextmanager
def frozen_weights(module: nn.Module) -> Iterator[None]:
    """Let no weight of a module require a gradient.

    Nothing takes these gradients at inference, and torch does not export a loop that might take them.
    """
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
    """Trace LSTM and GRU layers as loops, so that the length of a sequence may change; else it is fixed in the trace.

    torch.onnx does the same where it captures a model itself.
    """
    layers = torch.ops.aten.lstm.input, torch.ops.aten.gru.input
    # torch compiles the body of a loop, which turns off the checks of distributions.
    with (
        register_lstm_while_loop_decomposition(),
        register_gru_while_loop_decomposition(),
        distribution_checks_restored(),
    ):
        # An operator caches the kernel that it used last, which may be the kernel of a trace without loops.
        for layer in layers:
            layer._dispatch_cache.clear()
        # The state that torch keeps of an earlier compilation may fix the length of this loop.
        torch._dynamo.reset()
        try:
            yield
        finally:
            for layer in layers:
                layer._dispatch_cache.clear()


@contextmanager
def _one_library() -> Iterator[None]:
    """Let torch know of no other library for convolutions and recurrent layers.

    To choose between them it asks whether a batch is under 16, so that a trace would hold for such batches alone.
    """
    mkldnn, nnpack = torch._C._get_mkldnn_enabled(), torch._C._get_nnpack_enabled()
    try:
        torch._C._set_mkldnn_enabled(False)
        torch._C._set_nnpack_enabled(False)
        yield
    finally:
        torch._C._set_mkldnn_enabled(mkldnn)
        torch._C._set_nnpack_enabled(nnpack)


@contextmanager
def quiet_tracing() -> Iterator[None]:
    """Silence torch's loggers, warnings and stderr, record the user's frames, and tie no axes of equal example size.

    By default torch takes two axes for one where their sizes are equal on the example (duck shaping).
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    duck = fx_config.use_duck_shape
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        fx_config.use_duck_shape = False
        # torch prints half a graph when a trace fails. The model's own output is seen when the model runs for parity.
        with (
            warnings.catch_warnings(),
            redirect_stderr(io.StringIO()),
            user_frames(),
            _one_library(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        fx_config.use_duck_shape = duck
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
