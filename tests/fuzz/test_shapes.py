"""Outputs that have other shapes than their graphs state: each output of each graph of the corpus, one at a time."""

from collections import Counter

import onnx
import pytest

import odelet
from fuzz.mutants import OLD, folder_of, origins, seal
from fuzz.shape_mutations import given_shape
from odelet.artifact.folder import check
from odelet.artifact.samples import samples_of
from odelet.errors import ArtifactError, SolveError

NAMES = [name for name in origins() if not name.endswith(OLD)]


def outputs_of(files):
    for name in [name for name in files if name.endswith(".onnx")]:
        for output in onnx.ModelProto.FromString(files[name]).graph.output:
            yield name, output.name


@pytest.mark.slow
@pytest.mark.parametrize("shape", [[], [2, 3], [0]], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_shape_is_the_fault_of_the_artifact(tmp_path, name, shape):
    """Where it can be told from the right one. A time of the driver's own may also be none that a solve can take."""
    inputs = samples_of(check(folder_of(name)).card, folder_of(name))[0][0]
    found = Counter()
    for number, (file, output) in enumerate(outputs_of(origins()[name])):
        files = dict(origins()[name])
        model = onnx.ModelProto.FromString(files[file])
        given_shape(model.graph, output, shape)
        files[file] = model.SerializeToString()
        assert seal(files)
        folder = tmp_path / str(number)
        folder.mkdir()
        for key, data in files.items():
            (folder / key).write_bytes(data)
        try:
            odelet.load(folder).solve(**inputs)
        except (ArtifactError, SolveError) as error:
            found[type(error).__name__] += 1
        else:
            found["answer"] += 1
    assert found["ArtifactError"]
