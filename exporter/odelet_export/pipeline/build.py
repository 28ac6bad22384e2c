"""The function `build`: it checks an artifact, translates its graphs, writes the target's files, and tests them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from odelet.artifact.folder import Checked, check
from odelet.artifact.samples import samples_of
from odelet.errors import InputError
from odelet_export.errors import OutputError, output_errors
from odelet_export.targets.build.built import BuildError, Built, CompilerError, Tested, WrongBuildError
from odelet_export.targets.build.roster import TARGETS
from odelet_export.targets.folder import entry_of, staging

# By this file a folder is known that a build wrote.
BUILD_FILE = "build.json"
STAGES = ("check", "translate", "write", "test")


@dataclass(frozen=True)
class BuildResult:
    """A finished build. path: its folder. target: its name. built: its files and sizes. tested: what its test said;
    None where the target's engine or compiler is not installed."""

    path: Path
    target: str
    built: Built
    tested: Tested | None


def build(
    artifact: str | os.PathLike[str],
    target: str,
    out: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> BuildResult:
    """Build the files of a target from an artifact, and test them on the artifact's samples.

    artifact: the folder that an export wrote, with the profile of the target, or with another that fits it. target: the
    name of a target, such as "c" or "web". out: the folder to make, where an earlier build is replaced in one step;
    None for the place that the target chooses, as native does. name: of functions, files and folders, by
    default the model's. on_stage: called with the name of each stage.

    >>> from odelet_export import build
    >>> build("out", "c", "out-c", name="spiral")  # doctest: +SKIP

    Raises ArtifactError for a damaged artifact, BuildError before anything is written for what the target cannot have,
    CompilerError for a compiler that fails (the source is then left in `out` + ".failed"),
    WrongBuildError where the answers differ from the samples (the files are then left in `out` + ".failed"),
    OutputError and InputError as an export does.
    """
    tell = on_stage or (lambda stage: None)
    if target not in TARGETS:
        raise InputError(f"target={target!r} is not one of {', '.join(TARGETS)}")
    kind = TARGETS[target]
    if out is None and kind.place is None:
        raise InputError(f"the target {target} needs a folder to write into; name one (--out)")
    tell("check")
    checked = check(artifact)
    place = kind.place(checked.origin.digest) if out is None and kind.place is not None else Path(out or "")
    with _in_place(place, own=out is None):
        place.parent.mkdir(parents=True, exist_ok=True)
    failed = place.parent / f"{place.name}.failed"
    if checked.folder is None:
        raise BuildError(f"{artifact}: give the artifact's folder, as a lone graph has no samples to test a build with")
    samples = samples_of(checked.card, checked.folder)
    tell("translate")
    own_name = kind.names.made_of(checked.card.name) if name is None else kind.names.check(name)
    write = kind.writer(checked, own_name, samples)
    tell("write")
    with staging(place, failed=failed, marker=BUILD_FILE) as folder:
        with _in_place(place, own=out is None):
            built, tested = _made(folder, target, checked, write, tell, failed=failed)
        if tested is not None and not tested.passed:
            raise WrongBuildError(
                f"the build gives other answers than the samples of {artifact}: {tested.text}; it was left in "
                f"{failed}. Where the numbers are close, rounding moves the steps of the solve: export it with tighter "
                "rtol and atol",
                str(failed),
            )
    return BuildResult(place, target, built, tested)


def _made(
    folder: Path,
    target: str,
    checked: Checked,
    write: Callable[[Path], Built],
    tell: Callable[[str], None],
    *,
    failed: Path,
) -> tuple[Built, Tested | None]:
    """Write the files of a build, test it, and write its card, also where a compiler fails. failed: where the files
    are then left."""
    assert checked.folder is not None
    try:
        built = write(folder)
        tell("test")
        tested = TARGETS[target].test(folder, built, checked.folder)
    except CompilerError as error:
        _write_card(folder, target, checked.card.name, None, Tested(False, str(error), ""))
        raise CompilerError(f"{error}; the source was left in {failed}") from error
    _write_card(folder, target, checked.card.name, built, tested)
    return built, tested


@contextmanager
def _in_place(place: Path, *, own: bool) -> Iterator[None]:
    """Raise OutputError in place of errors of the file system. own: whether the target chose the place."""
    try:
        with output_errors(place):
            yield
    except OutputError as error:
        advice = "; name another folder with --out, and load it with library=" if own else ""
        raise OutputError(f"{error}{advice}") from error


def _write_card(folder: Path, target: str, model: str, built: Built | None, tested: Tested | None) -> None:
    """Write the card of a build. built: None where a compiler failed, which leaves the files that were written."""
    names = [path.name for path in folder.iterdir()] if built is None else built.files
    data: dict[str, Any] = {"target": target, "model": model, **({} if built is None else built.facts)}
    data["passed"] = None if tested is None else tested.passed
    data["test"] = None if tested is None else tested.text
    data["files"] = {file: asdict(entry_of(folder / file)) for file in names}
    (folder / BUILD_FILE).write_text(json.dumps(data, indent=2), encoding="utf-8")
