"""Operators with a traced number as an argument give what torch gives for the number itself."""

import pytest
import torch
import torch.nn.functional as F

from odelet_export.capture.decisions.rewrites import rewritten

T = torch.tensor(0.3)
X = torch.tensor([[-3.0, -0.3, 0.0], [0.1, 0.3, 25.0], [torch.nan, torch.inf, -torch.inf]])
Y = torch.linspace(-1, 2, 9).reshape(3, 3)
Z = torch.linspace(0.5, 1, 9).reshape(3, 3)
IMAGE = torch.linspace(-1, 2, 24).reshape(2, 4, 3).sin()
W, B = torch.linspace(0.5, 1, 4), torch.linspace(-1, 1, 4)

CALLS = [
    (F.pad, (Y, (1, -1, 0, 2)), {"value": T}),
    (F.pad, (X, (0, 1), "constant", T), {}),
    (torch.constant_pad_nd, (Y, (0, 1), T), {}),
    (F.hardtanh, (X, -1.0, T), {}),
    (F.hardtanh, (X,), {"min_val": -T}),
    (F.leaky_relu, (X, T), {}),
    (F.softplus, (X,), {"beta": T}),
    (F.softplus, (X, 2.0, T), {}),
    (F.elu, (X, T), {}),
    (F.celu, (X,), {"alpha": T}),
    (F.softshrink, (X, T), {}),
    (F.hardshrink, (X, T), {}),
    (torch.addcmul, (X, Y, Z), {"value": T}),
    (torch.addcdiv, (Y, Y, Z), {"value": T}),
    (torch.addmm, (Y, Y, Z), {"beta": T, "alpha": T}),
    (torch.addmm, (X, Y, Z), {"beta": torch.tensor(0.0)}),
    (torch.addmv, (Y[0], Y, Z[0]), {"alpha": T}),
    (torch.addr, (Y, Y[0], Z[0]), {"beta": T}),
    (torch.baddbmm, (Y[None], Y[None], Z[None]), {"beta": T}),
    (torch.addbmm, (Y, Y.expand(2, 3, 3), Z.expand(2, 3, 3)), {"alpha": T}),
    (torch.nan_to_num, (X, T), {}),
    (torch.nan_to_num, (X,), {"posinf": T}),
    (F.normalize, (Z * torch.tensor([[0.1], [1], [2]]),), {"dim": -1, "eps": T}),
    (F.layer_norm, (Y, (3,), Y[0], Z[0], T), {}),
    (F.layer_norm, (Y, (3, 3)), {"eps": T}),
    (F.rms_norm, (Y, (3,), Z[0], T), {}),
    (F.rms_norm, (Y, (3,)), {"eps": T}),
    (F.group_norm, (IMAGE, 2, W, B), {"eps": T}),
    (F.instance_norm, (IMAGE, None, None, W), {"eps": T}),
    (F.instance_norm, (IMAGE, B, W), {"use_input_stats": False, "eps": T}),
    (F.batch_norm, (IMAGE, B, W, W, B), {"eps": T}),
    (F.batch_norm, (IMAGE, None, None), {"training": True, "eps": T}),
    (F.scaled_dot_product_attention, (IMAGE, IMAGE + 1, IMAGE), {"scale": T}),
    (F.scaled_dot_product_attention, (IMAGE, IMAGE + 1, IMAGE, IMAGE @ IMAGE.mT), {"scale": T}),
    (F.cosine_similarity, (Y, Z, -1, T), {}),
    (F.cosine_similarity, (Y, Z * 0.1), {"eps": T}),
    (F.pairwise_distance, (Y, Z), {"eps": T}),
    (F.pairwise_distance, (Y, Z, 3.0, T, True), {}),
    (F.smooth_l1_loss, (Y, Z), {"beta": T}),
    (F.smooth_l1_loss, (Y, Z), {"beta": T * 0, "reduction": "sum"}),
    (F.huber_loss, (Y, Z, "none", T), {}),
    (F.threshold, (X, T, -1.0), {}),
    (F.threshold, (X, 0.2, T), {}),
    (torch.logit, (Z, T), {}),
    (torch.special.logit, (Z,), {"eps": T}),
    (torch.trapezoid, (Y,), {"dx": T, "dim": 0}),
    (torch.trapz, (Y,), {"dx": T}),
    (torch.cumulative_trapezoid, (Y,), {"dx": T}),
    (torch.isclose, (Y, Z, T), {}),
    (torch.isclose, (X, X * 1.1), {"atol": T, "equal_nan": True}),
    (torch.add, (Y, Z), {"alpha": T}),
    (torch.sub, (Y, Z), {"alpha": T}),
    (torch.rsub, (Y, Z), {"alpha": T}),
]
IDS = [f"{function.__name__} {number}" for number, (function, _, _) in enumerate(CALLS)]


def computed(function, args, kwargs):
    rewrite = rewritten(function.__name__, args, kwargs, None)
    assert rewrite is not None, f"{function.__name__} is not rewritten"
    return rewrite()


def plain(x):
    """A number in place of a tensor of no axes."""
    return x.item() if isinstance(x, torch.Tensor) and not x.ndim else x


@pytest.mark.parametrize(("function", "args", "kwargs"), CALLS, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_result_is_that_of_torch(function, args, kwargs, dtype):
    def typed(x):
        return x.to(dtype) if isinstance(x, torch.Tensor) and x.ndim else x

    args = tuple(typed(x) for x in args)
    expected = function(*map(plain, args), **{name: plain(x) for name, x in kwargs.items()})
    torch.testing.assert_close(computed(function, args, kwargs), expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_a_function_that_writes_into_its_argument_does_so():
    x = Y.clone()
    assert computed(torch.Tensor.addcmul_, (x, Y, Z), {"value": T}) is x
    torch.testing.assert_close(x, Y + 0.3 * Y * Z)
    assert computed(F.leaky_relu, (x,), {"negative_slope": T, "inplace": True}) is x
    assert computed(torch.Tensor.add_, (x, Y), {"alpha": T}) is x


def test_numbers_that_torch_refuses_give_no_number():
    assert computed(F.hardtanh, (Y, 1.0, T), {}).isnan().all()
    assert computed(F.softshrink, (Y, -T), {}).isnan().all()


@pytest.mark.parametrize("slope", [0.3, torch.tensor([0.3])])
def test_other_calls_are_traced_as_they_are(slope):
    assert rewritten("leaky_relu", (Y, slope), {}, None) is None
