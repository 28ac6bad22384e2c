"""What `odelet bench` says. The law here: it is read from the report alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from odelet.artifact.card import Card
from odelet.artifact.samples import OutputCheck
from odelet.commands.latency import Latency
from odelet.loops.stats import Stats


@dataclass(frozen=True)
class BenchReport:
    """What was measured. odelet, floor, torch: times of a call; floor, torch: None where they were not run.

    inputs: shapes by name. stats: of one solve of these inputs. scale: how many times the floor's chain is shorter than
    the solve. floor_note: why there is no floor. checks: torch's outputs compared with odelet's; none where the model
    draws random numbers. seconds: that were asked for.
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
    torch: Latency | None = None
    checks: tuple[OutputCheck, ...] = field(default=())

    @property
    def evaluations(self) -> int | None:
        """Of all fields; None where a solve cannot tell."""
        told = [solve.evaluations for solve in self.stats.solves]
        known = [count for count in told if count is not None]
        return sum(known) if known and len(known) == len(told) else None

    @property
    def over_floor(self) -> float | None:
        """How many times as long as its floor a call takes."""
        return None if self.floor is None else self.odelet.over(self.floor) / self.scale

    @property
    def speed_up(self) -> float | None:
        """How many times as long as a call the torch model takes."""
        return None if self.torch is None else self.torch.over(self.odelet)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; times in milliseconds."""
        return report_dict(self)

    def summary(self) -> str:
        """As a screen of text."""
        return report_text(self)


_PERCENTILES = (50, 90, 99)
# An export differs from its model by less, in relation to the largest element.
_SAME = 0.01
_UNITS = ((1.0, "s"), (1e3, "ms"), (1e6, "us"))


def report_dict(report: BenchReport) -> dict[str, Any]:
    """A report as JSON types; times in milliseconds."""
    median, evaluations = 1e3 * report.odelet.median, report.evaluations
    data: dict[str, Any] = {
        "name": report.card.name,
        "form": report.card.form,
        "device": report.device,
        "threads": report.threads,
        "inputs": {name: list(shape) for name, shape in report.inputs.items()},
        "calls": len(report.odelet.seconds),
        "latency_ms": _percentiles(report.odelet),
        "evaluations": evaluations,
        "evaluation_ms": median / evaluations if evaluations else None,
        "steps": report.stats.steps,
        "solves": [solve.to_dict() for solve in report.stats.solves],
        "floor": {"missing": report.floor_note},
        "torch": None,
    }
    if report.floor is not None:
        times = {key: value * report.scale for key, value in _percentiles(report.floor).items()}
        data["floor"] = {"latency_ms": times, "over": report.over_floor, "shortened": report.scale}
    if report.torch is not None:
        differences = {check.output: check.note or check.max_abs for check in report.checks}
        data["torch"] = {
            "latency_ms": _percentiles(report.torch),
            "speed_up": report.speed_up,
            "differences": differences or None,
        }
    return data


def report_text(report: BenchReport) -> str:
    """A report as a screen of text."""
    threads = f"{report.threads} thread" + "s" * (report.threads > 1)
    inputs = ", ".join(f"{name} {list(shape)}" for name, shape in report.inputs.items()) or "none"
    lines = [
        f"{report.card.name}: form {report.card.form}, on {report.device}, {threads}",
        f"inputs      {inputs}",
        f"calls       {len(report.odelet.seconds)} of each, in turns",
        f"latency     {_line(report.odelet)}",
    ]
    for solve in report.stats.solves:
        told = [f"{key} {value}" for key in ("steps", "evaluations") if (value := getattr(solve, key)) is not None]
        lines.append(f"solve {solve.index}     {solve.method}: {', '.join(told) or 'it does not say its steps'}")
    if report.evaluations:
        each = _time(report.odelet.median / report.evaluations)
        lines.append(f"evaluation  {each} of the whole call for each of {report.evaluations}")
    if report.floor is None:
        lines.append(f"floor       none: {report.floor_note}")
    else:
        shortened = f", told from a chain {report.scale:.3g} times shorter" if report.scale > 1 else ""
        floor = _time(report.floor.median * report.scale)
        lines.append(f"floor       {floor}{shortened}; a call takes {report.over_floor:.2f} times that")
    if report.torch is not None:
        lines.append(f"torch       {_line(report.torch)}; odelet is {report.speed_up:.2f} times as fast")
        lines.append(f"difference  {_differences(report)}")
    return "\n".join(lines)


def _differences(report: BenchReport) -> str:
    if not report.checks:
        return "not compared: the model draws random numbers, and torch draws others"
    told = [f"{check.output} {check.note or f'{check.max_abs:.3g}'}" for check in report.checks]
    other = any(check.note or check.max_rel > _SAME for check in report.checks)
    advice = "; another model than was exported? its weights are named by --weights" if other else ""
    return f"largest, of each output: {', '.join(told)}{advice}"


def _percentiles(latency: Latency) -> dict[str, float]:
    return {f"p{percent}": 1e3 * latency.percentile(percent) for percent in _PERCENTILES}


def _line(latency: Latency) -> str:
    return ", ".join(f"p{percent} {_time(latency.percentile(percent))}" for percent in _PERCENTILES)


def _time(seconds: float) -> str:
    """In the unit that leaves one to three digits before the point."""
    scale, unit = next((s, u) for s, u in _UNITS if seconds * s >= 1 or u == _UNITS[-1][1])
    return f"{seconds * scale:.3g} {unit}"
