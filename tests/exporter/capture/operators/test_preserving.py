"""Composite operators stay whole by the kernels that torch makes, and have their own again afterwards."""

import pytest
import torch
from torch._export.utils import _special_op_to_preserve_cia
from torch._subclasses import fake_impls
from torch.export.exported_program import _override_composite_implicit_decomp

from odelet_export.capture.operators.preserving import preserved

OPS = (torch.ops.aten.layer_norm.default, torch.ops.aten.to.dtype, torch.ops.aten.linear.default)
COMPOSITE = dict.fromkeys(OPS, _special_op_to_preserve_cia)


def state():
    return [(dict(op.py_kernels), op in fake_impls.op_implementations_dict) for op in OPS]


@pytest.fixture
def outside():
    """What torch has outside; it forgets rules for fake tensors that it did not make, so that it is run once before."""
    with _override_composite_implicit_decomp(COMPOSITE):
        pass
    return state()


@pytest.mark.parametrize("time", [1, 2])
def test_the_kernels_are_torchs(outside, time):
    with _override_composite_implicit_decomp(COMPOSITE):
        torchs = [set(op.py_kernels) for op in OPS]
    with preserved(COMPOSITE):
        assert [set(op.py_kernels) for op in OPS] == torchs
        assert all(op in fake_impls.op_implementations_dict for op in OPS)
        cia = torch._C.DispatchKey.CompositeImplicitAutograd
        assert all(op.py_kernels[cia] is _special_op_to_preserve_cia for op in OPS)
    assert state() == outside


def test_they_are_taken_away_after_an_error(outside):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), preserved(COMPOSITE):
            raise ZeroDivisionError
        assert state() == outside


def test_an_operator_that_has_another_kernel_by_now_keeps_it_afterwards(outside):
    with preserved(COMPOSITE):
        pass
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    op = torch.ops.aten.layer_norm.default
    own = op.py_kernels.get(key)
    try:
        op.py_kernels[key] = lambda *args: args
        changed = state()
        with preserved(COMPOSITE):
            assert op.py_kernels[key] is _special_op_to_preserve_cia
        assert state() == changed
    finally:
        op.py_kernels.pop(key)
        if own is not None:
            op.py_kernels[key] = own
        op._dispatch_cache.clear()
