"""Calls of the libraries on the roster are caught, and so are calls of a library that only these tests have."""

import inspect
import subprocess
import sys
import threading
import types
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torchdiffeq

from odelet import InputError
from odelet_export import CaptureError
from odelet_intercept import intercept
from odelet_intercept.call import Call, Entry, Library
from odelet_intercept.intercept import intercepted
from odelet_intercept.libraries import LIBRARIES, all_entries
from odelet_intercept.mark import mark

START, TIMES = torch.ones(2), torch.tensor([0.0, 1.0])


def decay(t, y):
    return -y


# Calls as a model makes them; the entry and the method that the caught call must have.
CALLS = {
    "torchdiffeq": (lambda: torchdiffeq.odeint(decay, START, TIMES, method="rk4"), ("odeint", "rk4")),
    "adjoint": (lambda: torchdiffeq.odeint_adjoint(decay, START, TIMES, adjoint_params=()), ("odeint_adjoint", None)),
    "mark": (lambda: mark(lambda z: 0.5 * z, START, method="anderson"), ("mark", "anderson")),
}


class Solver:
    """The class of a library: its method `integrate` and its constructor, which has a closure, are caught."""

    def __init__(self, rate, *, scale=1.0):
        super().__init__()  # `super()` without arguments makes a closure over the class
        self.rate, self.scale = rate, scale

    def integrate(self, y0, ts, *, noise=None):
        return self.scale * self.rate * y0 * ts[-1]


@dataclass(frozen=True)
class FakeCall(Call):
    """A call with an attribute, `noise`, that calls of other libraries do not have."""

    noise: Any = None


INTEGRATE, CONSTRUCT = Solver.integrate, Solver.__init__


def fake_entries():
    """The entries of `Solver`; none while its module is not imported."""
    module = sys.modules.get("fake_library")
    if module is None:
        return []
    return [Entry("integrate", module.Solver.integrate, "fake"), Entry("construct", module.Solver.__init__, "fake")]


def read_fake(entry, bound, where):
    if entry.name == "construct":
        return lambda: CONSTRUCT_ORIGINAL(*bound.args, **{**bound.kwargs, "scale": 2.0})
    bound.apply_defaults()
    if bound.arguments["noise"] == "coloured":
        raise CaptureError(where + "noise='coloured' cannot be exported")
    solver = bound.arguments["self"]
    return FakeCall(solver, bound.arguments["y0"], bound.arguments["ts"], noise=bound.arguments["noise"])


CONSTRUCT_ORIGINAL = intercept.original_of(CONSTRUCT)


@pytest.fixture
def fake(monkeypatch):
    """Import the library of `Solver` and put it on the roster."""
    module = types.ModuleType("fake_library")
    module.Solver = Solver
    monkeypatch.setitem(sys.modules, "fake_library", module)
    monkeypatch.setitem(LIBRARIES, "fake", Library("fake_library", fake_entries, read_fake))


