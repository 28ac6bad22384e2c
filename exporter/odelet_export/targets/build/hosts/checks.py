"""Runs the samples of an artifact by ONNX Runtime alone, as a host without odelet would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime

from odelet.artifact.card import Card
from odelet.artifact.samples import OutputCheck, Sample, compare
from odelet_export.targets.build.built import Tested

ENGINE = f"onnxruntime {onnxruntime.__version__}"


def as_it_is(sample: Sample) -> Sample:
    """The sample of an artifact, as a host has it that takes the artifact's inputs and outputs."""
    return sample


def run_samples(
    file: Path, card: Card, samples: list[Sample], *, seen: Callable[[Sample], Sample] = as_it_is
) -> Tested:
    """Run the samples of an artifact by the graph in a file. seen: turns a sample of the artifact into the host's."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class for each code, without a common one
        return Tested(False, f"onnxruntime does not load {file.name}: {error}", ENGINE)
    names = [tensor.name for tensor in card.outputs]
    wrong: list[OutputCheck] = []
    for number, (inputs, outputs, allowed) in enumerate(map(seen, samples)):
        try:
            given = session.run(names, inputs)
        except Exception as error:
            return Tested(False, f"sample {number}: onnxruntime ends with an error: {error}", ENGINE)
        checks = [
            compare(number, name, got, outputs[name], allowed=allowed[name])
            for name, got in zip(names, given, strict=True)
        ]
        wrong += [check for check in checks if not check.passed]
    return result_of(len(samples), wrong)


def result_of(count: int, wrong: list[OutputCheck]) -> Tested:
    """What a test of so many samples says. wrong: the comparisons that did not pass."""
    if not wrong:
        return Tested(True, f"{count} samples, all within what is allowed", ENGINE)
    first = wrong[0]
    text = f"sample {first.sample}: the output {first.output!r} {first.failure}"
    return Tested(False, text + (f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""), ENGINE)
