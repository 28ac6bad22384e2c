"""The memory that driven steps are taken in: the caller's arrays on the CPU, copies where a device has its own."""

from functools import partial

import numpy as np
import pytest
from support.lowering import Case, inputs
from support.rosters import STEPPING

from odelet.engine.buffers import BufferPool, DeviceMemory, HostMemory, StepArrays, memory_of

TIMES = np.array([0.0, 0.4, 1.1])


@pytest.fixture(scope="module", params=STEPPING)
def model(request, tmp_path_factory):
    return Case(method=request.param, form="driven").load(tmp_path_factory.mktemp(request.param))


def test_memory_of_a_device_gives_what_shared_memory_gives(model, monkeypatch):
    """The path of a GPU, on the CPU: all that a step reads is copied there, and all that is read is copied back."""
    x = inputs("float64", batch=3)
    expected = model.solve(x, TIMES)
    monkeypatch.setattr("odelet.engine.problem.memory_of", lambda device: partial(DeviceMemory, device=device))
    found = model.solve(x, TIMES)
    assert found.stats == expected.stats
    for name, array in expected.outputs.items():
        assert found.outputs[name].tolist() == array.tolist()


def test_a_solve_in_used_memory_is_the_first_one_again(model):
    x, other = inputs("float64", batch=3), inputs("float64", batch=3, seed=1)
    first = model.solve(x, TIMES)
    kept = {name: array.copy() for name, array in first.outputs.items()}
    model.solve(other, TIMES)
    model.solve(inputs("float64", batch=5), TIMES)
    again = model.solve(x, TIMES)
    assert again.stats == first.stats
    for name, array in kept.items():
        assert first.outputs[name].tolist() == array.tolist()  # nothing that a caller holds is written over
        assert again.outputs[name].tolist() == array.tolist()


@pytest.mark.parametrize("memory", [HostMemory, partial(DeviceMemory, device="cpu")], ids=["host", "device"])
def test_memory_is_a_copy_that_keeps_its_type_and_shape(memory):
    x = np.arange(6.0).reshape(2, 3)
    cell = memory(x)
    x[:] = 0
    assert cell.read().tolist() == np.arange(6.0).reshape(2, 3).tolist()
    cell.write(x[:, ::-1] + 1)
    assert cell.read().tolist() == np.ones((2, 3)).tolist()
    number = memory(np.zeros((), np.float32))
    number.write(0.1)
    assert (number.read().shape, number.read().dtype, number.read()) == ((), np.float32, np.float32(0.1))


def test_buffers_serve_one_solve_at_a_time():
    bindings = []

    class Session:
        """Of no inputs and outputs."""

        def get_inputs(self):
            return []

        get_outputs = get_inputs

        def get_provider_options(self):
            return {}

        def io_binding(self):
            bindings.append(self)
            return Binding()

    class Binding:
        def bind_ortvalue_output(self, name, value):
            pass

    session, pool, start = Session(), BufferPool(), StepArrays({"y": np.ones((1, 2))}, {}, {})
    with pool.maker() as make_buffers:
        first = make_buffers(session, start, memory_of("cpu"))
        with pool.maker() as other:
            assert other(session, start, memory_of("cpu")) is not first
    with pool.maker() as make_buffers:
        again = make_buffers(session, StepArrays({"y": np.full((1, 2), 5.0)}, {}, {}), memory_of("cpu"))
        assert again is first
        assert again.state("y").tolist() == [[5.0, 5.0]]
        assert make_buffers(session, StepArrays({"y": np.ones((1, 3))}, {}, {}), memory_of("cpu")) is not first
    large = StepArrays({"y": np.ones((1, 2**18))}, {}, {})
    with pool.maker() as make_buffers:
        kept = make_buffers(session, large, memory_of("cpu"))
    with pool.maker() as make_buffers:
        assert make_buffers(session, large, memory_of("cpu")) is not kept  # too large to be held for later solves
