"""Settings of torch during a trace: context managers, each of which puts its changes back on leaving."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from typing import Any

import torch
from torch import _meta_registrations, nn
from torch._decomp import decompositions
from torch.export import _patches
from torch.export._patches import register_gru_while_loop_decomposition, register_lstm_while_loop_decomposition
from torch.fx.experimental import _config as fx_config

from odelet_export.capture.frames import user_frames
from odelet_export.capture.sizes.packing import packed_layers
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


# A layer on a sequence of a fixed length is a loop only above this length: torch compiles each loop, for seconds.
_LONG = 64


@contextmanager
def _loops_over_long_sequences() -> Iterator[None]:
    """Let torch make loops only for sequences whose length may change, or is large."""

    def chosen(loop: Callable[..., Any], steps: Callable[..., Any]) -> Callable[..., Any]:
        def layer(inp: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            length = inp.shape[0]
            short = not isinstance(length, torch.SymInt) and length <= _LONG
            return steps(inp, *args, **kwargs) if short else loop(inp, *args, **kwargs)

        return layer

    plain: dict[str, Callable[..., Any]] = {
        "one_layer_while_loop_lstm": decompositions.one_layer_lstm,
        "one_layer_while_loop_gru": partial(decompositions.one_layer_rnn, hidden_fn=decompositions.gru_cell),
    }
    loops = {name: getattr(_patches, name) for name in plain}
    try:
        for name, loop in loops.items():
            setattr(_patches, name, chosen(loop, plain[name]))
        yield
    finally:
        for name, loop in loops.items():
            setattr(_patches, name, loop)


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
        _loops_over_long_sequences(),
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
def _transforms_in_rows() -> Iterator[None]:
    """Let the results of Fourier transforms lie in memory like new tensors, while torch traces.

    To find out how torch would lay them out it compares the sizes of axes, so that a trace would hold for unequal
    sizes alone. A graph has no such layout.
    """
    layout = _meta_registrations._exec_fft
    try:
        _meta_registrations._exec_fft = lambda out, *args, **kwargs: out
        yield
    finally:
        _meta_registrations._exec_fft = layout


@contextmanager
def quiet_tracing() -> Iterator[None]:
    """Silence torch's loggers, warnings and stderr, record the user's frames, and assume little of sizes.

    By default torch takes two axes for one where their sizes are equal on the example (duck shaping). Where it may
    choose a shorter way for some sizes only, as to leave out a slice that takes all, it asks the example and notes a
    condition. Here it takes the way that is right for all sizes, wherever it knows one (oblivious of backed sizes).
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    duck, oblivious = fx_config.use_duck_shape, fx_config.backed_size_oblivious
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        fx_config.use_duck_shape, fx_config.backed_size_oblivious = False, True
        # torch prints half a graph when a trace fails. The model's own output is seen when the model runs for parity.
        with (
            warnings.catch_warnings(),
            redirect_stderr(io.StringIO()),
            user_frames(),
            _one_library(),
            _transforms_in_rows(),
            packed_layers(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        fx_config.use_duck_shape, fx_config.backed_size_oblivious = duck, oblivious
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
