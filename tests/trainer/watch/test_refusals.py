"""What a watch cannot change it refuses by name, with the line of the model; it counts all the same without changes."""

import threading

import pytest
import torch
import torchcde
import torchsde
import vendored
from torch.utils.checkpoint import checkpoint
from torchdiffeq import odeint, odeint_dense, odeint_event

from odelet_export import CaptureError, mark
from odelet_intercept.intercept import intercepted
from odelet_train import watched

TIMES = torch.tensor([0.0, 1.0])
ONES = torch.ones(2, 2)


def decay(t, y):
    return -y


class Noise(torch.nn.Module):
    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, y):
        return -y

    def g(self, t, y):
        return 0.1 * torch.ones_like(y)


def until(**how):
    return odeint_event(decay, ONES, torch.tensor(0.0), event_fn=lambda t, y: y[0, 0] - 0.5, rtol=1e-4, **how)


def sde(**how):
    motion = torchsde.BrownianInterval(t0=0.0, t1=1.0, size=(2, 2), entropy=3)
    return torchsde.sdeint(Noise(), ONES, TIMES, dt=0.125, method="euler", bm=motion, **how)


SOLVES = {
    "mark": lambda: mark(lambda z: 0.5 * z + 1, ONES),
    "sde": sde,
    "dense": lambda: odeint_dense(decay, ONES, torch.tensor(0.0), torch.tensor(1.0)),
    "scipy": lambda: odeint(decay, ONES, TIMES, method="scipy_solver"),
    "event": until,
    "complex": lambda: odeint(decay, ONES + 0j, TIMES),
    "interface": lambda: until(odeint_interface=lambda *args, **how: odeint(*args, **how)),
}


@pytest.mark.parametrize(
    ("name", "watch", "reason"),
    [
        ("mark", {"kinetic": 0.1}, r"kinetic=0.1 changes solves of ODEs by torchdiffeq, and this is mark of mark"),
        ("mark", {"adjoint": True}, r"adjoint=True changes solves of ODEs"),
        ("sde", {"second": 1}, r"second=1 changes solves of ODEs.* this is sdeint of torchsde.*sdeint_adjoint"),
        ("sde", {"adjoint": True}, r"adjoint=True changes .*call torchsde\.sdeint_adjoint"),
        ("dense", {"steer": 0.5}, r"steer=0.5 does not work with odeint_dense; solve to fixed times"),
        ("scipy", {"jacobian": 0.1}, r"jacobian=0.1 needs gradients, which scipy_solver does not give"),
        ("event", {"kinetic": 0.1, "steer": 0.5, "adjoint": True}, r"steer=0.5 moves the end time, .*ends at an event"),
        ("complex", {"second": 0.1}, r"second=0.1 does not work for a complex state"),
        ("interface", {"adjoint": True}, r"adjoint=True does not know odeint_interface=.*pass odeint_adjoint"),
    ],
)
def test_a_solve_that_cannot_be_changed_is_refused(name, watch, reason):
    with pytest.raises(ValueError, match=rf'File ".*test_refusals\.py", line \d+: {reason}'), watched(**watch):
        SOLVES[name]()


