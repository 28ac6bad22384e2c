"""Export models that others wrote, compare each export with torch, and print a table.

    python tests/thirdparty/try_models.py --repositories FOLDER --site FOLDER

--repositories holds the checked-out repositories under their own names (torchdiffeq, ffjord, ...), and --site the
packages that the models come from or import (pip install --no-deps --target FOLDER torchcde torchcfm torchsde
trampoline boltons POT six einops einx frozendict loguru hyper-connections x-transformers timm
nflows normflows zuko geoopt diffusers conformer termcolor stribor torchtyping geotorch). A repository or package that
is missing is left out, and its rows in the table stay as they are. Each export runs in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sources import SOURCES
from table import line, page

HERE = Path(__file__).resolve().parent
# The rows of the table, as data.
ROWS = HERE / "rows.json"
OPTIONS = ("repositories", "site")


@dataclass(frozen=True)
class Row:
    """The result of one export. result: works, frozen, refused, wrong, fails, no torch or too long. reason: for all but
    the first. solves: the form and method of each solve. assumptions: the number of decisions of the model that each
    call checks. error: the largest error of any output, relative to its largest element.
    """

    source: str
    model: str
    exercises: str
    form: str
    result: str
    solves: str = ""
    tracer: str = ""
    assumptions: int = 0
    error: float | None = None
    seconds: float = 0.0
    reason: str = ""
    rewrite: str = ""
    said: str = ""


def sources(arguments: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """The sources whose repository or package is there, with their cases."""
    for module in SOURCES:
        source = importlib.import_module(module).SOURCE
        if source.folder is None:
            there = importlib.util.find_spec(source.package) is not None
        else:
            there = arguments.repositories is not None and (Path(arguments.repositories) / source.folder).is_dir()
        if there:
            yield module, source


def attempt(module: str, case: str, form: str, folder: Path) -> Row:
    """Export one case in one form, in this process."""
    from trial import seed

    from odelet_export import ExportError, ParityError, export

    source = importlib.import_module(module).SOURCE
    exercises = source.cases[case].exercises
    start = time.perf_counter()

    def build() -> Any:
        seed()
        return source.cases[case].build()

    def row(result: str, **more: Any) -> Row:
        return Row(source.name, case, exercises, form, result, seconds=time.perf_counter() - start, **more)

    try:
        trial = build()
        seed()
        trial.model(*trial.args, **trial.kwargs)
        trial = build()  # a fresh model, as a run may have changed the last one
    except Exception as error:
        traceback.print_exc()
        return row("no torch", reason=f"the model does not run: {type(error).__name__}: {error}"[:300])
    options = dict(source.cases[case].forms[form])
    frozen = options.get("freeze", ())
    start = time.perf_counter()
    try:
        exported = export(
            trial.model,
            trial.args,
            folder / "artifact",
            kwargs=trial.kwargs,
            form=form,
            dynamic=trial.dynamic,
            **options,
        )
    except ParityError as error:
        return row("wrong", reason=str(error).split(". It was left")[0], said=str(error))
    except ExportError as error:
        said = str(error)
        reason, rewrite = reason_and_rewrite(said)
        return row("refused", reason=reason, rewrite=rewrite, said=said)
    except Exception as error:
        return row("fails", reason=f"{type(error).__name__}: {error}"[:300], said=traceback.format_exc())
    solves = ", ".join(f"{solve.form} {solve.method}" for solve in exported.card.solves)
    return row(
        "frozen" if frozen else "works",
        solves=solves,
        tracer=exported.tracer,
        assumptions=len(exported.card.assumptions),
        error=exported.parity.max_rel,
        reason=f"with --freeze {' '.join(frozen)}" if frozen else "",
    )


def reason_and_rewrite(said: str) -> tuple[str, str]:
    """The reason in a message of odelet, with the line of the model that it names, and the rewrite that it advises."""
    parts = {key: text for key, text in re.findall(r"^  (found|do|cause): (.*)$", said, re.MULTILINE)}
    if "found" not in parts:
        return said.splitlines()[0], ""
    place = re.search(r'File "(?:.*/)?([^/"]+)", line (\d+)\n    (.*)', said)
    reason = parts["found"] + (f"; {place[1]}:{place[2]} `{place[3]}`" if place else "")
    if parts["found"] == "something torch cannot trace":
        reason += f" ({parts.get('cause', '')[:200]})"
    return reason, parts.get("do", "")


def spawn(module: str, source: Any, case: str, form: str, *, given: Sequence[str], limit: float) -> Row:
    """Export one case in one form in a new process, within a time limit. Returns its row."""
    exercises = source.cases[case].exercises
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "row.json"
        command = [sys.executable, __file__, *given, "--one", module, case, form, folder]
        log = Path(folder) / "log.txt"
        try:
            with log.open("w") as stream:
                subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, timeout=limit, check=False, cwd=folder)
        except subprocess.TimeoutExpired:
            return Row(source.name, case, exercises, form, "too long", seconds=limit, reason=f"{limit:g} s")
        if result.exists():
            return Row(**json.loads(result.read_text()))
        tail = log.read_text(errors="replace").strip().splitlines()[-1:]
        return Row(source.name, case, exercises, form, "fails", reason=f"the process ended: {tail}")


def paths(arguments: argparse.Namespace) -> list[str]:
    """The arguments with the paths of the sources, for another process. Adds those of --site to sys.path here."""
    given: list[str] = []
    for option in OPTIONS:
        value = getattr(arguments, option)
        if value is not None:
            folder = Path(value).resolve()
            if not folder.is_dir():
                raise SystemExit(f"--{option.replace('_', '-')} {value}: no such folder")
            given += [f"--{option.replace('_', '-')}", str(folder)]
    if arguments.site is not None:
        sys.path.append(str(Path(arguments.site).resolve()))
    return given


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in OPTIONS:
        parser.add_argument(f"--{option.replace('_', '-')}", metavar="PATH")
    parser.add_argument("-k", metavar="NAME", default="", help="only cases whose source or name contains this")
    parser.add_argument(
        "--jobs", type=int, default=1, help="exports at a time; with more than one, their seconds are less exact"
    )
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for each export")
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the table as Markdown, after each export")
    parser.add_argument("--said", metavar="FILE", type=Path, help="write the full messages of failures")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    given = paths(arguments)
    if arguments.one:
        module, case, form, folder = arguments.one
        folder_of_source = importlib.import_module(module).SOURCE.folder
        if folder_of_source is not None:
            sys.path.insert(0, str(Path(arguments.repositories).resolve() / folder_of_source))
        row = attempt(module, case, form, Path(folder))
        (Path(folder) / "row.json").write_text(json.dumps(asdict(row)))
        return
    available = list(sources(arguments))
    wanted = [
        (module, source, name, form)
        for module, source in available
        for name, case in source.cases.items()
        for form in case.forms
        if arguments.k in f"{source.name} {name}"
    ]
    rows = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for row in pool.map(lambda one: spawn(*one, given=given, limit=arguments.limit), wanted):
            rows.append(row)
            print(line(row), flush=True)
            if arguments.write:
                write(rows, arguments)
    if arguments.said:
        arguments.said.write_text(
            "".join(f"{'=' * 20} {r.source} {r.model} {r.form}: {r.result}\n{r.said}\n" for r in rows)
        )


def write(rows: Sequence[Row], arguments: argparse.Namespace) -> None:
    """Write the rows so far, and those of earlier runs, as data and as the page."""
    root = f"{Path(arguments.repositories or '.').resolve()}{os.sep}"
    known = merged([replace(row, reason=row.reason.replace(root, "")) for row in rows])
    ROWS.write_text(json.dumps([{**asdict(row), "said": ""} for row in known], indent=0) + "\n")
    every = [importlib.import_module(module).SOURCE for module in SOURCES]
    names = {row.source for row in known}
    tried = [(source.name, source.tried) for source in every if source.name in names]
    arguments.write.write_text(page(known, tried), encoding="utf-8")


def merged(rows: Sequence[Row]) -> list[Row]:
    """New rows, and those of earlier runs for exports that were not tried now, in the order of the sources."""
    earlier = [Row(**row) for row in json.loads(ROWS.read_text())] if ROWS.exists() else []
    by_export = {(row.source, row.model, row.form): row for row in [*earlier, *rows]}
    order = [importlib.import_module(module).SOURCE.name for module in SOURCES]
    return sorted(by_export.values(), key=lambda row: order.index(row.source))


if __name__ == "__main__":
    main()
