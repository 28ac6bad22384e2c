"""The rooms of the packages: the order of imports, the lengths of files and functions, and a law for each room."""

import ast
import re

import pytest
from support.paths import ROOT
from support.scripts import script

ARCHITECTURE = script(ROOT / "docs" / "architecture.py")
PACKAGES = tuple(ARCHITECTURE.ROOMS)
MODULES = ARCHITECTURE.files()
FOLDERS = {package: folder for package, (folder, _) in ARCHITECTURE.ROOMS.items()}
LONGEST_FILE, LONGEST_FUNCTION, MOST_ROOMS = 300, 60, 12
# Files that hold only data may be longer.
DATA = {"odelet.numerics.tableau"}


def floors(package):
    """The row of each room of a package."""
    return {room: row for row, rooms in enumerate(ARCHITECTURE.ROOMS[package][1]) for room in rooms}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_imports_only_rooms_above_it(package):
    row, wrong = floors(package), []
    for module, targets in ARCHITECTURE.imports().items():
        if module.split(".")[0] != package or "." not in module:
            continue
        room = module.split(".")[1]
        assert room in row or room in ("__init__", "__main__"), f"{module}: {room} is in no row of docs/architecture.py"
        for target in targets:
            other = target.split(".")[1] if target.startswith(package + ".") else room
            if other != room and row[other] >= row[room]:
                wrong.append(f"{module} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_the_rows_name_exactly_the_existing_rooms():
    for package, (folder, rows) in ARCHITECTURE.ROOMS.items():
        paths = (ROOT / folder / package).iterdir()
        there = {path.stem for path in paths if path.suffix == ".py" or any(path.glob("*.py"))} - {"__init__"}
        assert there == {room for row in rows for room in row}


@pytest.mark.parametrize("package", ["odelet", "odelet_export", "odelet_intercept"])
def test_a_package_has_few_rooms(package):
    assert len(floors(package)) <= MOST_ROOMS


def test_imports_make_no_circle():
    assert ARCHITECTURE.circles(ARCHITECTURE.imports()) == []


def test_a_circle_would_be_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}, "e": set()}
    assert ARCHITECTURE.circles(graph) == [["b", "c"], ["d"]]
    assert ARCHITECTURE.longest_chain({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ["a", "b", "c"]


@pytest.mark.parametrize("module", [name for name in MODULES if name not in DATA])
def test_files_and_functions_are_short(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno + 1 <= LONGEST_FUNCTION, node.name


def test_every_room_states_its_law_in_one_sentence():
    for package in PACKAGES:
        for room in floors(package):
            law = ARCHITECTURE.law(package, room)
            assert law.endswith("."), f"{package}.{room}: {law!r}"


def test_the_tables_of_the_page_are_up_to_date():
    text = ARCHITECTURE.PAGE.read_text(encoding="utf-8")
    assert ARCHITECTURE.page(text) == text, "run: make docs"


def missing_paths(text):
    """The paths in backticks that exist neither in the repository nor in a package; `<name>` stands for any name."""
    bases = [ROOT, *(ROOT / folder / part for name, folder in FOLDERS.items() for part in (name, "."))]
    named = re.findall(r"`([\w.<>-]*/[\w./<>-]*|[\w<>]+\.(?:py|md|toml))`", text)
    paths = [name.rsplit("/", 1)[0] if "<" in name else name for name in named]
    return [path for path in paths if not any((base / path).exists() for base in bases)]


def test_every_path_that_the_page_names_exists():
    assert missing_paths(ARCHITECTURE.PAGE.read_text(encoding="utf-8")) == []


def test_a_missing_path_would_be_found():
    text = "`docs/architecture.py`, `numerics/rk.py`, `lowering/forms/<form>.py`, `numerics/nothing.py`, `no/<form>.py`"
    assert missing_paths(text) == ["numerics/nothing.py", "no"]


def test_no_test_imports_another_test():
    """Code that tests share is in tests/support."""
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            tests = [name for name in names if name.split(".")[-1].startswith("test_")]
            wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in tests]
    assert not wrong, "\n".join(wrong)


def test_a_check_of_types_that_is_switched_off_has_its_reason_beside_it():
    silenced = [
        f"{module}: {line.strip()}"
        for module, path in MODULES.items()
        for line in path.read_text(encoding="utf-8").splitlines()
        if "# type: ignore" in line and "]  # " not in line
    ]
    assert not silenced, "\n".join(silenced)
