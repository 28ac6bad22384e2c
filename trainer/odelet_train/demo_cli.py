"""The command `odelet demo`: a family of the zoo, exported and run without torch. Torch is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from odelet_models import FAMILIES, load_family

if TYPE_CHECKING:
    from odelet_models.family import Family
    from odelet_train.exhibit import Exhibit

EXTRAS = "odelet[export,train,plot]"
# In a narrower terminal, lines that wrap are easier to read than names that are cut off.
NARROWEST = 88


def demo_command(
    family: Annotated[
        str | None, typer.Argument(metavar="[FAMILY]", help="A family of the zoo; without one, all are listed.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the artifacts and the picture.")] = Path(
        "out/zoo"
    ),
) -> None:
    """Export the trained members of a family, score the artifacts beside torch, and draw what they compute."""
    try:
        if family is None:
            typer.echo(_listed())
            return
        _demonstrate(family, out)
    except ModuleNotFoundError as error:
        _stop(f"the demo needs {error.name}; install it with: pip install '{EXTRAS}'")
    except (OSError, ValueError) as error:
        _stop(str(error))


def _listed() -> str:
    """A line for each family: its name, and the first sentence about it."""
    families = {name: load_family(name) for name in FAMILIES}
    width = max(map(len, families))
    lines = [f"{name:<{width}}  {family.about.partition('. ')[0]}." for name, family in families.items()]
    return "\n".join([*lines, "", "To see one, run: odelet demo FAMILY"])


def _demonstrate(name: str, out: Path) -> None:
    """Export, score and draw a family."""
    from rich.console import Console

    from odelet_train.exhibit import by_torch, exhibits, picture

    family = load_family(name)
    console = Console(highlight=False)
    console.width = max(console.width, NARROWEST)
    console.print(f"[bold]{family.title}[/bold]: {family.about}\n{family.source}\n")
    data = family.data()
    with console.status("") as status:
        shown = list(exhibits(family, out / name, announce=lambda artifact: status.update(f"exporting {artifact}")))
        status.update("scoring")
        scores = {member: _scores(family, member, shown, by_torch, data) for member in family.members}
        picture(family, {exhibit.name: exhibit.call for exhibit in shown}, data, out / name / "picture.png")
    console.print(_table(family, shown, scores))
    name_of_baseline, baseline = family.baseline
    better = "higher" if family.higher else "lower"
    console.print(f"score: {family.metric}; {better} is better; {name_of_baseline}: {baseline(data):.4g}")
    console.print(f"artifacts and picture.png are in {out / name}")


def _scores(family: Family, member: str, shown: list[Exhibit], by_torch: Any, data: Any) -> tuple[float, float]:
    """The score of a member by torch, and by its artifact."""
    (use, chosen), *_ = family.members[member].uses.items()
    (exhibit,) = (one for one in shown if (one.member, one.use) == (member, use))
    torch_score = family.score(by_torch(family, member, chosen), *data.test)
    return torch_score, family.score(exhibit.call, *data.test)


def _table(family: Family, shown: list[Exhibit], scores: dict[str, tuple[float, float]]) -> Any:
    """A table with a row for each artifact."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("member\n", "use\n", "form\n"):
        table.add_column(head, no_wrap=True)
    for head in ("score,\ntorch", "score,\nartifact", "largest\nerror", "field\ncalls", "ms for\none", "kB\n"):
        table.add_column(head, justify="right", no_wrap=True)
    scored = set()
    for exhibit in shown:
        use = family.members[exhibit.member].uses[exhibit.use]
        both = [f"{value:.4g}" for value in scores[exhibit.member]] if exhibit.member not in scored else ["", ""]
        scored.add(exhibit.member)
        table.add_row(
            exhibit.member, exhibit.use, _forms(exhibit), *both, f"{exhibit.error:.0e}", *_costs(exhibit, use)
        )
    return table


def _forms(exhibit: Exhibit) -> str:
    """The forms of the solves of an artifact."""
    return ", ".join(dict.fromkeys(solve.form for solve in exhibit.model.card.solves)) or "no solve"


def _costs(exhibit: Exhibit, use: Any) -> list[str]:
    """The evaluations of fields and the milliseconds of a call with one sample, and the size of the artifact."""
    from odelet.commands.latency import interleaved
    from odelet_train.uses import arrays

    inputs = use.inputs(1)
    evaluations, values = exhibit.evaluations(*inputs), arrays(inputs)
    latency = interleaved({"call": lambda: exhibit.model(*values)}, seconds=0.5)["call"]
    return ["" if evaluations is None else str(evaluations), f"{1e3 * latency.median:.2g}", f"{exhibit.kilobytes:.0f}"]


def _stop(reason: str) -> NoReturn:
    typer.echo(f"error: {reason}", err=True)
    raise typer.Exit(2)
