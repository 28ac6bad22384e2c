"""The target `ort`: a graph in the .ort format of ONNX Runtime, for builds of it that read no other, as on phones."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnxruntime

from odelet.artifact.card import FORMAT_VERSION
from odelet.artifact.folder import Checked, check
from odelet.artifact.samples import Sample, samples_of
from odelet_export.lowering.lower import LoweredModel
from odelet_export.lowering.profiles import GENERAL
from odelet_export.targets.build.built import BuildError, Built, Tested
from odelet_export.targets.build.hosts.checks import run_samples
from odelet_export.targets.build.hosts.fitting import fitted, lone
from odelet_export.targets.onnx_files import write_graphs

GRAPH, OPERATORS = "model.ort", "required_operators.config"
_ERRORS = 3  # the level of ONNX Runtime's log from which on it writes


def writer(checked: Checked, name: str, samples: list[Sample]) -> Callable[[Path], Built]:
    """A function that writes the .ort file and the list of its operators into a folder. name: of the model. samples:
    its samples.

    Raises BuildError for an artifact of several graphs, before anything is written.
    """
    assert checked.folder is not None, "a build takes a folder"
    built = fitted(checked.card, checked.folder, GENERAL)
    file, model = lone(built, "ort")

    def write(folder: Path) -> Built:
        with tempfile.TemporaryDirectory() as there:
            lowered = LoweredModel({file: model}, built.card.program, list(built.card.solves))
            write_graphs(lowered, replace(built.card, format=FORMAT_VERSION, files={}), Path(there))
            before = sum(path.stat().st_size for path in Path(there).iterdir())
            _convert(Path(there, file), folder)
        size = (folder / GRAPH).stat().st_size
        notes = (f"{GRAPH} {size:,} bytes, {size / before:.2f} times the graph in ONNX",)
        return Built(name, (GRAPH, OPERATORS), samples=len(samples), notes=notes)

    return write


def _convert(file: Path, folder: Path) -> None:
    """Convert a graph, as ONNX Runtime's own tool does, and list its operators. Raises BuildError where it fails."""
    from onnxruntime.tools.ort_format_model import create_config_from_models

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    options.optimized_model_filepath = str(folder / GRAPH)
    options.add_session_config_entry("session.save_model_format", "ORT")
    try:
        # That transformer makes a graph for processors of one kind.
        onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
        )
    except Exception as error:  # ONNX Runtime has a class for each code, without a common one
        raise BuildError(f"onnxruntime {onnxruntime.__version__} does not convert {file.name}: {error}") from None
    listed = folder / OPERATORS
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)  # it writes the path of each file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it does not close the files that it reads
        create_config_from_models([folder / GRAPH], listed, enable_type_reduction=False)
    # The first lines are comments, which name paths of this machine.
    lines = [line for line in listed.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tested(folder: Path, built: Built, artifact: Path) -> Tested:
    """Run the samples of the artifact by the .ort file."""
    card = check(artifact).card
    return run_samples(folder / GRAPH, card, samples_of(card, artifact))
