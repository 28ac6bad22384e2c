"""The models of YuliaRubanova/latent_ode, built as its run_models.py does."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from trial import Script, Source, Trial, stub

SOURCE = Source("YuliaRubanova/latent_ode", "lib/ at commit c0682d4", "latent_ode")

TIMES = torch.tensor([0.0, 0.1, 0.35, 0.4, 0.7, 1.0])


def _lib() -> None:
    stub("pandas")


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    """Observations of three series with two variables, and the mask of the values that are not missing."""
    mask = (torch.rand(3, len(TIMES), 2) < 0.7).float()
    return torch.randn(3, len(TIMES), 2) * mask, mask


def _latent_ode(**options: Any) -> Any:
    _lib()
    from lib.create_latent_ode_model import create_LatentODE_model
    from torch.distributions.normal import Normal

    settings = dict(
        latents=4,
        poisson=False,
        units=16,
        gen_layers=1,
        rec_layers=1,
        rec_dims=8,
        gru_units=12,
        z0_encoder="odernn",
        classif=False,
        linear_classif=False,
        dataset="periodic",
    )
    prior = Normal(torch.Tensor([0.0]), torch.Tensor([1.0]))
    return create_LatentODE_model(
        Namespace(**{**settings, **options}), 2, prior, torch.Tensor([0.01]), torch.device("cpu")
    ).eval()


def _reconstruct(model: Any, *, output: str = "") -> Trial:
    def reconstruct(tp_to_predict: Any, truth: Any, tp: Any, mask: Any) -> Any:
        pred_x, info = model.get_reconstruction(tp_to_predict, truth, tp, mask=mask, n_traj_samples=1)
        return (pred_x, info[output]) if output else pred_x

    data, mask = _data()
    args = (torch.linspace(0.0, 1.2, 7), data, TIMES, mask)
    dynamic = {"tp_to_predict": {0: "asked"}, "truth": {0: "batch"}, "mask": {0: "batch"}}
    return Trial(Script(reconstruct, model).eval(), args, dynamic)


@SOURCE.case("Latent ODE with a GRU encoder: get_reconstruction with mask and times, z0 drawn")
def latent_ode_rnn() -> Trial:
    return _reconstruct(_latent_ode(z0_encoder="rnn"))


@SOURCE.case(
    "Latent ODE with an ODE-RNN encoder (Euler between observations, backwards)", forms={"auto": {"freeze": ["tp"]}}
)
def latent_ode_odernn() -> Trial:
    return _reconstruct(_latent_ode())


@SOURCE.case("Latent ODE --poisson: rate integrated in the state")
def latent_ode_poisson() -> Trial:
    return _reconstruct(_latent_ode(z0_encoder="rnn", poisson=True), output="int_lambda")


@SOURCE.case("Latent ODE --classif: labels from z0")
def latent_ode_classif() -> Trial:
    return _reconstruct(_latent_ode(z0_encoder="rnn", classif=True), output="label_predictions")


@SOURCE.case("Latent ODE: trajectories drawn from the prior")
def latent_ode_prior() -> Trial:
    model = _latent_ode(z0_encoder="rnn")

    def draw(time_steps: torch.Tensor) -> torch.Tensor:
        return model.sample_traj_from_prior(time_steps, n_traj_samples=3)

    return Trial(Script(draw, model).eval(), (TIMES,), {"time_steps": {0: "times"}})


@SOURCE.case("Latent ODE: compute_all_losses with a batch as a dict")
def latent_ode_losses() -> Trial:
    model = _latent_ode(z0_encoder="rnn")
    data, mask = _data()
    batch = {
        "tp_to_predict": TIMES,
        "observed_data": data,
        "observed_tp": TIMES,
        "observed_mask": mask,
        "data_to_predict": data,
        "mask_predicted_data": mask,
        "mode": "interp",
        "labels": None,
    }
    return Trial(Script(lambda batch_dict: model.compute_all_losses(batch_dict)["loss"], model).eval(), (batch,))


@SOURCE.case(
    "the ODE-RNN encoder alone, backwards",
    forms={"auto": {"freeze": ["time_steps"]}, "driven": {"freeze": ["time_steps"]}},
)
def encoder_odernn() -> Trial:
    encoder = _latent_ode().encoder_z0
    data, mask = _data()
    args = (torch.cat((data, mask), -1), TIMES)
    return Trial(encoder, args, {"data": {0: "batch"}})


@SOURCE.case("DiffeqSolver alone: dopri5 from given z0 to given times", forms={"auto": {}, "driven": {}})
def diffeq_solver() -> Trial:
    solver = _latent_ode().diffeq_solver
    args = (torch.randn(2, 3, 4), TIMES)
    return Trial(solver, args, {"first_point": {1: "batch"}, "time_steps_to_predict": {0: "times"}})


@SOURCE.case("ODE-RNN baseline: get_reconstruction over its own observations", forms={"auto": {"freeze": ["tp"]}})
def ode_rnn() -> Trial:
    _lib()
    import lib.utils as utils
    from lib.diffeq_solver import DiffeqSolver
    from lib.ode_func import ODEFunc
    from lib.ode_rnn import ODE_RNN

    net = utils.create_net(8, 8, n_layers=1, n_units=16, nonlinear=torch.nn.Tanh)
    func = ODEFunc(input_dim=2, latent_dim=8, ode_func_net=net)
    solver = DiffeqSolver(2, func, "euler", 8, odeint_rtol=1e-3, odeint_atol=1e-4)
    model = ODE_RNN(2, 8, z0_diffeq_solver=solver, n_gru_units=12, n_units=16, concat_mask=True)

    def reconstruct(data: Any, tp: Any, mask: Any) -> Any:
        return model.get_reconstruction(tp, data, tp, mask=mask)[0]

    data, mask = _data()
    return Trial(Script(reconstruct, model).eval(), (data, TIMES, mask), {"data": {0: "batch"}, "mask": {0: "batch"}})
