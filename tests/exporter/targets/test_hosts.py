"""The targets whose engines read ONNX: their files give the artifact's answers, as their hosts will run them."""

import json
from importlib.metadata import EntryPoint
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from support.command_line import call
from support.models_static import Field, Several, Single
from torchdiffeq import odeint

import odelet
from odelet import cli
from odelet.artifact.samples import samples_of
from odelet.errors import InputError
from odelet_export import BuildError, WrongBuildError, build, export
from odelet_export.pipeline.build import BUILD_FILE
from odelet_export.targets.build.hosts import fitting
from odelet_export.targets.build.hosts.web import SETTINGS_FILE
from odelet_export.targets.build.roster import TARGETS

HOSTS = ("web", "ort", "triton")
BATCH = {"x": {0: "batch"}}
# Float32 numbers can be within these.
LOOSE = {"rtol": 1e-3, "atol": 1e-4}


class Times(torch.nn.Module):
    """Output times as an input, which has no axis of samples."""

    def __init__(self):
        super().__init__()
        self.field = Field()

    def forward(self, x, t):
        return odeint(self.field, x, t, **LOOSE)


class Drawn(Single):
    """A draw before a solve, an output without the axis of samples, and samples in the second axis of an input."""

    def forward(self, x, scale):
        y = super().forward(x + 0.1 * torch.randn_like(x))
        return {"path": y, "last": y[-1] * scale.mT, "weights": self.field.net[0].weight.sum(0)}


def models():
    x = torch.rand(3, 3)
    single = {"dynamic": BATCH}
    return {
        "adaptive": (Single(**LOOSE), (x,), single),
        "per_sample": (Single(**LOOSE), (x,), {**single, "per_sample": True}),
        "unrolled": (Single(method="rk4"), (x,), single),
        "rolled": (Single(method="rk4", options={"step_size": 0.02}), (x,), single),
        "bounded": (
            Single(**LOOSE),
            (x,),
            {**single, "form": "bounded", "calibration": {"x": torch.rand(8, 3, 3)}},
        ),
        "several": (Several(), (x, torch.tensor(1.5)), single),
        "times": (Times(), (x, torch.tensor([0.0, 0.4, 1.0])), {"dynamic": {**BATCH, "t": {0: "times"}}}),
        "drawn": (Drawn(method="rk4"), (x, torch.rand(3, 3)), {"dynamic": {**BATCH, "scale": {1: "batch"}}}),
        "loop_free": (Single(**LOOSE), (x,), {**single, "form": "loop_free"}),
    }


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """The artifact of a model, by its name, exported for the web; each is made once."""
    made = {}

    def get(name):
        if name not in made:
            torch.manual_seed(0)
            model, args, settings = models()[name]
            made[name] = tmp_path_factory.mktemp(name) / "artifact"
            export(model, args, made[name], samples=2, quick=True, profile="web", **settings)
        return made[name]

    return get


@pytest.fixture(scope="module")
def built(artifact, tmp_path_factory):
    """The build of a model for a target, by the names of both; each is made once."""
    made = {}

    def get(name, target):
        if (name, target) not in made:
            out = tmp_path_factory.mktemp(name) / target
            made[name, target] = build(artifact(name), target, out, name="net")
        return made[name, target]

    return get


def session(file):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", sorted(models()))
@pytest.mark.parametrize("target", HOSTS)
def test_the_answers_on_the_samples_are_within_what_is_allowed(name, target, built):
    if name == "loop_free" and target != "web":
        with pytest.raises(BuildError, match=rf"begin\.onnx, turn\.onnx, read\.onnx, and the target {target} takes"):
            built(name, target)
        return
    result = built(name, target)
    assert result.tested.passed, result.tested.text
    assert json.loads((result.path / BUILD_FILE).read_text())["passed"]
    assert {path.relative_to(result.path).as_posix() for path in result.path.rglob("*") if path.is_file()} == {
        *result.built.files,
        BUILD_FILE,
    }


