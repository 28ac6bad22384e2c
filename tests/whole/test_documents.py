"""The generated parts of docs/ are up to date, the numbers of plots are measured, and links and names exist."""

import pkgutil
import re

import pytest
from support.paths import ROOT
from support.problems import JUMPING, PROBLEMS
from support.scripts import script


def test_the_table_of_methods_is_up_to_date():
    methods = script(ROOT / "docs" / "methods.py")
    text = methods.PAGE.read_text(encoding="utf-8")
    assert methods.page(text) == text, "run: make docs"


def test_the_tables_of_targets_and_profiles_are_up_to_date():
    targets = script(ROOT / "docs" / "targets.py")
    text = targets.PAGE.read_text(encoding="utf-8")
    assert targets.page(text) == text, "run: make docs"
    assert targets.page(text.replace("| `web` |", "| `old` |")) == text


def test_only_text_between_the_marks_is_generated():
    methods = script(ROOT / "docs" / "methods.py")
    for line in (
        "| `dopri8` | 8 | 14 | bounded, adaptive, loop_free, driven | control |",
        "| `heun3` | 3 | 3 | unrolled, rolled, loop_free, driven | grid |",
    ):
        assert line in methods.PAGE.read_text(encoding="utf-8")
    marked = f"a\n{methods.START}old\n{methods.END}b\n"
    generated = methods.page(marked)
    assert "old" not in generated
    assert generated.startswith(f"a\n{methods.START}| method | order |")
    assert generated.endswith(f"{methods.END}b\n")


PLOT = script(ROOT / "benchmarks" / "work_precision.py")


@pytest.mark.parametrize("method", PLOT.METHODS)
def test_the_numbers_of_the_work_precision_plot_are_measured(method):
    """Two points of each curve are measured again here."""
    numbers = {
        (row["problem"], row["method"], row["tolerance"]): row for row in PLOT.read(PLOT.DOCS / "work-precision.csv")
    }
    for problem, tolerance in (("E2", 1e-3), ("C5", 1e-4)):
        row = numbers[problem, method, f"{tolerance:.0e}"]
        evaluations, steps, error = PLOT.measure((PROBLEMS | JUMPING)[problem], method, tolerance)
        assert (str(evaluations), str(steps)) == (row["evaluations"], row["steps"])
        assert error == pytest.approx(float(row["error"]), rel=2e-3)


def test_the_plot_has_every_method_on_every_problem_and_is_small():
    rows = PLOT.read(PLOT.DOCS / "work-precision.csv")
    assert {(row["problem"], row["method"]) for row in rows} == {(p, m) for p in PLOT.PANELS for m in PLOT.METHODS}
    assert (PLOT.DOCS / "work-precision.png").stat().st_size < 150_000


def test_a_curve_stops_where_a_method_fails(monkeypatch):
    monkeypatch.setattr(PLOT, "MAX_STEPS", 10)
    assert PLOT.measure(PROBLEMS["E2"], "dopri5", 1e-3) is None


def test_the_page_of_tune_is_that_of_its_script_and_its_pictures_are_small():
    tuning = script(ROOT / "benchmarks" / "tune.py")
    page = tuning.PAGE.read_text(encoding="utf-8")
    for name in tuning.MODELS:
        part = page.split(tuning.MARK.format(name))[1].split(tuning.MARK.format(f"end of {name}"))[0]
        (chosen,) = [line for line in part.splitlines() if line.startswith("| **")]
        method, setting, form = [cell.strip(" *") for cell in chosen.split("|")[1:4]]
        (command,) = [line for line in part.splitlines() if line.startswith("odelet export ")]
        assert f"--form {form} --method {method} " in command
        assert setting.split()[-1 if "tolerance" in setting else 0] in command
        assert tuning.put(page, name, part) == page
        assert f"![Error against milliseconds](tune-{name}.png)" in part
    pictures = [*(tuning.DOCS / f"tune-{name}.png" for name in tuning.MODELS), tuning.DOCS / "plot-van-der-pol.png"]
    assert all(path.stat().st_size < 60_000 for path in pictures)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "benchmarks|docs|examples|exporter|models|runtime|tests|trainer"


def named_paths(text):
    """The files that a page links to, and the paths in backticks that begin with a folder of the repository."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    return links, re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_path_on_a_page_exists(page):
    links, paths = named_paths(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_name_of_odelet_on_a_page_exists(page):
    names = re.findall(r"`(odelet(?:_\w+)?(?:\.\w+)+)", page.read_text(encoding="utf-8"))
    skipped = ("odelet.json", "odelet.bench", "odelet_NAME.", "odelet.native.json", "odelet.build.json")
    for name in {name for name in names if not name.startswith(skipped)}:
        pkgutil.resolve_name(name)


def test_the_index_lists_every_page():
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"^\| \[([\w.-]+\.md)\]", text, flags=re.M)) == pages
