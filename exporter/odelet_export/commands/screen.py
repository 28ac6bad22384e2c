"""The text of `odelet export`: a checklist of stages on stderr while it works, then the result on stdout."""

from __future__ import annotations

import shlex
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from odelet.artifact.solve_card import SolveCard
from odelet.methods.fixed_point import ITERATIONS
from odelet_export.proof.verdict import Verdict

if TYPE_CHECKING:
    from odelet_export.pipeline.export import Exported
    from odelet_export.proof.report import Report, SolveCheck


# Each stage, with a description of its work for a user who waits.
STAGES = {
    "load": "import torch and the model",
    "look": "run the model once in torch",
    "capture": "trace the model once",
    "lift": "take the fields out of the graph",
    "replay": "run the graph under torchdiffeq, beside the model",
    "lower": "put a solver around each field",
    "check": "write, check and load the files",
    "parity": "compare with torch",
}
# These stages write nothing.
EXPLAINING = {stage: does for stage, does in STAGES.items() if stage in ("load", "look", "capture", "lift", "replay")}
_CALIBRATE = {"calibrate": "find the steps on the calibration data"}
_REDUCE = {"reduce": "store the weights in fewer bits, and compare again"}
_LABEL = 10
_STYLES = {"parity": "green", "warning": "yellow", "assumed": "yellow"}


def stages_of(*, calibrating: bool, reducing: bool) -> dict[str, str]:
    """The stages of an export. calibrating: whether steps are found on data. reducing: whether weights are stored in
    fewer bits."""
    before = {**EXPLAINING, **_CALIBRATE} if calibrating else EXPLAINING
    return {**before, **STAGES, **(_REDUCE if reducing else {})}