class TestWeb:
    @pytest.mark.parametrize("name", sorted(models()))
    def test_no_graph_holds_float64_and_every_setting_is_required(self, name, built):
        folder = built(name, "web").path
        settings = json.loads((folder / SETTINGS_FILE).read_text())
        card = odelet.load(folder).card
        asked = {target for solve in card.solves for target in solve.settings.values() if target is not None}
        assert settings.keys() == asked
        taken = set()
        for file in card.graph_files:
            proto = onnx.shape_inference.infer_shapes(onnx.load(folder / file))
            graph = ir.from_proto(proto).graph
            values = {x for node in graph.all_nodes() for x in (*node.inputs, *node.outputs) if x is not None}
            assert {x.dtype for x in {*values, *graph.inputs, *graph.outputs}}.isdisjoint({ir.DataType.DOUBLE, None})
            assert not session(folder / file).get_overridable_initializers()
            taken |= {x.name for x in graph.inputs}
        assert asked <= taken

    @pytest.mark.parametrize("name", ["adaptive", "several"])
    def test_a_host_that_feeds_the_defaults_of_the_file_has_the_samples(self, name, built):
        folder = built(name, "web").path
        card = odelet.load(folder).card
        feeds = {
            setting: np.array(entry["default"], entry["dtype"]).reshape(entry["shape"])
            for setting, entry in json.loads((folder / SETTINGS_FILE).read_text()).items()
        }
        host = session(folder / "model.onnx")
        for inputs, outputs, allowed in samples_of(card, folder):
            given = dict(zip([x.name for x in host.get_outputs()], host.run(None, {**inputs, **feeds}), strict=True))
            for output, expected in outputs.items():
                assert np.abs(given[output] - expected).max() <= allowed[output]

    def test_odelet_loads_it_and_its_settings_may_be_set(self, artifact, built):
        before, after = odelet.load(artifact("adaptive")), odelet.load(built("adaptive", "web").path)
        x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
        for rtol in (1e-2, 1e-3, 1e-6):
            one, other = before.solve(x, rtol=rtol), after.solve(x, rtol=rtol)
            np.testing.assert_array_equal(one.outputs["output"], other.outputs["output"])
            assert one.stats == other.stats
        assert after.solve(x, max_steps=1).status is odelet.Status.STEP_LIMIT
        with pytest.raises(InputError, match="rtol"):
            after(x, rtol=-1.0)
        lone = odelet.load(built("adaptive", "web").path / "model.onnx")
        np.testing.assert_array_equal(lone(x), after(x))

    def test_times_in_float64_are_refused_with_the_way_out(self, tmp_path):
        export(Single(), (torch.rand(2, 3),), tmp_path / "a", quick=True, samples=1)
        with pytest.raises(BuildError, match=r"model\.onnx: \w+ '.*' makes float64, .*again with --profile web"):
            build(tmp_path / "a", "web", tmp_path / "web")
        assert not (tmp_path / "web").exists()

    def test_float64_in_the_model_is_refused_with_its_line(self, tmp_path):
        class Exact(Single):
            def forward(self, x):
                return (super().forward(x).double() * 0.1).float()

        settings = {"quick": True, "samples": 1, "keep_debug_info": True}
        export(Exact(method="rk4"), (torch.rand(2, 3),), tmp_path / "a", **settings)
        match = r"from test_hosts\.py:\d+ makes float64, which the profile web"
        with pytest.raises(BuildError, match=match):
            build(tmp_path / "a", "web", tmp_path / "web")
        with pytest.raises(ValueError, match=match):
            export(Exact(method="rk4"), (torch.rand(2, 3),), tmp_path / "b", profile="web", **settings)

    def test_a_model_in_float64_is_refused_by_its_input(self, tmp_path):
        export(Single(method="rk4").double(), (torch.rand(2, 3).double(),), tmp_path / "a", quick=True, samples=1)
        with pytest.raises(BuildError, match=r"the input 'x' is float64, and the profile web.*model\.float\(\)"):
            build(tmp_path / "a", "web", tmp_path / "web")


