"""The target `web`: an artifact whose graphs every JavaScript engine of ONNX Runtime takes, WebGPU included."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from odelet import load, verify
from odelet.artifact.card import FORMAT_VERSION
from odelet.artifact.folder import CARD_FILE, SAMPLES_FILE, Checked
from odelet.artifact.samples import Sample
from odelet_export.lowering.lower import LoweredModel
from odelet_export.lowering.profiles import WEB
from odelet_export.targets.build.built import Built, Tested
from odelet_export.targets.build.hosts.checks import result_of
from odelet_export.targets.build.hosts.fitting import Defaults, fitted
from odelet_export.targets.folder import with_files, write_card
from odelet_export.targets.onnx_files import write_graphs

SETTINGS_FILE = "settings.json"


def writer(checked: Checked, name: str, samples: list[Sample]) -> Callable[[Path], Built]:
    """A function that writes the artifact for JavaScript into a folder. name: of the model. samples: its samples.

    Raises BuildError for what the profile does not have, before anything is written.
    """
    source = checked.folder
    assert source is not None, "a build takes a folder"
    built = fitted(checked.card, source, WEB)

    def write(folder: Path) -> Built:
        lowered = LoweredModel(dict(built.graphs), built.card.program, list(built.card.solves))
        card = write_graphs(lowered, replace(built.card, format=FORMAT_VERSION, files={}), folder)
        shutil.copyfile(source / SAMPLES_FILE, folder / SAMPLES_FILE)
        (folder / SETTINGS_FILE).write_text(_settings_text(built.defaults), encoding="utf-8")
        card = with_files(card, folder, [SAMPLES_FILE, SETTINGS_FILE])
        write_card(card, folder)
        size = sum(entry.bytes for entry in card.files.values())
        return Built(name, (CARD_FILE, *card.files), samples=len(samples), notes=(f"{size:,} bytes in all",))

    return write


def tested(folder: Path, built: Built, _artifact: Path) -> Tested:
    """Run the samples of the artifact by odelet's runtime, which feeds the settings as another host has to."""
    checks = verify(load(folder)).checks
    return result_of(built.samples, [one for one in checks if not one.passed])


def _settings_text(defaults: Defaults) -> str:
    """The settings that a host has to feed, by the name of their input, as JSON."""
    entries = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "default": _numbers(array)}
        for name, array in defaults.items()
    }
    return json.dumps(entries, indent=2) + "\n"


def _numbers(array: np.ndarray[Any, Any]) -> Any:
    """The numbers of a setting, in as few digits as tell them."""
    if array.ndim:
        return [_numbers(np.asarray(x)) for x in array]
    return int(array) if array.dtype.kind == "i" else float(str(array[()]))