class Checklist:
    """A list of stages that are checked off as they end; plain lines where there is no terminal.

    Call the checklist with the name of a stage when that stage begins; leaving the context ends the last stage.
    stages: all stages to come, each with a description of its work. seconds: the time of each finished stage, by name.
    """

    def __init__(self, console: Console | None = None, *, stages: Mapping[str, str] = STAGES) -> None:
        self._stages = stages
        self.seconds: dict[str, float] = {}
        self._console = console or Console(stderr=True)
        self._stage = ""
        self._since = 0.0
        self._note = ""
        self._failed = False
        self._spinner = Spinner("line")
        self._live = Live(self, console=self._console, refresh_per_second=8) if self._console.is_terminal else None

    def __enter__(self) -> Checklist:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A stage that failed is not checked off; the error says why.
        self._failed = kind is not None
        if not self._failed:
            self._finish()
        if self._live is not None:
            self._live.stop()

    def __call__(self, stage: str) -> None:
        """Begin a stage, and end the stage before."""
        self._finish()
        self._stage, self._since = stage, time.perf_counter()

    def progress(self, line: str) -> None:
        """Show a line about the stage that runs."""
        self._note = line
        if self._live is None:
            print(f"{'':<9}{line}", file=sys.stderr, flush=True)

    def _finish(self) -> None:
        self._note = ""
        if not self._stage:
            return
        stage, seconds = self._stage, time.perf_counter() - self._since
        self.seconds[stage], self._stage = seconds, ""
        if self._live is None:
            print(f"{stage:<9}{seconds:>6.1f} s", file=sys.stderr, flush=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(*(self._line(stage, does, options) for stage, does in self._stages.items()))

    def _line(self, stage: str, does: str, options: ConsoleOptions) -> Text:
        mark, style, seconds = Text(" "), "dim", ""
        if stage in self.seconds:
            mark, style = Text("+" if options.ascii_only else "✓", "green"), ""
            seconds = f"{self.seconds[stage]:.1f} s"
        elif stage == self._stage:
            spin = self._spinner.render(time.perf_counter())
            mark = Text("x", "bold red") if self._failed else Text(str(spin), "cyan")
            style, seconds = "bold", f"{time.perf_counter() - self._since:.1f} s"
            does = self._note or does
        line = Text.assemble(" ", mark, " ", (f"{stage:<8}", style), (f"{seconds:>7}", style), ("  " + does, "dim"))
        line.truncate(options.max_width, overflow="ellipsis")
        return line


def show(exported: Exported, out: Path) -> None:
    """Print the result on stdout: one screen, wrapped on a terminal, in whole lines elsewhere."""
    print_rows("Exported ", f"{exported.card.name} to {out}", _rows(exported))
    console = Console(highlight=False)
    console.print("\nNext", style="bold")
    for command in next_commands(exported, out):
        console.print(Text(f"  {command}"), soft_wrap=True)


def print_rows(head: str, of: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a title and labelled lines on stdout, wrapped on a terminal, in whole lines elsewhere."""
    console = Console(highlight=False)
    width = console.width if console.is_terminal else sys.maxsize
    console.print(Text.assemble((head, "bold green"), (of, "bold")), soft_wrap=True)
    for label, line in rows:
        style = _STYLES.get(label, "")
        room = max(width - _LABEL - 2, 20)
        head, *rest = textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
        text = Text.assemble("  ", (f"{label:<{_LABEL}}", "cyan"), (head, style))
        text.append("".join(f"\n{'':{_LABEL + 2}}{more}" for more in rest), style)
        console.print(text, soft_wrap=True)


def _rows(exported: Exported) -> list[tuple[str, str]]:
    card = exported.card
    rows = [(f"solve {solve.index}", _solve(solve)) for solve in card.solves]
    rows = rows or [("form", f"{card.form}: the model makes no solve")]
    rows += [("input", f"{tensor.name}: {tensor}") for tensor in card.inputs]
    rows += [("noise", f"{noise.name}: {noise.distribution}, drawn at {noise.source}") for noise in card.noise]
    rows += [("output", f"{tensor.name}: {tensor}") for tensor in card.outputs]
    if exported.tracer != "torch.export":
        rows.append(("traced", exported.explanation.traced))
    rows.append(("parity", _parity(exported.parity)))
    # The steps of calibrated solves are not torchdiffeq's, so they are not compared.
    trust = exported.parity.trust
    rows += [("", line) for line in _steps(exported.parity)] if trust is None else [("trust", x) for x in trust.lines]
    reduced = exported.parity.reduced
    rows += [] if reduced is None else [("weights", line) for line in reduced.lines]
    sizes = [f"{path.name} {_size(path.stat().st_size)}" for path in sorted(exported.path.iterdir())]
    rows.append(("files", ", ".join(sizes)))
    return rows + [("warning", warning) for warning in exported.warnings]


def numbers(tolerance: float | tuple[float, ...]) -> str:
    """A tolerance as text; the tolerances of the parts of a state are separated by slashes."""
    return "/".join(f"{x:g}" for x in (tolerance if isinstance(tolerance, tuple) else (tolerance,)))


def _solve(solve: SolveCard) -> str:
    settings = [f"{key} {numbers(getattr(solve, key))}" for key in ("rtol", "atol") if getattr(solve, key) is not None]
    settings += [f"{solve.steps} steps"] if solve.steps is not None else []
    settings += ["each sample on its own"] if solve.per_sample else []
    return ", ".join([f"{solve.form} {solve.method}", *settings]) + (f" ({solve.source})" if solve.source else "")


def _parity(report: Report) -> str:
    differ = (
        f"{len(report.samples)} samples differ from torch by at most {report.max_abs:.2g} ({report.max_rel:.2g} "
        "relative)"
    )
    if report.verdict is Verdict.AS_TORCH:
        return f"passed, as far as torch agrees with itself: {differ}, and rounding moves torch's own answers as far"
    return f"passed: {differ}"


def _steps(report: Report) -> list[str]:
    """A line for each solve: its steps and evaluations in torchdiffeq, and whether the artifact took the same."""
    solves: dict[int, list[SolveCheck]] = {}
    for sample in report.samples:
        for check in sample.solves:
            solves.setdefault(check.index, []).append(check)
    lines = []
    for index, checks in solves.items():
        counts = f"{_span([check.torch.steps for check in checks])} steps"
        evaluations = [check.torch.evaluations for check in checks]
        counts += "" if evaluations == [None] * len(checks) else f", {_span(evaluations)} field evaluations"
        equal = sum(check.equal for check in checks)
        same = "the same as" if equal == len(checks) else f"in {equal} of {len(checks)} samples the same as"
        lines.append(f"solve {index}: {counts}, {same} {'torch' if checks[0].method in ITERATIONS else 'torchdiffeq'}")
    return lines


def _span(counts: list[int | None]) -> str:
    """The smallest and the largest of some counts, as text."""
    certain = [count for count in counts if count is not None]
    if not certain:
        return "an unknown number of"
    low, high = min(certain), max(certain)
    return str(low) if low == high else f"{low} to {high}"


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def next_commands(exported: Exported, out: Path) -> list[str]:
    """The commands that a user would run next."""
    folder = shlex.quote(str(out))
    single = len(exported.card.inputs) - len(exported.card.noise) == 1
    name = f"{exported.card.inputs[0].name}.npy" if single else "inputs.npz"
    return [f"odelet verify {folder}", f"odelet run {folder} --input {name} --output outputs.npz"]