class TestOrt:
    def test_the_file_keeps_its_card_its_settings_and_the_list_of_its_operators(self, built):
        folder = built("adaptive", "ort").path
        host = session(folder / "model.ort")
        assert "odelet.card" in host.get_modelmeta().custom_metadata_map
        assert {x.name for x in host.get_overridable_initializers()} == {"rtol", "atol", "max_steps"}
        lines = (folder / "required_operators.config").read_text().splitlines()
        operators = {name for line in lines for name in line.split(";")[2].split(",")}
        assert {"Loop", "Where"} <= operators and all(line[0] != "#" for line in lines)

    def test_the_build_says_its_size(self, built):
        (note,) = built("adaptive", "ort").built.notes
        size = (built("adaptive", "ort").path / "model.ort").stat().st_size
        assert note.startswith(f"model.ort {size:,} bytes, ") and note.endswith("times the graph in ONNX")


def config_of(folder):
    """The configuration of a model by Triton's own definition."""
    spec = find_spec("tritonclient")
    if spec is None:
        pytest.skip("tritonclient is not installed")
    from google.protobuf import text_format

    file = Path(next(iter(spec.submodule_search_locations)), "grpc", "model_config_pb2.py")
    loading = spec_from_file_location("model_config_pb2", file)
    definition = module_from_spec(loading)
    loading.loader.exec_module(definition)
    return text_format.Parse((folder / "net" / "config.pbtxt").read_text(), definition.ModelConfig()), definition


class TestTriton:
    @pytest.mark.parametrize("name", [name for name in sorted(models()) if name != "loop_free"])
    def test_the_configuration_is_what_the_server_checks(self, name, built):
        """The rules of onnxruntime_backend: ValidateInputs, ValidateOutputs and CompareDimsSupported."""
        folder = built(name, "triton").path
        config, definition = config_of(folder)
        host = session(folder / "net" / "1" / "model.onnx")
        assert config.name == "net" and config.backend == "onnxruntime"
        batched = config.max_batch_size > 0
        assert batched == config.HasField("dynamic_batching") == (name not in ("times", "several"))
        optional = host.get_overridable_initializers()
        assert not (batched and optional)
        assert [x.name for x in config.input if x.optional] == [x.name for x in optional]
        assert [x.name for x in config.input if not x.optional] == [x.name for x in host.get_inputs()]
        assert [x.name for x in config.output] == [x.name for x in host.get_outputs()]
        ports = {x.name: x for x in [*host.get_inputs(), *optional, *host.get_outputs()]}
        kinds = {"TYPE_FP32": "float", "TYPE_FP64": "double", "TYPE_INT64": "int64", "TYPE_BOOL": "bool"}
        for entry in (*config.input, *config.output):
            port = ports[entry.name]
            assert f"tensor({kinds[definition.DataType.Name(entry.data_type)]})" == port.type
            sizes = [size if isinstance(size, int) else -1 for size in port.shape]
            dims = list(entry.reshape.shape if entry.HasField("reshape") else entry.dims)
            assert sizes == [-1, *dims] if batched else sizes == dims or (sizes == [] and dims == [1])

    @pytest.mark.parametrize("name", ["per_sample", "rolled", "drawn"])
    def test_joined_requests_have_the_answers_of_each(self, name, built):
        host = session(built(name, "triton").path / "net" / "1" / "model.onnx")
        rng = np.random.default_rng(2)
        feeds = {x.name: rng.normal(size=(5, *x.shape[1:])).astype(np.float32) for x in host.get_inputs()}
        names = [x.name for x in host.get_outputs()]
        joined = host.run(names, feeds)
        for rows in (slice(0, 2), slice(2, 5)):
            for output, alone, together in zip(
                names, host.run(names, {key: x[rows] for key, x in feeds.items()}), joined, strict=True
            ):
                assert len(together) == 5, output
                np.testing.assert_allclose(alone, together[rows], rtol=2e-5, atol=2e-6)

    def test_the_build_says_whether_samples_are_joined(self, built):
        assert "share their steps" in built("adaptive", "triton").built.notes[1]
        assert len(built("per_sample", "triton").built.notes) == 1
        assert built("times", "triton").built.notes == (
            "no dynamic batching: the input 't' does not have the axis 'batch'",
        )

    def test_a_name_is_that_of_a_folder(self, artifact, tmp_path):
        for name in ("my-model", "densenet-onnx_1.2", "3d"):
            result = build(artifact("unrolled"), "triton", tmp_path / name, name=name)
            assert result.tested.passed
            assert f'name: "{name}"' in (tmp_path / name / name / "config.pbtxt").read_text()
        for name in ("my model", "é", "-x", ".x", "..", "a/b", ""):
            with pytest.raises(InputError, match="must be a name of letters, digits, '_', '-' and '.'"):
                build(artifact("unrolled"), "triton", tmp_path / "wrong", name=name)
        for target in ("c", "native"):
            with pytest.raises(InputError, match="name='my-model' must be a name in C"):
                build(artifact("unrolled"), target, tmp_path / "wrong", name="my-model")
        assert not (tmp_path / "wrong").exists()

    def test_an_earlier_repository_is_replaced_and_nothing_else(self, artifact, tmp_path):
        out = tmp_path / "repository"
        build(artifact("unrolled"), "triton", out, name="net")
        build(artifact("unrolled"), "triton", out, name="net")
        (out / "net" / "2").mkdir()
        (out / "net" / "2" / "mine").write_text("mine")
        with pytest.raises(InputError, match="holds 'net/2' besides"):
            build(artifact("unrolled"), "triton", out, name="net")
        assert (out / "net" / "2" / "mine").read_text() == "mine"


