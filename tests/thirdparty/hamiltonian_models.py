"""The models of d-biswa/Symplectic-ODENet, built as its train.py files do."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("d-biswa/Symplectic-ODENet", "symoden.py, nn_models.py at commit 9ccc0bb", "Symplectic-ODENet")
TIMES = torch.linspace(0.0, 0.1, 3)
DEVICE = torch.device("cpu")


def _stubs() -> None:
    stub("imageio", "imageio_ffmpeg", "gym", "gym.wrappers", "matplotlib.pyplot", "scipy.integrate", "autograd", "PIL")


def _solve(field: torch.nn.Module, state: torch.Tensor, *, solver: str = "rk4") -> Trial:
    from torchdiffeq import odeint_adjoint

    def predict(x: torch.Tensor, t_eval: torch.Tensor) -> torch.Tensor:
        return odeint_adjoint(field, x, t_eval, method=solver)

    return Trial(Script(predict, field), (state, TIMES), {"x": {0: "batch"}, "t_eval": {0: "times"}})


@SOURCE.case("single-force: a Hamiltonian network in q, p and a control u", forms={"auto": {}, "driven": {}})
def hamiltonian() -> Trial:
    _stubs()
    from nn_models import MLP
    from symoden import SymODEN_R

    field = SymODEN_R(2, H_net=MLP(2, 32, 1, "tanh"), g_net=MLP(1, 16, 1), device=DEVICE)
    return _solve(field, torch.randn(4, 3))


@SOURCE.case("single-force --structure: mass, potential and input networks")
def structured() -> Trial:
    _stubs()
    from nn_models import MLP
    from symoden import SymODEN_R

    nets = {"M_net": MLP(1, 16, 1), "V_net": MLP(1, 16, 1), "g_net": MLP(1, 16, 1)}
    return _solve(SymODEN_R(2, device=DEVICE, structure=True, **nets), torch.randn(4, 3))


@SOURCE.case("single-force --baseline: a plain network")
def baseline() -> Trial:
    _stubs()
    from nn_models import MLP
    from symoden import SymODEN_R

    return _solve(SymODEN_R(2, H_net=MLP(2, 32, 2, "tanh"), device=DEVICE, baseline=True), torch.randn(4, 3))


@SOURCE.case("single-embed --structure: angles embedded as cosine and sine")
def embedded() -> Trial:
    _stubs()
    from nn_models import MLP, PSD
    from symoden import SymODEN_T

    nets = {"M_net": PSD(2, 16, 1), "V_net": MLP(2, 16, 1), "g_net": MLP(2, 16, 1)}
    field = SymODEN_T(1, device=DEVICE, structure=True, **nets)
    angle = torch.randn(4, 1)
    return _solve(field, torch.cat((angle.cos(), angle.sin(), torch.randn(4, 2)), 1))


@SOURCE.case("double-embed --structure: a 2 x 2 mass matrix, its inverse and its derivatives")
def double_embedded() -> Trial:
    _stubs()
    from nn_models import MLP, PSD, MatrixNet
    from symoden import SymODEN_T

    nets = {"M_net": PSD(4, 16, 2), "V_net": MLP(4, 16, 1), "g_net": MatrixNet(4, 16, 4, shape=(2, 2))}
    field = SymODEN_T(2, device=DEVICE, structure=True, u_dim=2, **nets)
    angle = torch.randn(4, 2)
    return _solve(field, torch.cat((angle.cos(), angle.sin(), torch.randn(4, 4)), 1))


@SOURCE.case("cartpole-embed --structure: translation and rotation")
def cart_and_pole() -> Trial:
    _stubs()
    from nn_models import MLP, PSD
    from symoden import SymODEN_R1_T1

    nets = {"M_net": PSD(3, 16, 2), "V_net": MLP(3, 16, 1), "g_net": MLP(3, 16, 2)}
    field = SymODEN_R1_T1(2, device=DEVICE, structure=True, u_dim=1, **nets)
    angle = torch.randn(4, 1)
    return _solve(field, torch.cat((torch.randn(4, 1), angle.cos(), angle.sin(), torch.randn(4, 3)), 1))
