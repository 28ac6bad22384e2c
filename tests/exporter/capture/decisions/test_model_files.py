"""A name of Python's is replaced in the files of a model where they call it and pass it on to nothing else."""

import numpy as np
import pytest
import torch

from odelet_export.capture.decisions.model_files import calls, of_models


def namespace(source):
    space = {"__name__": "model", "torch": torch}
    exec(source, space)
    return space


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(t): return float(t)", True),
        ("def f(t): return float(t) if isinstance(t, float) else 1", True),
        ("def f(t): return float(t) if isinstance(t, (int, float)) else 1", True),
        ("class Field:\n  def f(self, t):\n    return (lambda s: float(s))(t)", True),
        ("class Field:\n  @property\n  def f(self): return float(self.t)", True),
        ("def f(t):\n  def g(s: float, u: int) -> float: return float(s)\n  return g(t, 1)", True),
        ("def f(t): return t", False),
        ("def f(t): return torch.zeros(2, dtype=float) * float(t)", False),
        ("def f(t): return torch.zeros(2, dtype=float, device=t.device) * float(t)", False),
        ("def f(t): return t.to(float) * float(t)", False),
    ],
)
def test_a_name_that_is_called_and_not_passed_on_is_found(source, expected):
    assert calls(namespace(source), "float") is expected


def test_a_stand_in_for_a_package_that_is_not_installed_is_asked_for_nothing():
    stand_in = "class Absent:\n  def __getattr__(self, name): raise ImportError(name)\nabsent = Absent()\n"
    wrapped = "import functools\n@functools.lru_cache\ndef f(t): return float(t)"
    assert calls(namespace(stand_in + wrapped), "float")


def test_the_namespaces_of_libraries_are_no_files_of_a_model():
    model, other = namespace("def f(t): return float(t)"), {"__name__": "other"}
    assert list(of_models([vars(torch), vars(np), model, other, model, globals()])) == [model, globals()]