@pytest.mark.parametrize("name", SOLVES)
def test_every_solve_is_counted_and_stays_as_it_is(name):
    torch.manual_seed(0)
    plain = SOLVES[name]()
    torch.manual_seed(0)
    with watched() as solves:
        found = SOLVES[name]()
    assert [solve.depth for solve in solves.solves] == [0]
    assert all(calls > 5 and place.startswith("test_refusals.py:") for place, calls in solves.calls.items())
    if name != "dense":
        pairs = [(plain, found)] if isinstance(found, torch.Tensor) else zip(plain, found, strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_drift_of_an_sde_is_counted(adaptive):
    counted = []

    class Both(Noise):
        def f(self, t, y):
            counted.append(t)
            return -y

    how = {"dt": 0.125, "method": "milstein", "adaptive": adaptive}
    with watched() as solves:
        torchsde.sdeint_adjoint(Both(), ONES, TIMES, adjoint_params=(), **how)
    (solve,) = solves.solves
    # torchsde calls the drift once more before the solve, to see its shape.
    assert solve.calls == len(counted) - 1 and solve.method == "MilsteinIto"
    assert solve.calls > 8 if adaptive else solve.calls == 8
    sde = Both()
    torchsde.sdeint(sde, ONES, TIMES, **how)
    assert solve.calls < len(counted) - 8 and "f" not in vars(sde)


def test_a_cde_is_regularised_as_the_ode_that_it_is():
    coefficients = torchcde.hermite_cubic_coefficients_with_backward_differences(torch.randn(3, 5, 2).cumsum(1))
    path = torchcde.CubicSpline(coefficients)
    field = torch.nn.Linear(4, 8)

    class Matrix(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = field

        def forward(self, t, z):
            return torch.tanh(self.net(z)).reshape(3, 4, 2)

    for adjoint in (True, False):
        field.zero_grad()
        how = {"t": path.interval, "method": "rk4", "options": {"step_size": 0.5}, "adjoint": adjoint}
        with watched(kinetic=0.1) as solves:
            z = torchcde.cdeint(path, Matrix(), torch.ones(3, 4), **how)
        plain = torchcde.cdeint(path, Matrix(), torch.ones(3, 4), **how)
        assert torch.equal(z, plain)
        solves.cost.backward()
        assert float(solves.integrals["kinetic"]) > 0 and float(field.weight.grad.abs().max()) > 0
        assert list(solves.calls.values()) == [32]


def test_a_solve_inside_a_field_is_counted_and_not_regularised():
    def outer(t, y):
        return -odeint(decay, y, torch.tensor([0.0, 0.1]), method="euler")[-1]

    with watched(kinetic=1.0) as solves:
        odeint(outer, ONES, TIMES, method="rk4", options={"step_size": 0.25})
    inner = [solve for solve in solves.solves if solve.depth == 1]
    assert [solve.calls for solve in solves.solves if solve.depth == 0] == [16] and len(inner) == 16
    assert sum(solves.calls.values()) == 32
    # The outer field is -0.9 y.
    assert float(solves.integrals["kinetic"]) == pytest.approx(
        0.81 * -torch.expm1(torch.tensor(-1.8)).item() / 1.8, 1e-3
    )


def test_both_of_two_watches_count_and_the_inner_one_adds_its_cost():
    with watched(kinetic=1.0) as outer:
        odeint(decay, ONES, TIMES, method="rk4")
        before = float(outer.cost)
        with watched(second=1.0) as inner:
            odeint(decay, ONES, TIMES, method="rk4")
    assert len(outer.solves) == 2 and len(inner.solves) == 1
    assert float(outer.cost) == before and list(inner.integrals) == ["second"]


def test_steer_moves_the_last_time_alone():
    times, ends = torch.tensor([0.0, 1.0, 2.0, 2.5]), []
    torch.manual_seed(0)
    for _ in range(200):
        with watched(steer=0.5):
            y = odeint(lambda t, y: torch.ones_like(y), torch.zeros(1), times, method="euler")
        torch.testing.assert_close(y[:-1, 0], times[:-1])
        ends.append(float(y[-1]))
    assert 2.25 <= min(ends) < 2.27 and 2.73 < max(ends) <= 2.75
    with watched(steer=0.5):
        y = odeint(lambda t, y: torch.ones_like(y), torch.zeros(1), -times, method="euler")
    assert -2.75 <= float(y[-1]) <= -2.25


def test_a_copy_is_counted_and_not_changed():
    plain = vendored.odeint(decay, ONES, TIMES, method="euler")
    with watched() as solves:
        assert torch.equal(vendored.odeint(decay, ONES, TIMES, method="euler"), plain)
    assert list(solves.calls.values()) == [1]
    reason = r"kinetic=0.1 changes solves of torchdiffeq alone.* of the copy vendored"
    with pytest.raises(ValueError, match=reason), watched(kinetic=0.1):
        vendored.odeint(decay, ONES, TIMES, method="euler")


def test_other_threads_are_not_watched():
    with watched() as solves:
        thread = threading.Thread(target=odeint, args=(decay, ONES, TIMES))
        thread.start()
        thread.join()
    assert solves.solves == []


def test_a_model_that_watches_itself_can_be_intercepted():
    seen = []

    def handler(call, original):
        seen.append(call)
        return call.solve(original)

    with intercepted(handler), watched() as solves:
        odeint(decay, ONES, TIMES)
    assert len(seen) == 1 and solves.solves == []


def test_an_export_inside_a_watch_gets_its_calls():
    seen = []

    def handler(call, original):
        seen.append(call)
        return call.solve(original)

    with watched() as solves:
        with intercepted(handler):
            odeint(decay, ONES, TIMES)
        odeint(decay, ONES, TIMES)
    assert len(seen) == len(solves.solves) == 1


def test_a_change_without_a_solve_is_refused():
    with pytest.raises(ValueError, match=r"kinetic=0.1 changes solves, and this loss made none"), watched(kinetic=0.1):
        ONES.sum()
    with pytest.raises(ZeroDivisionError), watched(kinetic=0.1):
        1 / 0  # noqa: B018 the error is the test


def test_a_field_of_another_shape_is_refused():
    reason = r"the field returns shapes \[\(2,\)\] for a state of shapes \[\(2, 2\)\]"
    with pytest.raises(ValueError, match=reason), watched(kinetic=0.1):
        odeint(lambda t, y: -y.sum(1), ONES, TIMES)


def test_torchdiffeqs_own_errors_stay():
    with watched(), pytest.raises(ValueError, match="Invalid method"):
        odeint(decay, ONES, TIMES, method="rk5")
    with watched(), pytest.raises(AssertionError, match="y0 must be either"):
        odeint(decay, [ONES], TIMES)
    with watched(), pytest.raises(ValueError, match="func must be an instance of nn.Module"):
        from torchdiffeq import odeint_adjoint

        odeint_adjoint(decay, ONES, TIMES)
    assert CaptureError.__module__ == "odelet_intercept.errors"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("kinetic", -0.1),
        ("kinetic", float("nan")),
        ("jacobian", float("inf")),
        ("second", True),
        ("second", "0.1"),
        ("steer", 1.0),
        ("steer", -0.5),
        ("adjoint", 1),
    ],
)
def test_arguments_out_of_their_range_are_refused(argument, value):
    with pytest.raises(ValueError, match=rf"^{argument}="), watched(**{argument: value}):
        pass


