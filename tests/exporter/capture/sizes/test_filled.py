"""Numbers that tensors hold everywhere, followed through the operators that models apply to lengths."""

import pytest
import torch

from odelet_export.capture.sizes.filled import Filled


@pytest.fixture
def lens():
    filled, lens = Filled(), torch.full((3,), 5)
    filled.follow("full", ((3,), 5), {}, lens)
    return filled, lens


def followed(filled, function, *args):
    result = function(*args)
    filled.follow(function.__name__, args, {}, result)
    return result


def test_operators_on_lengths_keep_their_number(lens):
    filled, x = lens
    more = followed(filled, torch.add, x, 2)
    assert filled.of(more) == 7
    assert filled.of(followed(filled, torch.maximum, more, x)) == 7
    assert filled.of(followed(filled, torch.Tensor.__getitem__, x, 0)) == 5
    assert [filled.of(row) for row in followed(filled, torch.unbind, x)] == [5, 5, 5]
    assert filled.of(followed(filled, torch.amax, followed(filled, torch.floor_divide, more, 2))) == 3
    assert filled.of(followed(filled, torch.max, x)) == 5


def test_what_sizes_do_not_tell_has_no_number(lens):
    filled, x = lens
    unknown = torch.tensor([1, 9, 2])
    assert filled.of(followed(filled, torch.maximum, x, unknown)) is None
    assert filled.of(followed(filled, torch.max, x, unknown)) is None
    assert filled.of(followed(filled, torch.cumsum, x, 0)) is None
    assert filled.of(followed(filled, torch.true_divide, x, 2)) is None
    assert filled.of(followed(filled, torch.gt, x, 4)) is None
    longest, index = followed(filled, torch.max, x, 0)
    assert (filled.of(longest), filled.of(index)) == (5, None)


def test_a_write_makes_numbers_unknown(lens):
    filled, x = lens
    view = followed(filled, torch.Tensor.view, x, 3, 1)
    followed(filled, torch.Tensor.__setitem__, x, 0, 9)
    assert filled.of(x) is None
    assert filled.of(view) is None
