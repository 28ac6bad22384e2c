"""The notices of a build: those of odelet, of the generator, and of nobody else."""

from importlib.metadata import files
from pathlib import Path

import pytest

from odelet.artifact.operators import OPERATORS
from odelet_export.targets.build.c.beside import license_text

pytest.importorskip("emx_onnx_cgen")


def test_the_notices_name_odelet_and_the_generator_with_its_licence():
    text = license_text("net")
    (file,) = [file for file in files("emx-onnx-cgen") if file.name == "LICENSE"]
    licence = file.read_text(encoding="utf-8")
    assert "Apache License" in licence and "Copyright 2025-present emmtrix Technologies GmbH" in licence
    assert licence in text
    # The licence asks for a notice that the text was changed.
    assert "emx-onnx-cgen 1." in text and "changed by odelet" in text
    assert "odelet, Copyright the odelet authors, licensed under the Apache License, Version 2.0" in text
    for name in ("odelet_net.c", "odelet_net.h", "test_net.c", "samples.h", "Makefile"):
        assert name in text


def test_the_generator_has_text_of_others_for_no_operator_that_an_artifact_may_have():
    import emx_onnx_cgen

    place = Path(emx_onnx_cgen.__file__).parent
    others = [path.name for path in (place / "third_party").rglob("*") if path.suffix in (".h", ".c")]
    assert others == ["stb_image.h"]
    users = [
        path.name for path in (place / "templates").glob("*.j2") if "stb_image" in path.read_text(encoding="utf-8")
    ]
    assert users and all(name.startswith("image_decoder") for name in users)
    assert "ImageDecoder" not in OPERATORS
    templates = (place / "templates").glob("*.j2")
    said = [path.name for path in templates if "copyright" in path.read_text(encoding="utf-8").lower()]
    assert said == []
