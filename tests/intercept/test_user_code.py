"""The user's own line is found in the running stack, in an error, and in a stack trace as text."""

import functools
import os
import sys

import onnx
import pytest
import torch
import torchdiffeq
from support.paths import ROOT

from odelet_intercept.user_code import (
    as_typed,
    chain_of,
    is_library,
    place_in_trace,
    place_of_error,
    short,
    user_frame,
    with_source,
)

PACKAGES = ("runtime/odelet", "exporter/odelet_intercept", "exporter/odelet_export")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_of_odelet_is_user_code(package):
    files = list((ROOT / package).rglob("*.py"))
    assert len(files) > 5
    assert [str(file) for file in files if not is_library(str(file))] == []


def test_solver_libraries_torch_and_python_are_not_user_code():
    for module in (torch, torchdiffeq, onnx, functools):
        assert is_library(module.__file__)
    assert is_library("<string>")


def test_models_and_files_of_users_are_user_code():
    zoo = list((ROOT / "models" / "odelet_models").rglob("*.py"))
    assert zoo
    theirs = [*map(str, zoo), __file__, "/home/someone/model.py", str(ROOT / "exporter" / "model.py")]
    assert [file for file in theirs if is_library(file)] == []


def line():
    return sys._getframe(1).f_lineno


def test_the_innermost_running_line_of_the_user_is_found():
    assert user_frame() == (__file__, line())
    places = []
    # Frames of torch lie between these two lines of the user's; the inner line is the right one.
    torch.func.vmap(
        lambda x: (places.append(user_frame()), x)[1]  # the inner line
    )(torch.ones(1))
    assert places == [(__file__, line() - 2)]


def fails():
    torch.ones(2).reshape(3)


def fails_at(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_line_that_an_error_passed_through_is_found():
    inside = fails.__code__.co_firstlineno + 1
    assert place_of_error(fails_at(fails)) == (__file__, inside)
    assert place_of_error(ValueError("never raised")) is None


def test_the_line_of_the_cause_comes_first_unless_causes_are_excluded():
    def wraps():
        try:
            fails()
        except RuntimeError as error:
            raise ValueError("wrapped") from error

    error = fails_at(wraps)
    assert [type(link) for link in chain_of(error)] == [ValueError, RuntimeError]
    assert place_of_error(error) == (__file__, fails.__code__.co_firstlineno + 1)
    assert place_of_error(error, causes=False) == (__file__, wraps.__code__.co_firstlineno + 4)


def test_an_error_that_causes_itself_ends():
    error = ValueError("a")
    error.__context__ = other = KeyError("b")
    other.__context__ = error
    assert list(chain_of(error)) == [error, other]


def test_a_syntax_error_has_the_file_and_line_that_it_names():
    assert place_of_error(fails_at(lambda: compile("a =\n", "models/model.py", "exec"))) == ("models/model.py", 1)


def test_the_innermost_line_of_the_user_is_found_in_a_trace():
    trace = f'  File "/home/me/net.py", line 7, in forward\n    x\n  File "{torch.__file__}", line 9, in f\n    y\n'
    assert place_in_trace(trace) == ("/home/me/net.py", 7)
    assert place_in_trace(None) is None
    assert place_in_trace(f'  File "{torch.__file__}", line 9, in f\n') is None


def test_an_installed_package_counts_only_where_there_is_no_other_code():
    installed = '  File "/env/lib/python3.11/site-packages/nets/net.py", line 3, in forward\n'
    assert place_in_trace(installed) == ("/env/lib/python3.11/site-packages/nets/net.py", 3)
    assert place_in_trace('  File "/home/me/net.py", line 7, in forward\n' + installed) == ("/home/me/net.py", 7)


def test_lines_are_written_as_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "models" / "net.py"
    file.parent.mkdir()
    file.write_text("first\n  second\n")
    place = (str(file), 2)
    assert as_typed(place) == f"models{os.sep}net.py, line 2"
    assert as_typed(("/elsewhere/net.py", 3)) == "/elsewhere/net.py, line 3"
    assert (short(place), short(None)) == ("net.py:2", "")
    assert with_source(place) == f'File "{file}", line 2\n    second'
    assert with_source(("/elsewhere/net.py", 3)) == 'File "/elsewhere/net.py", line 3'
    assert with_source(None) == "the model (no line of it is known)"


def test_the_code_that_calls_an_export_is_not_the_models():
    # The innermost frame that is no library's is here, and the frame of an export lies between.
    code = compile("def run(ask):\n    return ask()\n", os.path.join("odelet_export", "pipeline", "export.py"), "exec")
    space = {}
    exec(code, space)
    asking = compile("from odelet_intercept.user_code import user_frame\nask = user_frame\n", "<string>", "exec")
    exec(asking, space)
    assert space["run"](space["ask"]) == ("<unknown>", 0)
    assert user_frame()[0] == __file__