@pytest.fixture
def code():
    """Check after the test that every caught function has its original code and defaults."""
    functions = [*(entry.function for entry in all_entries()), INTEGRATE, CONSTRUCT]
    before = [(f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]
    yield
    assert [(f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions] == before


@pytest.mark.parametrize("name", LIBRARIES)
def test_entries_have_the_name_of_their_library_on_the_roster(name):
    entries = LIBRARIES[name].entries()
    assert {entry.library for entry in entries} <= {name}
    functions = {entry.function for entry in entries}
    assert {entry.solver for entry in entries} <= {None, *functions}, "a solver must be caught too"


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("entry", all_entries(), ids=lambda entry: f"{entry.library}.{entry.name}")
def test_every_function_of_the_roster_is_caught(entry, monkeypatch):
    read = []

    def read_anything(entry, bound, where):
        read.append((entry, bound.args))
        return Call(decay, START, TIMES)

    monkeypatch.setitem(LIBRARIES, entry.library, replace(LIBRARIES[entry.library], read=read_anything))
    parameters = inspect.signature(entry.function).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [object() for p in required if p.kind is not p.KEYWORD_ONLY]
    named = {p.name: object() for p in required if p.kind is p.KEYWORD_ONLY}
    with intercepted(lambda call, solver: (call.entry, solver.__name__)):
        answer = entry.function(*positional, **named)
    assert read == [(entry, tuple(positional))]
    assert answer == (entry.name, (entry.solver or entry.function).__name__)


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("name", CALLS)
def test_a_caught_call_has_the_file_and_line_of_the_model(name):
    run, expected = CALLS[name]
    calls, solvers = [], []

    def handler(call, solver):
        calls.append(call)
        solvers.append(solver)
        return "answer"

    with intercepted(handler):
        assert run() == "answer"
    (call,) = calls
    assert (call.entry, call.method) == expected
    assert (call.file, call.line) == (__file__, run.__code__.co_firstlineno)
    assert call.source == f"test_intercept.py:{call.line}"
    assert call.where == f'File "{__file__}", line {call.line}: '
    assert (call.depth, call.copy) == (0, "")
    assert callable(solvers[0])


@pytest.mark.usefixtures("code", "fake")
def test_methods_are_caught_and_a_call_may_have_attributes_of_its_own():
    calls = []

    def handler(call, solver):
        calls.append(call)
        return solver(call.func, call.y0, call.t)

    with intercepted(handler):
        solver = Solver(torch.tensor(3.0))
        answer = solver.integrate(START, TIMES, noise="white")
    (call,) = calls
    assert isinstance(call, FakeCall)
    assert (call.entry, call.func, call.noise) == ("integrate", solver, "white")
    # Reading the call of the constructor has set the scale to 2.
    assert answer.tolist() == [6.0, 6.0]
    assert Solver(torch.tensor(3.0)).integrate(START, TIMES).tolist() == [3.0, 3.0]


@pytest.mark.usefixtures("code")
def test_a_library_that_is_not_imported_is_skipped(monkeypatch):
    monkeypatch.setitem(LIBRARIES, "fake", Library("no_such_package", fake_entries, read_fake))
    with intercepted(lambda call, solver: "answer"):
        assert Solver(1.0).integrate(START, TIMES).tolist() == [1.0, 1.0]
        assert torchdiffeq.odeint(decay, START, TIMES) == "answer"


@pytest.mark.usefixtures("code", "fake")
def test_a_call_that_cannot_be_read_names_the_line_of_the_model():
    with intercepted(lambda call, solver: None), pytest.raises(CaptureError) as refused:
        Solver(1.0).integrate(START, TIMES, noise="coloured")
    assert str(refused.value).startswith(f'File "{__file__}", line ')
    assert str(refused.value).endswith(": noise='coloured' cannot be exported")


@pytest.mark.usefixtures("code")
def test_an_input_error_of_the_handler_gets_the_line_of_the_model():
    def handler(call, solver):
        raise InputError("rtol is bad")

    with intercepted(handler), pytest.raises(CaptureError, match=rf'^File "{__file__}", line \d+: rtol is bad$'):
        torchdiffeq.odeint(decay, START, TIMES)


@pytest.mark.usefixtures("code")
def test_the_functions_are_restored_after_an_error():
    def handler(call, solver):
        raise KeyError("the handler's own")

    with pytest.raises(KeyError), intercepted(handler):
        torchdiffeq.odeint(decay, START, TIMES)
    with pytest.raises(ZeroDivisionError), intercepted(handler):
        raise ZeroDivisionError
    with intercepted(lambda call, solver: "caught again"):
        assert torchdiffeq.odeint(decay, START, TIMES) == "caught again"
    torch.testing.assert_close(torchdiffeq.odeint(decay, START, TIMES)[-1], START * 0.3678794)


@pytest.mark.usefixtures("code")
def test_calls_inside_a_solve_have_their_depth():
    depths = []

    def handler(call, solver):
        depths.append((call.entry, call.depth))
        return call.solve(solver) if call.entry == "odeint" else call.func(None, call.y0)

    def field(t, y):
        return mark(lambda z: 0.5 * z, y)

    with intercepted(handler):
        torchdiffeq.odeint(field, START, TIMES, method="euler")
        torchdiffeq.odeint(decay, START, TIMES, method="euler")
    assert depths == [("odeint", 0), ("mark", 1), ("odeint", 0)]


@pytest.mark.usefixtures("code", "fake")
def test_an_interception_inside_another_gets_the_calls_and_gives_them_back():
    def copied(func, y0, t):
        return "the copy's own"

    entries = {entry.function: entry for entry in all_entries()}
    copy = replace(entries[torchdiffeq.odeint], function=copied, copy="copied")
    other = replace(copy, function=lambda func, y0, t: "another copy's own")
    seen = []

    def handler(name):
        def handle(call, solver):
            seen.append(name)
            return name

        return handle

    def ask():
        return [f(decay, START, TIMES) for f in (torchdiffeq.odeint, copied, other.function)]

    with intercepted(handler("outer"), copies=[copy]):
        assert ask() == ["outer", "outer", "another copy's own"]
        with intercepted(handler("inner"), copies=[other]):
            assert ask() == ["inner"] * 3
            assert Solver(1.0).integrate(START, TIMES) == "inner"
        assert ask() == ["outer", "outer", "another copy's own"]
        with pytest.raises(ZeroDivisionError), intercepted(handler("inner")):
            raise ZeroDivisionError
        with intercepted(lambda call, solver: call.solve(solver)):
            torch.testing.assert_close(torchdiffeq.odeint(decay, START, TIMES)[-1], START * 0.3678794)
    assert ask()[1:] == ["the copy's own", "another copy's own"]
    assert seen == ["outer"] * 2 + ["inner"] * 4 + ["outer"] * 2


@pytest.mark.usefixtures("code")
def test_calls_of_other_threads_reach_the_original():
    answers = []

    def elsewhere():
        answers.append(torchdiffeq.odeint(decay, START, TIMES, method="euler")[-1].tolist())

    with intercepted(lambda call, solver: "caught"):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert torchdiffeq.odeint(decay, START, TIMES) == "caught"
    assert answers == [[0.0, 0.0]]


def test_the_package_imports_no_onnx():
    code = (
        "import importlib, pkgutil, sys, odelet_intercept as package\n"
        "for module in pkgutil.walk_packages(package.__path__, 'odelet_intercept.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert 'torch' in sys.modules\n"
        "heavy = {'onnx', 'onnx_ir', 'onnxscript', 'onnxruntime', 'odelet_export', 'odelet_models', 'odelet_train'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
