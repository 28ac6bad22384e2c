"""Ways in which a C compiler fails a build: the message names the compiler, how it ended, and its command."""

import errno
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from support.generated import generated_once
from support.models_static import STATIC

import odelet
from odelet.engine import native, user_cache
from odelet.errors import ArtifactError
from odelet_export import BuildError, CompilerError, OutputError, build, export
from odelet_export.pipeline.build import BUILD_FILE
from odelet_export.targets.build.c import compiler
from odelet_export.targets.build.roster import TARGETS

pytestmark = [
    pytest.mark.skipif(find_spec("emx_onnx_cgen") is None, reason="emx-onnx-cgen is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="the compilers of these tests are scripts of a shell"),
]
OUTPUT = 'while [ "$1" != -o ]; do shift; done; '
# What a compiler does, and what is then said of it.
FAILURES = {
    "silent": ("exit 1", "ended with exit status 1 and said nothing"),
    "talking": ("echo 'No space left on device' >&2; exit 4", "exit status 4 and said: No space left on device"),
    "other text": ("printf '\\377 is wrong'; exit 1", "exit status 1 and said: . is wrong"),
    "killed": ("kill -9 $$", "was ended by the signal SIGKILL, as on a machine whose memory is full"),
    "crashed": ("kill -11 $$", "was ended by the signal SIGSEGV and said nothing"),
    "without a result": ("exit 0", r"made no file (test|odelet_net\.\w+)"),
    "endless": ("sleep 60 & wait", "took more than 0.5 s and was ended"),
}


@pytest.fixture(scope="module", autouse=True)
def asked_once():
    with generated_once():
        yield


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    torch.manual_seed(0)
    model, args, settings = STATIC["unrolled"]()
    folder = tmp_path_factory.mktemp("compilers") / "artifact"
    export(model, args, folder, quick=True, samples=1, profile="c", **settings)
    return folder


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Let CC name a script with these lines."""

    def named(text, head="#!/bin/sh\n"):
        path = tmp_path / "my cc"
        path.write_text(f"{head}{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv("CC", f"'{path}'")
        return path

    return named


def left(out):
    """The names of what a build left at its place and beside it."""
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith(out.name))


@pytest.mark.parametrize("target", ["c", "native"])
@pytest.mark.parametrize("text, said", FAILURES.values(), ids=FAILURES)
def test_a_compiler_that_fails_is_named_with_its_command(target, text, said, artifact, script, tmp_path, monkeypatch):
    path = script(text)
    monkeypatch.setattr(compiler, "_SECONDS", 0.5 if "sleep" in text else 60)
    start = time.monotonic()
    with pytest.raises(CompilerError, match=said) as caught:
        build(artifact, target, tmp_path / "build", name="net")
    assert time.monotonic() - start < 30  # what the compiler began does not keep the build
    message = str(caught.value)
    assert message.startswith(f"the C compiler '{path}' ") and f"was left in {tmp_path / 'build.failed'}" in message
    assert f"'{path}' -std=c99" in message and "odelet_net.c" in message
    assert left(tmp_path / "build") == ["build.failed"]
    assert (tmp_path / "build.failed" / "odelet_net.c").is_file()
    if text == "exit 1":  # the next failure takes the place of this one
        with pytest.raises(CompilerError):
            build(artifact, target, tmp_path / "build", name="net")


@pytest.mark.parametrize("target", ["c", "native"])
@pytest.mark.parametrize(
    "named, said",
    [
        ("no-such-compiler -m32", "CC='no-such-compiler -m32': there is no program 'no-such-compiler'"),
        ("'cc", 'CC="\'cc" cannot be read as the words of a command'),
        ("''", "there is no program ''"),
    ],
)
def test_a_name_of_no_compiler_is_refused_before_anything_is_written(
    target, named, said, artifact, tmp_path, monkeypatch
):
    monkeypatch.setenv("CC", named)
    with pytest.raises(BuildError, match=f"{said}.*leave CC out for cc, gcc or clang"):
        build(artifact, target, tmp_path / "build")
    assert left(tmp_path / "build") == []


@pytest.mark.parametrize("target", ["c", "native"])
def test_a_file_that_is_no_program_is_refused(target, artifact, script, tmp_path):
    script("\0\0\0", head="\x7fELF")
    with pytest.raises(CompilerError, match=r"my cc' cannot be run \(Exec format error\)"):
        build(artifact, target, tmp_path / "build")


@pytest.mark.parametrize(
    "target, said",
    [
        ("native", "this machine cannot load the library that .* compiles for another machine.*leave CC out"),
        ("c", r"the test that .*cc' compiled cannot be run \(Exec format error\).*RUN=qemu-arm"),
    ],
)
def test_a_compiler_for_another_machine_is_told_apart(target, said, artifact, script, tmp_path):
    # This writes the head of a program and no more, as of another machine.
    script(OUTPUT + 'printf \'\\177ELF\\001\\001\' > "$2"; chmod +x "$2"')
    with pytest.raises(CompilerError, match=said):
        build(artifact, target, tmp_path / "build")
    assert left(tmp_path / "build") == ["build.failed"]


@pytest.mark.parametrize(
    "does, said", [("kill -6 $$", "the test was ended by the signal SIGABRT"), ("exit 7", "ended with exit status 7")]
)
def test_a_test_that_ends_early_is_no_success(does, said, artifact, script, tmp_path):
    script(OUTPUT + f'printf \'#!/bin/sh\\n{does}\\n\' > "$2"; chmod +x "$2"')
    with pytest.raises(Exception, match=said) as caught:
        build(artifact, "c", tmp_path / "build")
    assert caught.value.exit_code == 3


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(artifact, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "library"
    monkeypatch.setitem(TARGETS, "native", replace(TARGETS["native"], place=lambda digest: place))
    with pytest.raises(OutputError, match="library: it cannot be written .*name another folder with --out.*library="):
        build(artifact, "native")


@pytest.mark.parametrize("target", ["c", "native"])
def test_a_full_disk_leaves_nothing_behind(target, artifact, tmp_path, monkeypatch):
    write, count = Path.write_text, [0]

    def full(path, *args, **options):
        if "build" in str(path):
            count[0] += 1
            if count[0] == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="it cannot be written .No space left on device"):
        build(artifact, target, tmp_path / "build")
    assert left(tmp_path / "build") == []


def test_no_folder_for_temporary_files(artifact, tmp_path, monkeypatch):
    def none(*args, **options):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(compiler.tempfile, "TemporaryDirectory", none)
    with pytest.raises(OutputError, match="No usable temporary directory found"):
        build(artifact, "c", tmp_path / "build")
    assert left(tmp_path / "build") == [] and tempfile.TemporaryDirectory is none


def test_a_library_is_loaded_only_on_the_kind_of_processor_that_it_was_built_on(artifact, tmp_path, monkeypatch):
    build(artifact, "native", tmp_path / "library")
    before = user_cache.library_folder("a" * 64)
    odelet.load(artifact, engine="native", library=tmp_path / "library")
    for module in (native, user_cache):
        monkeypatch.setattr(module, "processor", lambda: "x86_64-00000000")
    with pytest.raises(ArtifactError, match="the library was built for .*and this machine is x86_64-00000000"):
        odelet.load(artifact, engine="native", library=tmp_path / "library")
    assert user_cache.library_folder("a" * 64) != before
    assert (tmp_path / "library" / BUILD_FILE).is_file()
