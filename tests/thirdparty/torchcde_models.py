"""Neural CDEs with torchcde, as its example builds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from trial import Source, Trial

SOURCE = Source("torchcde", "0.2.5 from PyPI", package="torchcde")


class _Field(torch.nn.Module):
    """A field (batch, hidden, input channels) that ends with a tanh."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.shape = (hidden, inputs)
        self.first = torch.nn.Linear(hidden, 16)
        self.last = torch.nn.Linear(16, hidden * inputs)

    def forward(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(z).relu()).tanh().view(z.size(0), *self.shape)


class _Product(_Field):
    """The same field with the method `prod`, which torchcde calls where a field has it."""

    def prod(self, t: torch.Tensor, z: torch.Tensor, control: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bhi,bi->bh", self.forward(t, z), control)


class _NeuralCDE(torch.nn.Module):
    def __init__(
        self, control: Callable[[torch.Tensor], Any], *, field: type = _Field, grid: bool = False, **options: Any
    ):
        super().__init__()
        self.func = field(3, 5)
        self.initial = torch.nn.Linear(3, 5)
        self.readout = torch.nn.Linear(5, 2)
        self.control, self.grid, self.options = control, grid, options

    def forward(self, coeffs: torch.Tensor) -> torch.Tensor:
        import torchcde

        X = self.control(coeffs)
        options = dict(self.options)
        if self.grid:  # the solver must know where the control is not smooth
            options["options"] = {"jump_t": X.grid_points}
        z0 = self.initial(X.evaluate(X.interval[0]))
        z = torchcde.cdeint(X=X, func=self.func, z0=z0, t=X.interval, **options)
        return self.readout(z[:, 1])


def _path(length: int = 7) -> torch.Tensor:
    """Two series whose first channel is the time."""
    t = torch.linspace(0.0, 2.0, length)
    return torch.stack([t.expand(4, length), *torch.randn(2, 4, length).cumsum(-1) * 0.4], dim=-1)


def _trial(model: _NeuralCDE, coeffs: torch.Tensor) -> Trial:
    return Trial(model, (coeffs,), {"coeffs": {0: "batch"}})


def _cubic(coeffs: torch.Tensor) -> Any:
    import torchcde

    return torchcde.CubicSpline(coeffs)


def _linear(coeffs: torch.Tensor) -> Any:
    import torchcde

    return torchcde.LinearInterpolation(coeffs)


def _hermite_coeffs(x: torch.Tensor) -> torch.Tensor:
    import torchcde

    return torchcde.hermite_cubic_coefficients_with_backward_differences(x)


def _linear_coeffs(x: torch.Tensor, rectilinear: int | None = None) -> torch.Tensor:
    import torchcde

    return torchcde.linear_interpolation_coeffs(x, rectilinear=rectilinear)


@SOURCE.case("cubic Hermite control, adjoint (the default)", forms={"auto": {}, "driven": {}})
def hermite_adjoint() -> Trial:
    return _trial(_NeuralCDE(_cubic), _hermite_coeffs(_path()))


@SOURCE.case("cubic Hermite control, without adjoint")
def hermite() -> Trial:
    return _trial(_NeuralCDE(_cubic, adjoint=False), _hermite_coeffs(_path()))


@SOURCE.case("natural cubic control")
def natural() -> Trial:
    import torchcde

    return _trial(_NeuralCDE(_cubic), torchcde.natural_cubic_coeffs(_path()))


@SOURCE.case("linear control, jump_t at its knots", forms={"auto": {}, "driven": {}})
def linear_jumps() -> Trial:
    return _trial(_NeuralCDE(_linear, grid=True, adjoint=False), _linear_coeffs(_path()))


@SOURCE.case("linear control, adjoint, jump_t at its knots")
def linear_jumps_adjoint() -> Trial:
    return _trial(_NeuralCDE(_linear, grid=True), _linear_coeffs(_path()))


@SOURCE.case("rectilinear control, jump_t at its knots")
def rectilinear_jumps() -> Trial:
    return _trial(_NeuralCDE(_linear, grid=True, adjoint=False), _linear_coeffs(_path(), rectilinear=0))


@SOURCE.case(
    "linear control, rk4 with step_size 0.5",
    forms={"auto": {}, "unrolled": {}},
)
def linear_rk4() -> Trial:
    return _trial(_NeuralCDE(_linear, adjoint=False, method="rk4", options={"step_size": 0.5}), _linear_coeffs(_path()))


@SOURCE.case("a field with its own prod")
def hermite_product() -> Trial:
    return _trial(_NeuralCDE(_cubic, field=_Product, adjoint=False), _hermite_coeffs(_path()))


@SOURCE.case("coefficients computed inside the model, from the observations")
def hermite_from_observations() -> Trial:
    return _trial(_NeuralCDE(lambda x: _cubic(_hermite_coeffs(x)), adjoint=False), _path())


@SOURCE.case("natural cubic coefficients computed inside the model")
def natural_from_observations() -> Trial:
    import torchcde

    return _trial(_NeuralCDE(lambda x: _cubic(torchcde.natural_cubic_coeffs(x)), adjoint=False), _path())


@SOURCE.case("backend torchsde, whose steps are those of an SDE without noise", forms={"auto": {}, "driven": {}})
def torchsde_backend() -> Trial:
    model = _NeuralCDE(_cubic, adjoint=False, backend="torchsde", method="midpoint", dt=0.25)
    return _trial(model, _hermite_coeffs(_path()))
