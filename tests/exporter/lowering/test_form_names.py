"""A form's name is a string in few places, so that a new form is a module and a line, and nothing compares names."""

import ast

import pytest
from support.paths import ROOT

from odelet.artifact import solve_card
from odelet_export.lowering.forms import FORMS

PACKAGES = ("runtime/odelet", "exporter/odelet_export", "exporter/odelet_intercept")
FOLDER = "exporter/odelet_export/lowering/forms"
# The roster, and the names that a card may carry: the runtime cannot import the roster.
LISTS = {f"{FOLDER}/__init__.py", "runtime/odelet/artifact/solve_card.py"}


def strings():
    """Each string constant of the packages that is the name of a form: the name, the file and the line."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in FORMS:
                    yield node.value, path.relative_to(ROOT).as_posix(), node.lineno


PLACES = list(strings())


@pytest.mark.parametrize("name", FORMS)
def test_the_name_of_a_form_stands_in_its_module_and_two_lists_only(name):
    allowed = {f"{FOLDER}/{name}.py", *LISTS}
    assert {file for found, file, _ in PLACES if found == name} >= allowed
    wrong = [f"{file}:{line}" for found, file, line in PLACES if found == name and file not in allowed]
    assert not wrong, f"ask for a fact of the form instead of comparing its name: {', '.join(wrong)}"


def test_the_lists_hold_the_names_that_the_forms_have():
    assert [form.name for form in FORMS.values()] == list(FORMS) == list(solve_card.FORMS)


@pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.name)
def test_each_list_has_a_name_once(form):
    for file in (*LISTS, f"{FOLDER}/{form.name}.py"):
        assert [found for found, other, _ in PLACES if other == file].count(form.name) == 1, file
