"""The transforms of torch.func that stand in for others during a trace give the same results, and are put back."""

import warnings

import pytest
import torch
from torch._functorch import eager_transforms
from torch.func import hessian, jacfwd, jacrev, linearize, vmap

from odelet_export.capture.transforms import plain_transforms


def function(x, pair):
    return {"sine": (x * pair[0]).sin(), "sum": pair[1].sum()}


def test_linearize_gives_the_value_and_the_derivative():
    torch.manual_seed(0)
    primals, direction = ((torch.randn(3), [torch.randn(3), torch.randn(2)]) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns when it first differentiates in forward mode
        value, along = linearize(function, *primals)
        wanted = value, along(*direction)
        with plain_transforms():
            value, along = linearize(function, *primals)
            torch.testing.assert_close((value, along(*direction)), wanted)


def test_a_vmap_in_pieces_runs_in_one_piece():
    sizes = []

    def square(x):
        sizes.append(x.shape)
        return x * x

    x = torch.randn(5, 2)
    with plain_transforms():
        torch.testing.assert_close(vmap(square, chunk_size=2)(x), x * x)
    assert len(sizes) == 1
    vmap(square, chunk_size=2)(x)
    assert len(sizes) == 4, "the transform was not put back"


@pytest.mark.parametrize("chunk", [None, 1, 2])
@pytest.mark.parametrize("transform", [jacrev, jacfwd, lambda f, argnums, **_: hessian(f, argnums)])
def test_derivatives_by_several_tensors_of_several_shapes_are_the_same(transform, chunk):
    torch.manual_seed(0)
    x, matrix = torch.randn(3), torch.randn(2, 3, dtype=torch.float64)

    def results(x, matrix):
        return {"product": (matrix * x).sin(), "sum": x.square().sum()}

    options = {} if transform is jacfwd else {"chunk_size": chunk}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        wanted = transform(results, argnums=(0, 1), **options)(x, matrix)
        with plain_transforms():
            got = transform(results, argnums=(0, 1), **options)(x, matrix)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_transforms_are_put_back_after_an_error():
    original, basis = linearize.__code__, eager_transforms._chunked_standard_basis_for_
    with pytest.raises(ZeroDivisionError), plain_transforms():
        assert linearize.__code__ is not original
        assert eager_transforms._chunked_standard_basis_for_ is not basis
        raise ZeroDivisionError
    assert linearize.__code__ is original
    assert eager_transforms._chunked_standard_basis_for_ is basis
