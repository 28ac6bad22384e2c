"""The first run of a model: torch's own errors, the grad mode, the limits of field calls, what solves in place of
torchdiffeq."""

import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn
from torchdiffeq import odeint, odeint_event

import odelet
from odelet.errors import InputError
from odelet_export import CaptureError, explain, export
from odelet_export.model.callee import Callee
from odelet_export.model.field_calls import FieldCalls, TooManyCalls, most_calls
from odelet_export.model.first_run import first_run
from odelet_export.model.kept_state import restoring
from odelet_export.model.overrides import Overrides

TIMES = torch.tensor([0.0, 1.0])
X = torch.linspace(-1, 1, 6).reshape(3, 2)


def decay(x):
    return odeint(lambda t, y: -y, x, TIMES, method="rk4")[-1]


def looked(model, *args, **settings):
    return first_run(Callee(model, args, {}), Overrides(**settings), max_steps=1000)


def test_a_first_run_has_the_answer_and_the_counts():
    run = looked(decay, X)
    np.testing.assert_array_equal(run.leaves[0][1], decay(X).numpy())
    assert (run.field_calls, run.counts[0].evaluations, run.counts[0].steps) == (4, 4, 1)
    assert run.most_calls == most_calls(4) >= 400


def test_field_calls_of_solves_inside_others_count():
    def outer(x):
        return odeint(lambda t, y: decay(y), x, TIMES, method="euler")[-1]

    run = looked(outer, X)
    assert (run.field_calls, len(run.counts)) == (1 + 4, 1)


def wrong_width(x):
    return odeint(lambda t, y: y @ torch.ones(3, 3), x, TIMES)[-1]


def wrong_dtype(x):
    return odeint(lambda t, y: nn.Linear(2, 2)(y), x, TIMES)[-1]


@pytest.mark.parametrize(
    ("model", "x", "cause"),
    [(wrong_width, X, "RuntimeError: mat1 and mat2"), (wrong_dtype, X.double(), "dtype")],
    ids=["width", "dtype"],
)
def test_torchs_own_error_names_the_users_line(model, x, cause, tmp_path):
    line = model.__code__.co_firstlineno + 1
    with pytest.raises(InputError, match=rf"fails on its example \(x .*test_first_run\.py, line {line}: .*{cause}"):
        export(model, (x,), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def only_with_gradients(x):
    x = x.clone().requires_grad_()
    energy = (x**4).sum()
    return odeint(lambda t, y: -y, torch.autograd.grad(energy, x)[0], TIMES, method="rk4")[-1]


def only_without_gradients(x):
    weight = nn.Parameter(torch.ones(2))
    weight[0] = 2.0  # torch refuses this while it records gradients
    return odeint(lambda t, y: -weight.detach() * y, x, TIMES, method="rk4")[-1]


@pytest.mark.parametrize("callers", [True, False], ids=["with gradients", "without"])
@pytest.mark.parametrize(("model", "mode"), [(only_with_gradients, True), (only_without_gradients, False)])
def test_the_other_grad_mode_is_tried(model, mode, callers):
    callee = Callee(model, (X,), {})
    with torch.set_grad_enabled(callers):
        first_run(callee, Overrides(), max_steps=1000)
        assert callee.grad_mode is mode
        callee(X)  # later runs are in the mode that works
    callee = Callee(decay, (X,), {})
    with torch.set_grad_enabled(callers):
        first_run(callee, Overrides(), max_steps=1000)
    assert callee.grad_mode is callers


def test_the_error_of_the_callers_grad_mode_is_reported():
    def model(x):
        raise RuntimeError(f"gradients: {torch.is_grad_enabled()}")

    with pytest.raises(InputError, match="gradients: True"):
        looked(model, X)
    with torch.no_grad(), pytest.raises(InputError, match="gradients: False"):
        looked(model, X)


@pytest.mark.parametrize("model", [only_with_gradients, only_without_gradients])
def test_a_model_of_one_grad_mode_is_exported(model, tmp_path):
    export(model, (X,), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=1)
    other = torch.cat([X, 2 * X])
    with torch.set_grad_enabled(model is only_with_gradients):
        expected = model(other).detach().numpy()
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(other.numpy()), expected, rtol=1e-5)


def test_the_count_of_field_calls_has_a_limit_and_passes_callbacks_on():
    class Field:
        def __call__(self, t, y):
            return y

        def callback_step(self, t, y, dt):
            return "called back"

    calls = FieldCalls(most=2)
    field = calls.watching(Field())
    assert (field(0, 1), field(0, 2), field.callback_step(0, 0, 0), calls.count) == (1, 2, "called back", 2)
    assert not hasattr(field, "callback_accept_step")
    with pytest.raises(TooManyCalls, match="more than 2 times"):
        field(0, 3)


def never(x):
    """The event comes where x[1] is below 1.5."""
    return odeint_event(
        lambda t, y: torch.stack([0.2 * y[1] - y[0], 0 * y[1]]), x, TIMES[0], event_fn=lambda t, y: y[0] - 0.3
    )[1][-1]


def test_an_example_whose_event_never_comes_is_refused():
    with pytest.raises(CaptureError, match="more than 50 steps on the example, and its event has not come"):
        explain(never, (torch.tensor([2.0, 2.0]),), max_steps=50)


