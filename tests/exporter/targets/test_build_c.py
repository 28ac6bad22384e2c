"""The target c: an artifact in C99 has the artifact's answers, in the memory that it is given and no other."""

import ctypes
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from support.command_line import call
from support.generated import generated_once
from support.models_static import STATIC
from support.paths import ROOT

import odelet
from odelet import cli
from odelet.errors import InputError
from odelet_export import BuildError, WrongBuildError, build, export
from odelet_export.pipeline.build import BUILD_FILE
from odelet_export.targets.build.c import compiler, kernels
from odelet_export.targets.build.c.beside import FLAGS

GCC = shutil.which("gcc")
pytestmark = [
    pytest.mark.skipif(find_spec("emx_onnx_cgen") is None, reason="emx-onnx-cgen is not installed"),
    pytest.mark.skipif(GCC is None, reason="gcc is not installed"),
]
GENERATE = kernels._generated
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]


class Settings(ctypes.Structure):
    _fields_ = [("rtol", ctypes.c_double), ("atol", ctypes.c_double), ("max_steps", ctypes.c_int64)]


class Stats(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("status", "steps", "accepted")]
    _fields_ += [(name, ctypes.c_double) for name in ("time", "error_ratio")]


def run(*words, **options):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True, **options).stdout


def exported(name, folder):
    torch.manual_seed(0)
    model, args, settings = STATIC[name]()
    if settings.get("form") != "bounded":
        settings["profile"] = "c"
    export(model, args, folder, samples=2, **settings)
    return folder


@pytest.fixture(scope="module", autouse=True)
def asked_once():
    with generated_once():
        yield


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """The artifact of a model, by its name; each is made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = exported(name, tmp_path_factory.mktemp(name) / "artifact")
        return made[name]

    return get


@pytest.fixture(scope="module")
def built(artifact, tmp_path_factory):
    """The folder of the C of a model, by its name; each is built once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = build(artifact(name), "c", tmp_path_factory.mktemp(name) / "c", name="net")
        return made[name]

    return get


