"""The same small equation behind every way of calling torchdiffeq that we know of."""

import functools

import torch
import torchdiffeq
import torchdiffeq as tde
from models_case import BATCH, Case
from torch import nn
from torchdiffeq import odeint, odeint_adjoint
from torchdiffeq import odeint as solve_ivp
from torchdiffeq import odeint_adjoint as adjoint

TIMES = torch.tensor([0.0, 1.0])
SOLVERS = {"plain": torchdiffeq.odeint, "adjoint": torchdiffeq.odeint_adjoint}


class Net(nn.Module):
    """A field that counts its calls and does not know how it is called."""

    def __init__(self, width=3):
        super().__init__()
        self.lin = nn.Linear(width, width)
        self.nfe = 0
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, t, y):
        self.nfe = self.nfe + 1
        return torch.tanh(self.lin(y)) - t * y


class Wrapped(nn.Module):
    def __init__(self, solve):
        super().__init__()
        self.net = Net()
        self.solve = solve

    def forward(self, x):
        return self.solve(self.net, x)


def _wrapped(solve):
    return Case(Wrapped(solve), (torch.randn(3, 3),))


def names_of_the_solver():
    """Every way in which a module refers to torchdiffeq's functions."""

    def by_default(f, x, *, solver=odeint):
        return solver(f, x, TIMES, method="euler", options=dict(step_size=0.1))[-1]

    partial = functools.partial(_end, functools.partial(odeint, method="midpoint", t=TIMES))

    def solve(f, x):
        return (
            torchdiffeq.odeint(f, x, TIMES, rtol=1e-3, atol=1e-3)[-1],
            tde.odeint_adjoint(f, x, TIMES, method="rk4", options={"step_size": 0.25}),
            solve_ivp(f, x, TIMES, method="rk4")[1],
            SOLVERS["adjoint"](f, x, TIMES, method="heun3")[1],
            partial(f, x),
            by_default(f, x),
            odeint(func=f, y0=x, t=TIMES, rtol=1e-3, atol=1e-4)[-1],
        )

    return _wrapped(solve)


def _end(solver, f, x):
    return solver(f, x)[-1]


class Stored(nn.Module):
    odeint = staticmethod(adjoint)

    def __init__(self):
        super().__init__()
        self.net = Net()
        self.solver = odeint

    def forward(self, x):
        y = self.solver(self.net, x, TIMES, method="rk4")[-1]
        return self.odeint(self.net, y, TIMES, rtol=1e-3, atol=1e-3)[-1]


def class_attribute():
    return Case(Stored(), (torch.randn(2, 3),))


def solver_as_argument():
    net = Net()

    def model(x, solver):
        return solver(net, x, TIMES, method="heun2", options={"step_size": 0.5})[-1]

    return Case(model, (torch.randn(2, 3), odeint_adjoint))


def adjoint_arguments():
    def solve(f, x):
        return odeint_adjoint(
            f,
            x,
            TIMES,
            rtol=1e-3,
            atol=1e-3,
            adjoint_rtol=1e-2,
            adjoint_atol=1e-2,
            adjoint_method="rk4",
            adjoint_options={"step_size": 0.1, "norm": "seminorm"},
            adjoint_params=tuple(f.parameters()),
        )[-1]

    return _wrapped(solve)


def lambda_field():
    weight = torch.randn(3, 3)
    return Case(
        lambda x: odeint(lambda t, y: torch.sin(y @ weight) + t, x, TIMES, rtol=1e-3, atol=1e-3)[-1],
        (torch.randn(2, 3),),
    )


def partial_field():
    net = Net()

    def field(scale, context, t, y):
        return net(t, y) * scale + context

    def model(x, *, scale=0.5):
        context = x.mean(1, keepdim=True)
        return odeint(functools.partial(field, scale, context), x, TIMES, rtol=1e-3, atol=1e-3)[-1]

    return Case(model, (torch.randn(4, 3),), BATCH, {"scale": 0.7})