def test_fresh_inputs_whose_event_never_comes_are_left_out_with_a_warning(tmp_path):
    exported = export(never, (torch.tensor([2.0, 1.4]),), tmp_path / "out", rtol=1e-4, atol=1e-4)
    assert any("left out: torch called the fields more than" in warning for warning in exported.warnings)
    ended = torch.tensor([1.5, 0.5])
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(ended.numpy())[0], 0.3, atol=1e-3)


class Sampler(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))

    def forward(self, x):
        return self.sample(x)

    def sample(self, x):
        for _ in range(8):  # HERE
            x = x + self.net(x) / 8
        return x


def test_a_loop_of_the_models_own_is_named_with_the_ways_out(tmp_path):
    with pytest.raises(CaptureError) as refused:
        export(Sampler(), (X,), tmp_path / "out")
    message = str(refused.value)
    assert "test_first_run.py" in message
    assert "for _ in range(8):  # HERE" in message
    for way in ('form="plain"', "torchdiffeq.odeint", "odelet_export.mark", "torch.onnx.export"):
        assert way in message


@pytest.mark.parametrize(("package", "words"), {"torchdyn": "functions of its own", "zuko": "zuko"}.items())
def test_another_solver_library_is_told_what_it_is(package, words, tmp_path, monkeypatch):
    module = types.ModuleType(f"{package}.numerics")
    exec("def odeint(field, x):\n    return x + field(x)\n", vars(module))
    monkeypatch.setitem(sys.modules, package, types.ModuleType(package))

    def model(x):
        return module.odeint(lambda y: -y, x)

    with pytest.raises(CaptureError, match=words) as refused:
        export(model, (X,), tmp_path / "out")
    assert "return module.odeint(lambda y: -y, x)" in str(refused.value)
    assert "do: " in str(refused.value)


class Cache:
    noise = None


def test_what_a_run_keeps_is_put_back_on_objects_and_in_closures():
    cache, kept = Cache(), None
    net = nn.BatchNorm1d(2)

    def field(y):
        nonlocal kept
        kept = cache.noise = y
        net.running_mean += 1
        return y

    module = nn.Module()
    module.net, module.parts = net, {"a": [field]}
    with restoring(module):
        field(X)
        net.added = 1
        assert kept is cache.noise is X
    assert (kept, cache.noise, net.running_mean.tolist(), hasattr(net, "added")) == (None, None, [0.0, 0.0], False)


def test_a_field_object_that_keeps_noise_from_its_first_call_is_exported(tmp_path):
    cache = Cache()

    def field(t, y):
        if cache.noise is None:
            cache.noise = torch.randn_like(y)
        return cache.noise - y

    def model(x):
        cache.noise = None
        return odeint(field, x, TIMES, method="euler")[-1]

    export(model, (X,), tmp_path / "out", dynamic={"x": {0: "batch"}}, samples=1)
    ones = np.ones((5, 2), np.float32)
    np.testing.assert_allclose(odelet.load(tmp_path / "out")(ones, noise_0=2 * ones), 2 * ones, rtol=1e-6)


def test_a_solver_library_that_forward_imports_is_caught(tmp_path):
    """In a process of its own, in which nothing has imported torchsde before."""
    pytest.importorskip("torchsde")
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\n"
        "from odelet_export.model.callee import Callee\n"
        "from odelet_export.model.first_run import first_run\n"
        "from odelet_export.model.overrides import Overrides\n"
        "class Sde:\n"
        "    noise_type, sde_type = 'diagonal', 'ito'\n"
        "    def f(self, t, y):\n"
        "        return -y\n"
        "    def g(self, t, y):\n"
        "        return 0.1 * y\n"
        "class Model(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        import torchsde\n"
        "        return torchsde.sdeint(Sde(), x, torch.tensor([0.0, 1.0]), dt=0.25, method='euler')\n"
        "found = first_run(Callee(Model(), (torch.ones(2, 3),), {}), Overrides(), max_steps=10)\n"
        "print([count.steps for count in found.counts])\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert run.stdout == "[4]\n"


def test_what_a_run_puts_into_lists_and_dicts_is_taken_out_again():
    model = nn.Linear(2, 2)
    model.seen, model.cache = [1], {"a": 2}
    with restoring(model):
        model.seen.append(3)
        model.cache.clear()
        model.cache["b"] = model.seen
    assert model.seen == [1]
    assert model.cache == {"a": 2}


@pytest.mark.parametrize("state", [lambda y: y, lambda y: (torch.ones(3), y)], ids=["tensor", "tuple"])
def test_a_solution_that_is_not_finite_is_said_to_be_torchs_own(state):
    def explosive(x):
        def field(t, y):
            return tuple(-20 * part**3 for part in y) if isinstance(y, tuple) else -20 * y**3

        return odeint(field, state(x), torch.linspace(0.0, 1.0, 3), method="rk4")

    with pytest.raises(
        CaptureError, match=r"test_first_run.py.*torch's own solution .*on the example at time"
    ) as caught:
        looked(explosive, torch.full((3, 2), 3.0))
    assert "give an example that the model solves" in str(caught.value)


def test_an_event_before_the_solution_grows_is_no_error():
    def until(x):
        time, states = odeint_event(
            lambda t, y: y, x, torch.tensor(0.0), event_fn=lambda t, y: y.sum() - 4.0, odeint_interface=odeint
        )
        return states[-1]

    assert looked(until, torch.ones(2)).counts