@pytest.mark.parametrize("target", HOSTS)
def test_wrong_answers_end_with_3_and_are_left_aside(target, artifact, tmp_path, monkeypatch, capsys):
    real = fitting._read

    def wrong(folder, file):
        model = real(folder, file)
        for value in model.graph.initializers.values():
            if value.name.endswith("net.0.weight"):
                value.const_value = ir.tensor(value.const_value.numpy() * 2, name=value.name)
        return model

    monkeypatch.setattr(fitting, "_read", wrong)
    command = EntryPoint("build", "odelet_export.commands.build_cli:build_command", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda **group: [command])
    out = tmp_path / "out"
    code, _, err = call(capsys, "build", artifact("unrolled"), "--target", target, "-o", out)
    assert code == 3 and "differs by" in err and f"{out}.failed" in err
    assert not out.exists()
    assert json.loads((tmp_path / "out.failed" / BUILD_FILE).read_text())["passed"] is False
    with pytest.raises(WrongBuildError):
        build(artifact("unrolled"), target, out)


@pytest.mark.parametrize("target", HOSTS)
def test_a_solve_that_runs_in_python_is_refused(target, tmp_path):
    export(Single(), (torch.rand(2, 3),), tmp_path / "a", form="driven", quick=True, samples=1)
    with pytest.raises(BuildError, match=r"the solve at models_static\.py:\d+ has the form driven.*adaptive"):
        build(tmp_path / "a", target, tmp_path / "out")


def test_the_command_names_every_target(capsys, monkeypatch):
    command = EntryPoint("build", "odelet_export.commands.build_cli:build_command", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda **group: [command])
    _, said, _ = call(capsys, "build", "--help")
    assert all(name in said.split() or f"{name}." in said or f"{name}," in said for name in TARGETS)