def solver(result, folder):
    """The function of a build, as one of Python: it takes an input and settings, and returns outputs and statistics."""
    library = folder / "net.so"
    run(GCC, *FLAGS.split(), "-shared", "-fPIC", result.path / "odelet_net.c", "-o", library, "-lm")
    function = ctypes.CDLL(str(library)).odelet_net_solve

    def solve(x, shape, settings=None):
        x, out, stats = np.ascontiguousarray(x, np.float32), np.full(shape, np.nan, np.float32), Stats()
        arena = np.full(result.built.arena // 8 + 1, np.nan)
        code = function(
            ctypes.c_void_p(x.ctypes.data),
            None if settings is None else ctypes.byref(settings),
            ctypes.c_void_p(out.ctypes.data),
            ctypes.c_void_p(arena.ctypes.data),
            ctypes.byref(stats),
        )
        assert code == stats.status
        return out, stats

    return solve


@pytest.mark.slow
@pytest.mark.parametrize("name", STATIC)
def test_the_answers_on_the_samples_are_within_what_is_allowed(name, built):
    result = built(name)
    assert result.tested.passed, result.tested.text
    # The example and two samples.
    assert result.built.samples == 3
    assert result.built.arena <= max(2 * result.built.live, 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["several", "image"])
def test_the_code_is_clean_takes_no_memory_and_writes_no_global(name, built, tmp_path):
    folder = built(name).path
    run(GCC, *STRICT, "-O1", "-c", folder / "odelet_net.c", "-o", tmp_path / "net.o")
    run(GCC, *STRICT, "-O1", "-c", folder / "test_net.c", "-o", tmp_path / "test.o")
    needed = {line.split()[-1] for line in run("nm", "-u", tmp_path / "net.o").splitlines()}
    known = {"expf", "exp", "pow", "powf", "sinf", "sin", "sqrt", "sqrtf", "log", "logf", "log1pf", "memcpy", "memset"}
    assert needed - known <= {"_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}, needed
    _, sizes = (line.split() for line in run("size", tmp_path / "net.o").splitlines())
    assert sizes[1:3] == ["0", "0"]
    defined = run("nm", "-g", "--defined-only", tmp_path / "net.o").split()
    assert defined[2:] == ["odelet_net_solve"]


def test_settings_and_statistics_are_those_of_the_graphs(artifact, built, tmp_path):
    solve, model = solver(built("adaptive"), tmp_path), odelet.load(artifact("adaptive"))
    x = np.random.default_rng(3).normal(size=(1, 3)).astype(np.float32)
    shape = (3, 1, 3)
    for rtol in (1e-2, 1e-4, 1e-6):
        out, stats = solve(x, shape, Settings(rtol, rtol, -1))
        theirs = model.solve(x, rtol=rtol, atol=rtol)
        (counts,) = theirs.stats.solves
        np.testing.assert_allclose(out, theirs.outputs["output"], rtol=0, atol=20 * rtol)
        assert abs(stats.steps - counts.steps) <= 1 and abs(stats.accepted - counts.accepted) <= 1
    assert solve(x, shape, Settings(np.nan, np.nan, 2))[1].status == odelet.Status.STEP_LIMIT.value
    assert solve(x, shape, Settings(np.nan, np.nan, 2))[1].steps == 2
    ours, as_exported = solve(x, shape)[0], solve(x, shape, Settings(np.nan, np.nan, -1))[0]
    np.testing.assert_array_equal(ours, as_exported)


@pytest.mark.parametrize("name, shape", [("adaptive", (3, 1, 3)), ("unrolled", (3, 1, 3))])
def test_nan_stays_nan(name, shape, built, tmp_path):
    out, stats = solver(built(name), tmp_path)(np.array([[np.nan, 1.0, 2.0]]), shape)
    assert np.isnan(out[-1]).any()
    assert name == "unrolled" or stats.status in (odelet.Status.NOT_FINITE.value, odelet.Status.STEP_UNDERFLOW.value)


def test_calls_in_two_threads_do_not_disturb_each_other(built, tmp_path):
    solve = solver(built("adaptive"), tmp_path)
    inputs = [np.random.default_rng(seed).normal(size=(1, 3)) for seed in range(40)]
    alone = [solve(x, (3, 1, 3))[0] for x in inputs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda x: solve(x, (3, 1, 3))[0], inputs * 5))
    for one, other in zip(alone * 5, together, strict=True):
        np.testing.assert_array_equal(one, other)


CROSS = {"arm": "arm-linux-gnueabihf-gcc", "aarch64": "aarch64-linux-gnu-gcc"}


@pytest.mark.slow
@pytest.mark.parametrize("machine", CROSS)
def test_other_processors_have_the_same_answers(machine, built, tmp_path):
    for tool in (CROSS[machine], f"qemu-{machine}"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = built("adaptive").path
    sources = [folder / "odelet_net.c", folder / "test_net.c"]
    run(CROSS[machine], *FLAGS.split(), "-static", *sources, "-o", tmp_path / "test", "-lm")
    assert "0 numbers wrong" in run(f"qemu-{machine}", tmp_path / "test")


@pytest.fixture
def cortex(monkeypatch):
    """The module of benchmarks that makes programs for a Cortex-M4; skips where it lacks a tool."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cortex

    if cortex.missing():
        pytest.skip(f"not installed: {cortex.missing()}")
    return cortex


@pytest.mark.slow
@pytest.mark.parametrize("name", STATIC)
def test_an_emulated_microcontroller_has_the_same_answers(name, built, cortex, tmp_path):
    program = cortex.test_program(built(name).path, "net", tmp_path / "test.elf")
    said = cortex.emulated(program.file)
    assert said.count("status 0") == 3 and " 0 numbers wrong" in said, said


@pytest.mark.slow
def test_a_program_for_a_microcontroller_is_small(built, artifact, cortex, tmp_path):
    program = cortex.program(artifact("adaptive"), built("adaptive").path, "net", tmp_path / "net.elf")
    said = cortex.call(program.file)
    assert said["status"] == 0 and said["steps"] > 2
    # A solve takes at least as many instructions as it has products of weights.
    assert said["instructions"] > 6 * said["steps"] * 2 * 3 * 8
    assert 0 < said["stack"] < 4096
    assert program.text + program.data < 40_000
    # RAM holds the arena, the outputs and what the C library keeps.
    assert built("adaptive").built.arena <= program.data + program.bss < built("adaptive").built.arena + 1024


class TestRefusals:
    @pytest.fixture
    def small(self, artifact):
        return artifact("unrolled")

    def refused(self, path, out, match):
        with pytest.raises(BuildError, match=match):
            build(path, "c", out)
        assert not out.exists() and not out.with_name("c.failed").exists()

    def test_a_dynamic_axis(self, tmp_path):
        torch.manual_seed(0)
        model, args, _ = STATIC["unrolled"]()
        export(model, args, tmp_path / "a", dynamic={"x": {0: "batch"}}, quick=True)
        self.refused(tmp_path / "a", tmp_path / "c", "the input 'x' has the dynamic axis 'batch'.*--profile c")

    @pytest.mark.parametrize(
        "form, match",
        [
            ("adaptive", r"model\.onnx: Loop '.*' is a loop inside a graph.*export the model again with --profile c"),
            ("loop_free", r"the loop of the solve at models_static\.py:\d+ .* number of turns that is not constant"),
            ("driven", r"the solve at models_static\.py:\d+ has the form driven.*--profile c"),
        ],
    )
    def test_a_form_with_memory_that_grows(self, form, match, tmp_path):
        model, args, _ = STATIC["adaptive"]()
        export(model, args, tmp_path / "a", form=form, quick=True)
        self.refused(tmp_path / "a", tmp_path / "c", match)

    def test_a_size_that_depends_on_numbers_names_the_line(self, tmp_path):
        class Chosen(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.solve = STATIC["unrolled"]()[0]

            def forward(self, x):
                return self.solve(x)[-1][x > 0].sum()

        export(Chosen(), (torch.rand(1, 3),), tmp_path / "a", keep_debug_info=True, quick=True)
        self.refused(
            tmp_path / "a", tmp_path / "c", r"model\.onnx: .*, from test_build_c\.py:\d+ makes an array whose size"
        )

    def test_an_operator_that_the_generator_lacks_is_named(self, small, tmp_path, monkeypatch):
        from emx_onnx_cgen.lowering import registry

        real = registry.get_lowering_registry()
        lacking = {name: function for name, function in real.items() if name != "Tanh"}
        monkeypatch.setattr(kernels, "_generated", GENERATE)
        monkeypatch.setattr("emx_onnx_cgen.compiler.get_lowering_registry", lambda: lacking)
        self.refused(small, tmp_path / "c", r"begin\.onnx: Tanh '.*': emx-onnx-cgen .* has no C for this operator")

    def test_a_missing_generator(self, small, tmp_path, monkeypatch):
        monkeypatch.setattr(kernels, "_generated", GENERATE)
        monkeypatch.setitem(__import__("sys").modules, "emx_onnx_cgen.compiler", None)
        self.refused(small, tmp_path / "c", r'is not installed: pip install "odelet\[c\]"')

    def test_a_target_that_is_not_there(self, small, tmp_path):
        with pytest.raises(InputError, match="target='d' is not one of c, native, web, ort, triton"):
            build(small, "d", tmp_path / "c")

    def test_a_name_that_c_does_not_take(self, small, tmp_path):
        with pytest.raises(InputError, match="name='3d' must be a name in C"):
            build(small, "c", tmp_path / "c", name="3d")


def odelet_build(capsys, monkeypatch, *words):
    command = EntryPoint("build", "odelet_export.commands.build_cli:build_command", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda **group: [command])
    return call(capsys, "build", *words)


def test_wrong_answers_end_with_3_and_are_left_aside(artifact, tmp_path, monkeypatch, capsys):
    from odelet_export.targets.build.c import target

    real = target.Source.source
    monkeypatch.setattr(
        target.Source, "source", lambda self: real(self).replace("tanhf(float x) {", "tanhf(float x) { x *= 2;")
    )
    out = tmp_path / "c"
    code, said, err = odelet_build(capsys, monkeypatch, artifact("unrolled"), "-o", out)
    assert code == 3 and "numbers wrong" in err and f"{out}.failed" in err
    assert not out.exists()
    assert json.loads((tmp_path / "c.failed" / BUILD_FILE).read_text())["passed"] is False
    with pytest.raises(WrongBuildError):
        build(artifact("unrolled"), "c", out)


def test_the_command_says_what_it_wrote_and_replaces_an_earlier_build(artifact, tmp_path, monkeypatch, capsys):
    out = tmp_path / "c"
    code, said, _ = odelet_build(capsys, monkeypatch, artifact("unrolled"), "-o", out)
    assert code == 0 and "odelet_single.c" in said and "3 samples" in said
    # What `make` makes does not stand in the way of the next build, and what is the user's does.
    run("make", "test", cwd=out)
    code, said, _ = odelet_build(capsys, monkeypatch, artifact("unrolled"), "-o", out, "--json")
    assert code == 0 and json.loads(said)["test"]["passed"]
    (out / "notes.txt").write_text("mine")
    code, _, err = odelet_build(capsys, monkeypatch, artifact("unrolled"), "-o", out)
    assert code == 2 and "notes.txt" in err and (out / "notes.txt").exists()


def test_without_a_compiler_the_build_says_so(artifact, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    code, said, _ = odelet_build(capsys, monkeypatch, artifact("unrolled"), "-o", tmp_path / "c")
    assert code == 0 and "not tested, as no C compiler is installed" in said
