"""Operators along an axis whose size may change leave the size free, one trace of each below autograd.

Others fix it in torch itself, as unbind must; a model that uses one is refused, with its line.
"""

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from odelet_export.capture.decisions.answers import TracingWatch
from odelet_export.capture.sizes.symbolic_inputs import symbolic_inputs
from odelet_export.capture.sizes.watch import SizeError, SizeWatch
from odelet_export.capture.surroundings import quiet_tracing

DYNAMIC = {"x": {0: "n"}}
ONES = torch.ones(4)

OPERATORS = {
    "chunk": lambda x: torch.cat([x, x]).chunk(2)[0],
    "tensor_split": lambda x: torch.cat([x, x]).tensor_split(2)[0],
    "split": lambda x: torch.cat([x, x]).split(x.shape[0])[1],
    "unflatten": lambda x: torch.cat([x, x]).unflatten(0, (2, -1)),
    "gradient": lambda x: torch.gradient(x, dim=0)[0],
    "diff": lambda x: x.diff(dim=0),
    "roll": lambda x: x.roll(1, 0),
    "flip": lambda x: x.flip(0),
    "cumsum": lambda x: x.cumsum(0),
    "sort": lambda x: x.sort(0)[0],
    "std": lambda x: x.std(0),
    "softmax": lambda x: x.softmax(0),
    "cdist": lambda x: torch.cdist(x, x + 2),
    "tril": lambda x: (x @ x.T).tril(),
    "diagonal": lambda x: (x @ x.T).diagonal(),
    "outer": lambda x: torch.outer(x[:, 0], x[:, 1]),
    "einsum": lambda x: torch.einsum("ni,mi->nm", x, x),
    "tensordot": lambda x: torch.tensordot(x, x, ([0], [0])),
    "meshgrid": lambda x: torch.meshgrid(x[:, 0], x[:, 1], indexing="ij")[0],
    "cartesian_prod": lambda x: torch.cartesian_prod(x[:, 0], x[:, 1]),
    "linspace": lambda x: torch.linspace(0, x.shape[0] - 1, x.shape[0]),
    "arange": lambda x: torch.arange(x.shape[0] - 1, -1, -1),
    "tensor": lambda x: torch.tensor([x.shape[0], 2.0]),
    "full": lambda x: torch.full((3,), x.shape[0]),
    "triu_indices": lambda x: x[torch.triu_indices(x.shape[0], x.shape[0], 1)[0]],
    "tril_indices": lambda x: torch.tril_indices(x.shape[0], 4, offset=-1, dtype=torch.int32),
    "padded to a multiple": lambda x: F.pad(x, (0, 0, 0, -x.shape[0] % 4)).reshape(-1, 4, 4)[:, 1:],
    "a slice of all": lambda x: F.pad(x, (0, 0, 0, -x.shape[0] % 3))[: x.shape[0]],
    "fold": lambda x: F.fold(F.unfold(x[None, None], 3, padding=1), x.shape, 3, padding=1),
    "interpolate to a size": lambda x: F.interpolate(x[None, None, ::2], size=x.shape),
    "element": lambda x: x[x.shape[0] // 2],
    "trapezoid": lambda x: torch.trapezoid(x, dim=0),
    "cumulative_trapezoid": lambda x: torch.cumulative_trapezoid(x, dim=0),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 0),
    "unfold": lambda x: x.unfold(0, 2, 1),
    "rfft": lambda x: torch.fft.rfft(x, dim=1).real,
    "pad": lambda x: F.pad(x, (0, 0, 1, 1)),
    "interpolate": lambda x: F.interpolate(x.T[None], scale_factor=2),
    "conv1d": lambda x: F.conv1d(x.T[None], ONES.reshape(1, 4, 1)),
    "layer_norm": lambda x: F.layer_norm(x, (4,)),
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]),
    "kron": lambda x: torch.kron(x, x[:2]),
    "kron of vectors": lambda x: torch.kron(x[:, 0], x),
    "cov": lambda x: torch.cov(x.T),
    "cov of one": lambda x: torch.cov(x[:, 0], correction=0),
    "corrcoef": lambda x: torch.corrcoef(x),
    "fftfreq": lambda x: torch.fft.fftfreq(x.shape[0], 0.5),
    "rfftfreq": lambda x: torch.fft.rfftfreq(x.shape[0], d=0.5),
    "logspace": lambda x: torch.logspace(-1, 1, x.shape[0]),
    "logspace base": lambda x: torch.logspace(0, 1, steps=x.shape[0], base=2),
    "isin": lambda x: torch.isin((4 * x).long(), torch.tensor([1, 2])),
    "isin of many": lambda x: torch.isin((4 * x).long(), (8 * x[:1]).long(), invert=True),
    "multi_dot": lambda x: torch.linalg.multi_dot([x, x.T, x]),
    "take_along_dim": lambda x: torch.take_along_dim(x, x.argsort(0), 0),
    "take_along_dim broadcast": lambda x: torch.take_along_dim(x, x.argmax(1, keepdim=True), dim=1),
    "max_pool1d": lambda x: F.max_pool1d(x.T, 2, stride=1, padding=1),
    "max_pool1d places": lambda x: F.max_pool1d(x.T[None], 3, return_indices=True)[1],
    "matrix_norm": lambda x: torch.linalg.matrix_norm(x, 1),
    "matrix_norm rows": lambda x: torch.linalg.matrix_norm(x[None], -torch.inf, keepdim=True),
    "vander": lambda x: torch.vander(x[:, 0], 3),
    "linalg.vander": lambda x: torch.linalg.vander(x, N=4),
    "glu": lambda x: F.glu(torch.cat([x, x * x]), 0),
    "glu in forward mode": lambda x: torch.func.jvp(lambda y: F.glu(y, 1), (x,), (x.cos(),))[1],
    "cross_entropy": lambda x: F.cross_entropy(x, torch.zeros(x.shape[0], dtype=torch.long)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_leaves_the_size_of_an_axis_free(name):
    x = torch.rand(7, 4) + 0.1
    sizes = SizeWatch(DYNAMIC)
    watch = TracingWatch(OPERATORS[name], {"x": x}, {}, sizes)

    def run(tensor):
        with watch.running({"x": tensor}, {}):
            result = OPERATORS[name](tensor)
        watch.guards()
        return result

    with quiet_tracing(), symbolic_inputs([x], [DYNAMIC["x"]]), sizes.asked():
        traced = make_fx(run, tracing_mode="symbolic", _allow_non_fake_inputs=True)(x)
    assert all(not one.text.startswith(("n ==", "n <=")) for one in sizes.conditions)
    for size in (7, 9, 40):
        other = torch.rand(size, 4) + 0.1
        torch.testing.assert_close(traced(other), OPERATORS[name](other))


def test_a_size_that_is_fixed_is_told():
    def function(x):
        return torch.stack(list(x.unbind(0)))

    x = torch.rand(7, 4)
    sizes = SizeWatch(DYNAMIC)
    watch = TracingWatch(function, {"x": x}, {}, sizes)

    def run(tensor):
        with watch.running({"x": tensor}, {}):
            result = function(tensor)
        watch.guards()
        return result

    with symbolic_inputs([x], [DYNAMIC["x"]]), sizes.asked(), pytest.raises(SizeError, match="unbind"):
        make_fx(run, tracing_mode="symbolic", _allow_non_fake_inputs=True)(x)