class TestProfiles:
    """What an export with a profile decides. Its artifacts are ordinary ones, which the rest of this file builds."""

    def test_times_are_in_float32_as_with_the_option_of_torchdiffeq(self, tmp_path):
        x, field = torch.rand(2, 3), Field()
        exported = export(Single(field, **LOOSE), (x,), tmp_path / "web", profile="web", samples=1)
        assert exported.parity.passed
        assert ["the times of the solve are in float32" in warning for warning in exported.warnings] == [True]
        own = Single(field, **LOOSE, options={"dtype": torch.float32})
        same = export(own, (x,), tmp_path / "own", profile="web", samples=1)
        assert not any("float32" in warning for warning in same.warnings)
        asked = export(Single(field, **LOOSE), (x,), tmp_path / "asked", time_dtype="float32", samples=1)
        assert asked.parity.passed
        data = np.random.default_rng(3).normal(size=(2, 3)).astype(np.float32)
        answers = [odelet.load(tmp_path / name).solve(data) for name in ("web", "own", "asked")]
        for answer in answers[1:]:
            np.testing.assert_array_equal(answer.outputs["output"], answers[0].outputs["output"])
        with torch.no_grad():
            np.testing.assert_allclose(answers[0].outputs["output"], own(torch.from_numpy(data)), atol=1e-5)

    def test_an_override_in_float64_goes_with_a_model_that_asks_for_float32(self, tmp_path):
        model = Single(**LOOSE, options={"dtype": torch.float32})
        exported = export(model, (torch.rand(2, 3),), tmp_path / "a", time_dtype="float64", samples=1)
        assert exported.parity.passed
        types = {
            value.dtype
            for node in ir.load(tmp_path / "a" / "model.onnx").graph.all_nodes()
            if node.op_type in ("Mul", "Pow")
            for value in node.outputs
        }
        assert ir.DataType.DOUBLE in types

    @pytest.mark.parametrize(
        "settings, match",
        [
            ({"time_dtype": "float16"}, "time_dtype='float16' is not one of float32, float64"),
            ({"time_dtype": "float32", "method": "rk4"}, "time_dtype is for adaptive methods"),
            (
                {"time_dtype": "float64", "profile": "web"},
                "time_dtype='float64' and the profile web do not go together",
            ),
            ({"profile": "web", "form": "driven"}, "has the form driven, which runs in Python"),
            ({"profile": "triton"}, "the profile triton has the samples .* first.*'x' has no dynamic axis"),
            ({"profile": "c", "per_sample": True}, "per_sample needs a dynamic axis.*the profile c, for C code"),
        ],
    )
    def test_what_a_profile_does_not_have_is_refused_at_export(self, settings, match, tmp_path):
        with pytest.raises(ValueError, match=match):
            export(Single(), (torch.rand(2, 3),), tmp_path / "a", quick=True, samples=1, **settings)
        assert not (tmp_path / "a").exists()

    def test_steps_that_depend_on_an_input_are_refused_for_c_at_export(self, tmp_path):
        args, options = (torch.rand(2, 3), torch.tensor([0.0, 0.4, 1.0])), {"method": "rk4", "step_size": 0.1}
        with pytest.raises(ValueError, match=r"test_hosts\.py:\d+ takes as many steps as its output times.*--steps"):
            export(Times(), args, tmp_path / "a", profile="c", quick=True, samples=1, **options)
        options = {"method": "rk4", "steps": 10}
        export(Times(), args, tmp_path / "a", profile="c", quick=True, samples=1, **options)

    @pytest.mark.parametrize("inside", [False, True])
    def test_float16_is_refused_for_c_at_export(self, inside, tmp_path):
        class Half(Single):
            def forward(self, x):
                y = super().forward(x).half() * 2
                return y.float() if inside else y

        match = r"from test_hosts\.py:\d+ makes float16" if inside else "the output 'output' is float16"
        with pytest.raises(ValueError, match=match):
            export(
                *(Half(method="rk4"), (torch.rand(2, 3),), tmp_path / "a"),
                **{"profile": "c", "quick": True, "samples": 1, "keep_debug_info": True},
            )
