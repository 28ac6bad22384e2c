"""The examples of rtqichen/torchdiffeq."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from trial import Script, Source, Trial, stub, with_arguments

SOURCE = Source("rtqichen/torchdiffeq", "examples/ at commit 657943a", "torchdiffeq")


def _example(name: str, *arguments: str) -> Any:
    """The script of an example, imported as a module: its block `if __name__ == "__main__"` does not run."""
    sys.path.insert(0, str(Path(sys.path[0]) / "examples"))
    stub("torchvision.datasets", "torchvision.transforms", "torchvision.utils")
    with_arguments(*arguments)
    return __import__(name)


BATCH_AND_TIMES = {"y0": {0: "batch"}, "t": {0: "times"}}


def _demo(*arguments: str) -> Trial:
    demo = _example("ode_demo", *arguments)
    func = demo.ODEFunc()
    return Trial(
        Script(lambda y0, t: demo.odeint(func, y0, t), func),
        (torch.randn(4, 2), torch.linspace(0.0, 1.0, 10)),
        BATCH_AND_TIMES,
    )


@SOURCE.case("ode_demo.py: a small field, batch and times as inputs", forms={"auto": {}, "driven": {}})
def ode_demo() -> Trial:
    return _demo()


@SOURCE.case(
    "ode_demo.py --adjoint, with fixed steps asked for",
    forms={"auto": {}, "unrolled": {"method": "rk4", "steps": 20}, "rolled": {"method": "rk4", "steps": 20}},
)
def ode_demo_adjoint() -> Trial:
    return _demo("--adjoint")


@SOURCE.case("ode_demo.py: the true system, a field that reads a global tensor")
def ode_demo_truth() -> Trial:
    demo = _example("ode_demo")
    return Trial(
        Script(lambda y0, t: demo.odeint(demo.Lambda(), y0, t, method="dopri5")),
        (torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.linspace(0.0, 3.0, 10)),
        BATCH_AND_TIMES,
    )


def _odenet(downsampling: str, *arguments: str, width: int = 16) -> Trial:
    net = _example("odenet_mnist", "--downsampling-method", downsampling, *arguments)
    if downsampling == "conv":
        layers = [
            *(torch.nn.Conv2d(1, width, 3, 1), net.norm(width), torch.nn.ReLU(inplace=True)),
            *(torch.nn.Conv2d(width, width, 4, 2, 1), net.norm(width), torch.nn.ReLU(inplace=True)),
            torch.nn.Conv2d(width, width, 4, 2, 1),
        ]
    else:
        layers = [torch.nn.Conv2d(1, width, 3, 1)]
        layers += [net.ResBlock(width, width, stride=2, downsample=net.conv1x1(width, width, 2)) for _ in range(2)]
    head = [
        *(net.norm(width), torch.nn.ReLU(inplace=True), torch.nn.AdaptiveAvgPool2d((1, 1))),
        *(net.Flatten(), torch.nn.Linear(width, 10)),
    ]
    model = torch.nn.Sequential(*layers, net.ODEBlock(net.ODEfunc(width)), *head)
    return Trial(model, (torch.rand(3, 1, 28, 28),), {"input": {0: "batch"}})


@SOURCE.case("odenet_mnist.py: ODE block between convolutions, tolerance 1e-3", forms={"auto": {}, "driven": {}})
def odenet_mnist_conv() -> Trial:
    return _odenet("conv")


@SOURCE.case("odenet_mnist.py --downsampling-method res --adjoint True")
def odenet_mnist_res() -> Trial:
    return _odenet("res", "--adjoint", "True")


def _latent_ode(draw: Any) -> Trial:
    script = _example("latent_ode")
    func, dec = script.LatentODEfunc(4, 20), script.Decoder(4, 2, 20)
    rec = script.RecognitionRNN(4, 2, 25, 5)

    def reconstruct(samp_trajs: torch.Tensor, samp_ts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = rec.initHidden()
        for t in reversed(range(samp_trajs.size(1))):
            out, h = rec.forward(samp_trajs[:, t, :], h)
        qz0_mean, qz0_logvar = out[:, :4], out[:, 4:]
        z0 = draw(qz0_mean, qz0_logvar)
        pred_z = script.odeint(func, z0, samp_ts).permute(1, 0, 2)
        return dec(pred_z), qz0_mean

    args = (torch.randn(5, 8, 2), torch.linspace(0.0, 2.0, 8))
    return Trial(Script(reconstruct, func, dec, rec), args, {"samp_ts": {0: "times"}})


@SOURCE.case("latent_ode.py: encoder backwards in time, mean, decoded at given times", forms={"auto": {}, "driven": {}})
def latent_ode_mean() -> Trial:
    return _latent_ode(lambda mean, logvar: mean)


@SOURCE.case("latent_ode.py: the same with a sample of z0 (torch.randn)")
def latent_ode_sampled() -> Trial:
    return _latent_ode(lambda mean, logvar: torch.randn(mean.size()) * torch.exp(0.5 * logvar) + mean)


def _cnf() -> Any:
    stub("PIL.Image")
    return _example("cnf")


@SOURCE.case(
    "cnf.py: hypernetwork of t, exact trace by autograd inside, tuple state, log-density",
    forms={"auto": {}, "driven": {}},
)
def cnf_density() -> Trial:
    script = _cnf()
    func = script.CNF(in_out_dim=2, hidden_dim=8, width=16)
    p_z0 = torch.distributions.MultivariateNormal(
        loc=torch.tensor([0.0, 0.0]), covariance_matrix=torch.tensor([[0.1, 0.0], [0.0, 0.1]])
    )

    def density(x: torch.Tensor) -> torch.Tensor:
        logp_diff_t1 = torch.zeros(x.shape[0], 1).type(torch.float32)
        z_t, logp_diff_t = script.odeint(
            func,
            (x, logp_diff_t1),
            torch.tensor([10, 0]).type(torch.float32),
            atol=1e-5,
            rtol=1e-5,
            method="dopri5",
        )
        return p_z0.log_prob(z_t[-1]) - logp_diff_t[-1].view(-1)

    return Trial(Script(density, func), (torch.randn(6, 2),), {"x": {0: "batch"}})


@SOURCE.case("cnf.py --viz: samples at 41 float64 times, from given z")
def cnf_samples() -> Trial:
    import numpy as np

    script = _cnf()
    func = script.CNF(in_out_dim=2, hidden_dim=8, width=16)

    def samples(z_t0: torch.Tensor) -> torch.Tensor:
        logp_diff_t0 = torch.zeros(z_t0.shape[0], 1).type(torch.float32)
        times = torch.tensor(np.linspace(0, 10, 41))
        return script.odeint(func, (z_t0, logp_diff_t0), times, atol=1e-5, rtol=1e-5, method="dopri5")

    return Trial(Script(samples, func), (torch.randn(6, 2),), {"z_t0": {0: "batch"}})


def _ball(**options: Any) -> Any:
    script = _example("bouncing_ball")  # the script makes float64 the default dtype
    return script.BouncingBallExample(**options)


@SOURCE.case(
    "bouncing_ball.py: three events in turn, everything a parameter, no input", forms={"auto": {}, "driven": {}}
)
def bouncing_ball_parameters() -> Trial:
    ball = _ball()
    return Trial(Script(lambda: ball.get_collision_times(3), ball), ())


@SOURCE.case("bouncing_ball.py: the same from a given height and speed, adjoint")
def bouncing_ball_inputs() -> Trial:
    ball = _ball(adjoint=True)

    def collide(pos: torch.Tensor, vel: torch.Tensor) -> list[torch.Tensor]:
        ball.get_initial_state = lambda: (ball.t0, (pos, vel, ball.log_radius))
        return ball.get_collision_times(3)

    return Trial(Script(collide, ball), (torch.tensor([10.0]), torch.tensor([0.5])))


@SOURCE.case("bouncing_ball.py: simulate, whose grids are as long as the time between two bounces")
def bouncing_ball_simulate() -> Trial:
    ball = _ball()
    return Trial(Script(lambda: ball.simulate(2)[:3], ball), ())


@SOURCE.case("learn_physics.py --no_events: augmented field with sines, trained start, times as input")
def learn_physics_neural_ode() -> Trial:
    script = _example("learn_physics")
    model = script.NeuralODE()
    return Trial(
        Script(lambda times: model.simulate(times)[0], model), (torch.linspace(0.0, 1.0, 12),), {"times": {0: "times"}}
    )


@SOURCE.case("learn_physics.py: events until the last time, in a loop that their times end")
def learn_physics_events() -> Trial:
    script = _example("learn_physics")
    model = script.NeuralPhysics()
    model.event_fn.radius.data.fill_(0.5)
    return Trial(Script(lambda times: model.simulate(times)[0], model), (torch.linspace(0.0, 2.0, 12),))
