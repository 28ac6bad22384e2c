"""The report of `odelet bench`, as data, JSON and text.

The law here: nothing is measured; all is read from the report.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from odelet.artifact.card import Card
from odelet.artifact.decode import Json
from odelet.artifact.samples import OutputCheck
from odelet.commands.latency import Latency
from odelet.loops.stats import Stats
from odelet.model.measured_threads import Choice
from odelet.text import screen


@dataclass(frozen=True)
class BenchReport:
    """What `odelet bench` measured.

    odelet, floor, native, torch: times of a call of the artifact by ONNX Runtime, of its floor, of its library and of
    the torch model; None for what was not run. inputs: shapes by name. stats: of one call with these inputs. scale: how
    many times the floor's chain is shorter than the solve. floor_note, native_note: why there is no floor, and why no
    library was timed. native_checks: comparisons of the library's outputs with those of ONNX Runtime. checks:
    comparisons of odelet's outputs with torch's; there is none if the model draws random numbers. choice: how the
    number of threads was found, for "measured".
    """

    card: Card
    device: str
    threads: int
    inputs: dict[str, tuple[int, ...]]
    stats: Stats
    odelet: Latency
    floor: Latency | None = None
    scale: float = 1.0
    floor_note: str = ""
    native: Latency | None = None
    native_note: str = ""
    native_checks: tuple[OutputCheck, ...] = field(default=())
    torch: Latency | None = None
    checks: tuple[OutputCheck, ...] = field(default=())
    choice: Choice | None = None

    @property
    def evaluations(self) -> int | None:
        """How often a call evaluates fields; None if a solve does not report it, or there is no solve."""
        counts = [solve.evaluations for solve in self.stats.solves]
        reported = [count for count in counts if count is not None]
        return sum(reported) if reported and len(reported) == len(counts) else None

    @property
    def over_floor(self) -> float | None:
        """How many times as long as its floor a call takes; None without a floor."""
        return None if self.floor is None else self.odelet.over(self.floor) / self.scale

    @property
    def speed_up(self) -> float | None:
        """How many times as long as a call the torch model takes; None without a torch model."""
        return None if self.torch is None else self.torch.over(self.odelet)

    @property
    def native_share(self) -> float | None:
        """The share of ONNX Runtime's time that the library takes; None without a library."""
        return None if self.native is None else self.native.over(self.odelet)

    def to_dict(self) -> dict[str, Json]:
        """Return the report as JSON types; times are in milliseconds."""
        return report_dict(self)

    def summary(self) -> str:
        """Return the report as a screen of text."""
        return report_text(self)


_PERCENTILES = (50, 90, 99)
# The outputs of an export differ from its model's by less than this, relative to the largest element.
_SAME = 0.01
_UNITS = ((1.0, "s"), (1e3, "ms"), (1e6, "us"))


def report_dict(report: BenchReport) -> dict[str, Json]:
    """Return a report as JSON types; times are in milliseconds."""
    median, evaluations = 1e3 * report.odelet.median, report.evaluations
    data: dict[str, Json] = {
        "name": report.card.name,
        "form": report.card.form,
        "device": report.device,
        "threads": report.threads,
        "threads_measured": None if report.choice is None else report.choice.to_dict(),
        "inputs": {name: list(shape) for name, shape in report.inputs.items()},
        "calls": len(report.odelet.seconds),
        "latency_ms": _percentiles(report.odelet),
        "evaluations": evaluations,
        "evaluation_ms": median / evaluations if evaluations else None,
        "steps": report.stats.steps,
        "solves": [solve.to_dict() for solve in report.stats.solves],
        "floor": {"missing": report.floor_note},
        "native": {"missing": report.native_note},
        "torch": None,
    }
    if report.floor is not None:
        times = {key: value * report.scale for key, value in _percentiles(report.floor).items()}
        data["floor"] = {"latency_ms": times, "over": report.over_floor, "shortened": report.scale}
    if report.native is not None:
        differences = {check.output: check.note or check.max_abs for check in report.native_checks}
        times = _percentiles(report.native)
        data["native"] = {"latency_ms": times, "share": report.native_share, "differences": differences}
    if report.torch is not None:
        differences = {check.output: check.note or check.max_abs for check in report.checks}
        data["torch"] = {
            "latency_ms": _percentiles(report.torch),
            "speed_up": report.speed_up,
            "differences": differences or None,
        }
    return data


def report_text(report: BenchReport) -> str:
    """Return a report as a screen of text."""
    threads = f"{report.threads} thread" + "s" * (report.threads > 1)
    inputs = ", ".join(f"{name} {list(shape)}" for name, shape in report.inputs.items()) or "none"
    lines = [
        f"{report.card.name}: form {report.card.form}, on {report.device}, {threads}",
        f"inputs      {inputs}",
        *([] if report.choice is None else [f"threads     measured: {report.choice}"]),
        f"calls       {len(report.odelet.seconds)} of each, in turns",
        f"latency     {_line(report.odelet)}",
    ]
    for solve in report.stats.solves:
        counts = [f"{key} {value}" for key in ("steps", "evaluations") if (value := getattr(solve, key)) is not None]
        lines.append(f"solve {solve.index}     {solve.method}: {', '.join(counts) or 'it does not report its steps'}")
    if report.evaluations:
        each = _time(report.odelet.median / report.evaluations)
        lines.append(f"evaluation  {each}: the whole call, divided by its {report.evaluations} evaluations")
    if report.floor is None:
        lines.append(f"floor       none: {report.floor_note}")
    else:
        shortened = f", estimated from a chain {report.scale:.3g} times shorter" if report.scale > 1 else ""
        floor = _time(report.floor.median * report.scale)
        lines.append(f"floor       {floor}{shortened}; a call takes {report.over_floor:.2f} times that")
    if report.native is None:
        lines.append(f"native      not timed: {report.native_note}")
    else:
        lines.append(f"native      {_line(report.native)}; {report.native_share:.3g} of the time of ONNX Runtime")
        lines.append(f"difference  {_largest(report.native_checks)}, from ONNX Runtime")
    if report.torch is not None:
        lines.append(f"torch       {_line(report.torch)}; odelet is {report.speed_up:.2f} times as fast")
        lines.append(f"difference  {_differences(report)}")
    return screen(lines)


def _differences(report: BenchReport) -> str:
    if not report.checks:
        return "not compared: the model draws random numbers, and torch draws others"
    differs = any(check.note or check.max_rel > _SAME for check in report.checks)
    advice = "; is it the model that was exported? --weights names its weights" if differs else ""
    return f"{_largest(report.checks)}{advice}"


def _largest(checks: tuple[OutputCheck, ...]) -> str:
    largest = [f"{check.output} {check.note or f'{check.max_abs:.3g}'}" for check in checks]
    return f"largest, of each output: {', '.join(largest)}"


def _percentiles(latency: Latency) -> dict[str, float]:
    return {f"p{percent}": 1e3 * latency.percentile(percent) for percent in _PERCENTILES}


def _line(latency: Latency) -> str:
    return ", ".join(f"p{percent} {_time(latency.percentile(percent))}" for percent in _PERCENTILES)


def _time(seconds: float) -> str:
    """Return a time with the unit that leaves one to three digits before the point."""
    scale, unit = next((s, u) for s, u in _UNITS if seconds * s >= 1 or u == _UNITS[-1][1])
    return f"{seconds * scale:.3g} {unit}"