def small_solve(x):
    weight = torch.full((2, 2), 0.3, requires_grad=True)
    return odeint(lambda t, y: torch.tanh(y @ weight), x, TIMES, method="rk4")[-1].sum()


def test_a_regulariser_in_a_reentrant_checkpoint_is_refused():
    x = torch.ones(2, 2, requires_grad=True)
    with (
        pytest.raises(ValueError, match=r"kinetic=1.0 gets no gradient .* pass use_reentrant=False"),
        watched(kinetic=1.0),
    ):
        checkpoint(small_solve, x, use_reentrant=True)
    with watched() as solves:
        checkpoint(small_solve, x, use_reentrant=True)
    assert list(solves.calls.values()) == [4]


def test_a_regulariser_in_a_checkpoint_has_the_gradient_that_it_has_without():
    gradients = []
    for checkpointed in (False, True):
        x = torch.ones(2, 2, requires_grad=True)
        with watched(kinetic=1.0) as solves:
            loss = checkpoint(small_solve, x, use_reentrant=False) if checkpointed else small_solve(x)
            (loss + solves.cost).backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("kind", ["jacobian", "second"])
def test_inference_mode_has_no_gradients_for_a_regulariser(kind):
    with (
        torch.inference_mode(),
        pytest.raises(ValueError, match=f"{kind}=0.5 needs gradients, .* use torch.no_grad"),
        watched(**{kind: 0.5}),
    ):
        small_solve(torch.ones(2, 2))
