"""Models as people write them, exported unchanged in every form that suits them, with torch's answers.

Each file in `idioms` is one idiom, and every file there is tested; `idioms/__init__.py` says how to add one.
"""

import warnings
from types import ModuleType
from zlib import crc32

import idioms
import pytest
import torch

import odelet
from odelet.model.engine_check import run_samples
from odelet_export import ExportError, export
from odelet_export.pipeline import prepare

IDIOMS = idioms.modules()


def cases(*, waiting: bool) -> list[object]:
    """A test parameter for each case of the idioms that can be exported, or (waiting) of those that cannot yet."""
    parameters = []
    for idiom, module in IDIOMS.items():
        names = idioms.case_names(module)
        assert names, f"idioms/{idiom}.py has no function `case`"
        if waiting is hasattr(module, "NOT_YET"):
            for name in names:
                parameters.append(pytest.param(module, name, id=idiom + name.removeprefix("case")))
    return parameters


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("captured_once")]


def exported(case, out, **options):
    return export(case.model, case.args, out, kwargs=case.kwargs, dynamic=case.dynamic, samples=2, **options)


def built(module: ModuleType, name: str) -> idioms.Case:
    torch.manual_seed(0)
    return getattr(module, name)()


def suiting(module: ModuleType, name: str, card) -> tuple[str, ...]:
    """The forms to export to besides the default: those of the module, or else the form driven; in place of it the form
    rolled for every other case whose default was unrolled for all solves."""
    if any(solve.form != "unrolled" for solve in card.solves):
        return getattr(module, "FORMS", ("driven",))
    # The capture of a case is the same in all forms, and each of the two forms is proved by many cases.
    in_turn = crc32(f"{module.__name__} {name}".encode()) % 2
    return getattr(module, "FORMS", (("driven", "rolled")[in_turn],))


def check_sizes(case, report):
    """Assert that the export compared every dynamic axis at more than one size."""
    for name, axes in case.dynamic.items():
        for axis, label in axes.items() if not isinstance(axes, str) else ():  # a number has no axes
            sizes = {sample.shapes[name][axis] for sample in report.samples}
            assert len(sizes) > 1, f"axis {label!r} of {name!r} was only tried at {sizes}"


@pytest.fixture
def rewritten(monkeypatch):
    """What the rewrites of the exports replaced, a dictionary for each export."""
    places = []
    original = prepare.rewrite

    def watched(model, **options):
        places.append(original(model, **options))
        return places[-1]

    monkeypatch.setattr(prepare, "rewrite", watched)
    return places


def check_rewrites(case, rewritten, out, unchanged):
    """Assert that an export without rewrites gives torch's answers to the same samples."""
    exported(case, unchanged, rewrite=False, quick=True)
    assert len(rewritten) == 1
    assert all(check.passed for check in run_samples(odelet.load(unchanged), out))


@pytest.mark.parametrize(("module", "name"), cases(waiting=False))
def test_a_model_exports_unchanged(module, name, tmp_path, rewritten):
    case = built(module, name)
    result = exported(case, tmp_path / "auto")
    if rewritten[0]:
        check_rewrites(case, rewritten, tmp_path / "auto", tmp_path / "unchanged")
    for form in ("auto", *suiting(module, name, result.card)):
        if form != "auto":
            result = exported(case, tmp_path / form, form=form)
        assert result.parity.passed
        assert len(result.parity.samples) == 3
        check_sizes(case, result.parity)
        assert odelet.verify(tmp_path / form).passed


@pytest.mark.parametrize(("module", "name"), cases(waiting=True))
def test_an_idiom_that_is_not_exported_yet_is_refused_with_its_message(module, name, tmp_path):
    case = built(module, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns when it first differentiates in forward mode
        case.model(*case.args, **case.kwargs)
    with pytest.raises(ExportError) as refused:
        exported(case, tmp_path / "out")
    assert module.NOT_YET in str(refused.value)
    assert not (tmp_path / "out").exists(), "a wrong artifact was shipped"
