"""Loads an artifact as a model."""

from __future__ import annotations

import os

from odelet.engine.opening import ONNX_RUNTIME
from odelet.model.model import Model


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int | str | None = None,
    interruptible: bool = False,
    memory: int | None = None,
    engine: str = ONNX_RUNTIME,
    library: str | os.PathLike[str] | None = None,
    try_engine: bool = True,
    deadline: float | None = None,
) -> Model:
    """Load an artifact's folder, or a lone .onnx file of a self-contained form.

    device: "cpu" or "cuda". threads: how many threads work inside one operator; None takes 1, and up to 4 where an
    operator is so large that more threads pay, as the card and the sizes of a call say. "measured" finds the fastest
    number: the first call of some sizes is timed with 1, 2, 4, ... threads, and the choice is kept in this user's cache
    for later loads (docs/serving.md). interruptible: whether Ctrl-C, or another signal whose handler raises, ends a
    call at once. Without it Python runs the handler when the graph has ended, and a solve inside a graph may take long.
    With it the graphs of a call from the main thread run in another thread, which costs about 0.1 ms; calls from other
    threads and inside the event loop of asyncio are as without it.
    memory: how many bytes the model's graphs may take together while they run, beside the weights; a call that needs
    more raises MemoryLimitError, an ArtifactError. docs/serving.md says what counts.
    engine: "onnxruntime", or "native": a library that `odelet build ARTIFACT --target native` made of this artifact on
    this machine. It is code, and nothing of it is loaded unless this asks for it. library: the folder of that library;
    None for the cache of this user, where the build puts it.
    try_engine: whether to run the artifact's samples before anything else where the installed ONNX Runtime is none that
    odelet was tested with; this happens once in a process for each artifact, and takes as long as a few calls.
    deadline: seconds for this trial; None is no limit. Calls have a deadline of their own.

    The files are read once, and no call looks at them again.

    Raises ArtifactError when a file is missing, damaged or newer than this odelet, EngineError (an ArtifactError) for
    an ONNX Runtime that is too old or does not give torch's answers for the samples, and InputError for a device that
    is not there.

    >>> import odelet
    >>> model = odelet.load("out")
    >>> print(*model.outputs)
    float32 [3, batch, 3]
    """
    return Model(
        path,
        device=device,
        threads=threads,
        interruptible=interruptible,
        memory=memory,
        engine=engine,
        library=library,
        try_engine=try_engine,
        deadline=deadline,
    )
