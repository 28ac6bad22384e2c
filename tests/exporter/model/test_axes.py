"""Dynamic axes of inputs, and examples of other sizes."""

import pytest
import torch

from odelet_export import CaptureError
from odelet_export.model.axes import check_dynamic, resize, traced_example

X, T = torch.arange(6.0).reshape(2, 3), torch.tensor([0.0, 1.0, 4.0])
NAMES, EXAMPLE = ("x", "t"), (X, T)


def test_axes_are_counted_from_the_front():
    assert check_dynamic({"x": {-2: "batch"}}, NAMES, EXAMPLE) == {"x": {0: "batch"}}
    assert check_dynamic(None, NAMES, EXAMPLE) == {}


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ({"y": {0: "batch"}}, "dynamic names input 'y', but the model's inputs are x, t"),
        ({"x": "batch"}, "must map axes to names"),
        ({"x": {2: "batch"}}, "dynamic.'x'. names axis 2, but that input has 2 axes"),
        ({"x": {0: "a batch"}}, "must be a name, such as 'batch'"),
        ({"x": {0: "n"}, "t": {0: "n"}}, "axis 'n' is 2 in input 'x' and 3 in input 't' of the example"),
    ],
    ids=["input", "kind", "axis", "label", "sizes"],
)
def test_axes_that_do_not_fit_the_inputs_are_refused(dynamic, message):
    with pytest.raises(CaptureError, match=message):
        check_dynamic(dynamic, NAMES, EXAMPLE)


def test_the_example_for_a_tracer_has_no_two_equal_sizes():
    # A static axis has the size 3, and no dynamic axis gets the size 1.
    shapes = [tuple(x.shape) for x in traced_example(NAMES, EXAMPLE, {"x": {0: "batch"}, "t": {0: "times"}})]
    assert shapes == [(2, 3), (5,)]
    (single,) = traced_example(("x",), (X[:1],), {"x": {0: "batch"}})
    assert single.shape == (5, 3)
    both = traced_example(NAMES, (X, X), {"x": {0: "batch"}, "t": {0: "batch"}})
    assert [tuple(x.shape) for x in both] == [(2, 3), (2, 3)]


def test_small_axes_get_multiples_where_the_example_must_be_larger():
    dynamic = {"x": {0: "batch"}, "t": {0: "times"}}
    assert [tuple(x.shape) for x in traced_example(NAMES, EXAMPLE, dynamic, least=4)] == [(4, 3), (6,)]
    (single,) = traced_example(("x",), (X[:1],), {"x": {0: "batch"}}, least=4)
    assert single.shape == (5, 3)


def test_resized_times_stay_in_order_and_other_values_repeat():
    assert resize(T, {0: 5}).tolist() == [0.0, 0.5, 1.0, 2.5, 4.0]
    assert resize(-T, {0: 2}).tolist() == [0.0, -4.0]
    assert resize(torch.tensor([1, 2]), {0: 3}).tolist() == [1, 2, 1]
    assert resize(torch.tensor([2, 1]), {0: 5}).tolist() == [2, 2, 2, 1, 1]  # lengths that fall go on falling
    assert resize(torch.tensor([2, 1, 3]), {0: 5}).tolist() == [2, 1, 3, 2, 1]
    assert resize(torch.tensor([2.0, 1.0, 2.0]), {0: 2}).tolist() == [2.0, 1.0]
    assert resize(torch.zeros(0, 2), {0: 3}).tolist() == [[0.0, 0.0]] * 3
