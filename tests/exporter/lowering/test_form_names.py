"""The name of a form is written in its module and two lists only, so that no code compares names of forms."""

import ast

import pytest
from support.paths import ROOT

from odelet.artifact import solve_card
from odelet_export.lowering.forms import FORMS

PACKAGES = ("runtime/odelet", "exporter/odelet_export", "exporter/odelet_intercept")
FOLDER = "exporter/odelet_export/lowering/forms"
# The roster of forms, and the names that a card may have: the runtime cannot import the roster.
LISTS = {f"{FOLDER}/__init__.py", "runtime/odelet/artifact/solve_card.py"}


def strings():
    """The name, the file and the line of each string constant in the packages that is the name of a form."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in FORMS:
                    yield node.value, path.relative_to(ROOT).as_posix(), node.lineno


PLACES = list(strings())


@pytest.mark.parametrize("name", FORMS)
def test_the_name_of_a_form_is_written_in_its_module_and_two_lists_only(name):
    allowed = {f"{FOLDER}/{name}.py", *LISTS}
    assert {file for constant, file, _ in PLACES if constant == name} >= allowed
    wrong = [f"{file}:{line}" for constant, file, line in PLACES if constant == name and file not in allowed]
    assert not wrong, f"ask for a fact of the form instead of comparing its name: {', '.join(wrong)}"


def test_both_lists_have_the_names_of_the_forms():
    assert [form.name for form in FORMS.values()] == list(FORMS) == list(solve_card.FORMS)


@pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.name)
def test_each_list_and_the_module_have_the_name_once(form):
    for file in (*LISTS, f"{FOLDER}/{form.name}.py"):
        assert [constant for constant, other, _ in PLACES if other == file].count(form.name) == 1, file