class BoundMethod(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.context = None

    def dynamics(self, t, y):
        return self.lin(y) * self.context - y

    def forward(self, x):
        self.context = torch.sigmoid(x.sum(-1, keepdim=True))
        out = odeint(self.dynamics, x, TIMES, rtol=1e-3, atol=1e-3)[-1]
        self.context = None
        return out


def bound_method():
    """The field reads a context that forward keeps on the module for the length of the solve."""
    return Case(BoundMethod(), (torch.randn(3, 3),))


class CallableField:
    def __init__(self, matrix):
        self.matrix = matrix
        self.evals = 0

    def __call__(self, t, y):
        self.evals += 1
        return y @ self.matrix * torch.exp(-t)


def callable_object():
    field = CallableField(torch.randn(3, 3) / 3)
    return Case(lambda x: odeint(field, x, TIMES, method="dopri8", rtol=1e-5), (torch.randn(2, 3).double().float(),))


def several_solves():
    net, other = Net(), Net()

    def model(x, z):
        a = odeint(net, x, TIMES, rtol=1e-3, atol=1e-3)[-1]
        b = odeint(other, z, torch.tensor([0.0, 0.4, 0.5]), method="rk4")
        c = odeint(net, a + b[-1], TIMES.flip(0), method="bosh3", rtol=1e-3, atol=1e-3)
        return {"mid": b, "end": c[-1], "sum": a + c[0]}

    return Case(model, (torch.randn(3, 3), torch.randn(3, 3)), {"x": {0: "batch"}, "z": {0: "batch"}})


def same_solve_in_a_loop():
    net = Net()

    def model(x):
        steps = [x]
        for k in range(4):
            steps.append(odeint(net, steps[-1], torch.tensor([k * 0.5, (k + 1) * 0.5]), method="rk4")[-1])
        return torch.stack(steps, 1)

    return Case(model, (torch.randn(2, 3),))


def tuple_of_two_shapes():
    net, aux = Net(), nn.Linear(2, 2)

    def model(x, z):
        def field(t, state):
            y, w = state
            return net(t, y), torch.tanh(aux(w)) + y.mean()

        y, w = odeint(field, (x, z), torch.linspace(0, 1, 3), rtol=1e-3, atol=1e-3)
        return y.transpose(0, 1), w[-1]

    return Case(model, (torch.randn(3, 3), torch.randn(4, 2)), {"x": {0: "batch"}, "z": {0: "rows"}})


def tuple_of_scalars():
    """Parts of no axes at all, as torchdiffeq's bouncing ball and other hand-written mechanics have."""

    def model(height, speed):
        def field(t, state):
            return state[1], torch.full_like(state[1], -9.81)

        return odeint(field, (height, speed), torch.linspace(0, 1, 4), rtol=1e-6, atol=1e-8)

    return Case(model, (torch.tensor(10.0), torch.tensor(1.5)), {})


def list_slopes():
    net = Net()

    def model(x):
        def field(t, state):
            return [net(t, state[0]), state[0].sum(1)]

        return odeint(field, (x, x.new_zeros(x.shape[0])), TIMES, method="rk4")

    return Case(model, (torch.randn(3, 3),))


def one_part():
    net = Net()
    return Case(lambda x: odeint(lambda t, s: (net(t, s[0]),), (x,), TIMES, rtol=1e-3)[0], (torch.randn(3, 3),))


def options_of_control():
    options = {"first_step": 0.1, "safety": 0.8, "max_num_steps": 200, "ifactor": 5.0, "dfactor": 0.3, "max_step": 0.4}
    return _wrapped(lambda f, x: odeint(f, x, TIMES, method="dopri5", rtol=1e-4, atol=1e-4, options=options)[-1])


def options_ignored():
    return _wrapped(
        lambda f, x: odeint(f, x, TIMES, method="rk4", rtol=1e-9, options={"step_size": 0.5, "first_step": 0.1})[-1]
    )


def one_element_tolerances():
    def solve(f, x):
        return odeint(f, x, TIMES, rtol=torch.tensor([1e-3]), atol=torch.tensor(1e-3))[-1]

    return _wrapped(solve)


def tolerance_list_of_one():
    net = Net()

    def model(x):
        return odeint(lambda t, s: (net(t, s[0]),), (x,), TIMES, rtol=[1e-3], atol=[1e-3])[0][-1]

    return Case(model, (torch.randn(3, 3),))


def broadcast_slope():
    rate = nn.Parameter(torch.randn(3))
    return Case(lambda x: odeint(lambda t, y: rate * (1 + t), x, TIMES, method="rk4")[-1], (torch.randn(2, 3),))


def scalar_slope():
    return Case(lambda x: odeint(lambda t, y: -t, x, TIMES, method="rk4")[-1], (torch.randn(2, 3),))


def constant_slope():
    def model(x):
        drift = torch.tanh(x)
        return odeint(lambda t, y: drift, x, TIMES, rtol=1e-3, atol=1e-3)

    return Case(model, (torch.randn(2, 3),))


def no_state_in_slope():
    lin = nn.Linear(1, 3)

    def model(x):
        return odeint(lambda t, y: lin(t[None, None]).expand_as(y), x, TIMES, rtol=1e-4, atol=1e-4)[-1]

    return Case(model, (torch.randn(2, 3),))


def inputs_by_keyword():
    net = Net()

    def model(x, *, scale, shift=None):
        y = odeint(net, x * scale, TIMES, method="rk4")[-1]
        return y if shift is None else y + shift

    return Case(model, (torch.randn(2, 3),), BATCH, {"scale": torch.rand(1) + 0.5, "shift": None})


def variadic():
    net = Net()

    def model(*parts):
        return odeint(net, torch.cat(parts, 1), TIMES, method="rk4")[-1]

    return Case(model, (torch.randn(2, 1), torch.randn(2, 2)), {"parts_0": {0: "batch"}, "parts_1": {0: "batch"}})


def batch_of_one():
    return Case(Wrapped(lambda f, x: odeint(f, x, TIMES, rtol=1e-3, atol=1e-3)[-1]), (torch.randn(1, 3),))


def batch_equal_to_features():
    return Case(Wrapped(lambda f, x: odeint(f, x, TIMES, rtol=1e-3, atol=1e-3)[-1]), (torch.randn(3, 3),))


def float64():
    model = Wrapped(lambda f, x: odeint(f, x, TIMES.double(), rtol=1e-6, atol=1e-8)[-1]).double()
    return Case(model, (torch.randn(3, 3).double(),))


def in_place():
    net = Net()

    def model(x):
        def field(t, y):
            dy = torch.zeros_like(y)
            dy[:, 0] = y[:, 1]
            dy[:, 1:] = net(t, y)[:, :2]
            dy[..., -1] *= 0.5
            return dy

        out = odeint(field, x, TIMES, rtol=1e-3, atol=1e-3)[-1]
        out[:, 0] += 1
        return out

    return Case(model, (torch.randn(3, 3),))


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.ModuleList([Net(), Net()])
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        for net in self.block:
            x = odeint(net, self.drop(self.norm(x)), TIMES, rtol=1e-3, atol=1e-3)[-1]
        return x


def train_mode():
    return Case(Scripted().train(), (torch.randn(3, 3),))


def not_contiguous():
    def model(x):
        def field(t, y):
            return y.view(-1, 3).flip(-1).view(y.shape) * 0.1

        return odeint(field, x.transpose(0, 1).contiguous(), TIMES, rtol=1e-3, atol=1e-3)[-1]

    return Case(model, (torch.randn(3, 5),), {"x": {1: "batch"}})


def state_broadcast_over_batch():
    """One initial state for all, a context for each: the state takes its batch from `expand`."""
    net, start = Net(), nn.Parameter(torch.randn(1, 3))

    def model(x):
        return odeint(lambda t, y: net(t, y) + x, start.expand(x.shape[0], -1), TIMES, rtol=1e-3, atol=1e-3)[-1]

    return Case(model, (torch.randn(4, 3),))


def fixed_state():
    """The initial state is a constant of the model; only the context comes in."""
    start = torch.tensor([1.0, 0.0, -1.0])
    return Case(lambda x: odeint(lambda t, y: -x * y, start, TIMES, rtol=1e-3, atol=1e-3), (torch.rand(3),), {})


def state_unused():
    net = Net()

    def model(x):
        odeint(net, x, TIMES, method="rk4")
        return odeint(net, 2 * x, TIMES, method="rk4")[-1]

    return Case(model, (torch.randn(2, 3),))


CASES = [
    names_of_the_solver,
    class_attribute,
    solver_as_argument,
    adjoint_arguments,
    lambda_field,
    partial_field,
    bound_method,
    callable_object,
    several_solves,
    same_solve_in_a_loop,
    tuple_of_two_shapes,
    tuple_of_scalars,
    list_slopes,
    one_part,
    options_of_control,
    options_ignored,
    one_element_tolerances,
    tolerance_list_of_one,
    broadcast_slope,
    scalar_slope,
    constant_slope,
    no_state_in_slope,
    inputs_by_keyword,
    variadic,
    batch_of_one,
    batch_equal_to_features,
    float64,
    in_place,
    train_mode,
    not_contiguous,
    state_broadcast_over_batch,
    fixed_state,
    state_unused,
]
