"""Complex inputs and results are refused with their names and the way out."""

import pytest
import torch
from torchdiffeq import odeint

from odelet.errors import InputError
from odelet_export import export

TIMES = torch.tensor([0.0, 1.0])


def solved(z):
    return odeint(lambda t, y: -y, z, TIMES, method="euler")[-1]


def test_a_complex_input_is_refused(tmp_path):
    def model(z):
        return solved(torch.view_as_real(z))

    for dynamic in ({"z": {0: "b"}}, None):
        with pytest.raises(InputError, match=r"input 'z' is complex64, .* give the model torch.view_as_real\(z\)"):
            export(model, (torch.randn(2, 3, dtype=torch.cfloat),), tmp_path / "out", dynamic=dynamic)


def test_a_complex_result_is_refused(tmp_path):
    def model(x):
        return {"y": solved(x), "z": torch.view_as_complex(solved(x))}

    with pytest.raises(InputError, match="the result 'z' of the model is complex64, .* return torch.view_as_real"):
        export(model, (torch.randn(3, 2),), tmp_path / "out", dynamic={"x": {0: "b"}})
    with pytest.raises(InputError, match="the result of the model is complex64"):
        export(lambda x: torch.view_as_complex(solved(x)), (torch.randn(3, 2),), tmp_path / "out")
    assert not list(tmp_path.iterdir())
