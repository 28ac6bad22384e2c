"""The tables of results/speed.json: targets, peers that are ahead, the floor, and all ways to run each model."""

from __future__ import annotations

from collections.abc import Sequence

from tables import TITLES, Row, find, read, table, verdict

# A peer is ahead where the median ratio of its time to that of the best form is below this; the rest is noise.
EVEN = 0.97
# The least speed-up over torchdiffeq in eager mode, by part and batch.
EAGER = {
    ("digits", 64): 1.0,
    ("digits", 360): 1.0,
    ("guided-50", 1): 1.5,
    ("guided-200", 1): 1.2,
    ("guided-200", 4): 1.2,
}
# The largest share of diffrax's time, by part and batch.
OF_DIFFRAX = {("spiral", 256): 1.0, ("spiral", 4096): 1.0}
FORMS = ("adaptive", "driven", "unrolled", "rolled")


def _beside() -> list[Row]:
    """The rows of peers that ran, the one furthest ahead first."""
    rows = [row for row in read("speed")["rows"] if row["kind"] == "peer" and "missing" not in row]
    return sorted(rows, key=lambda row: row["over_best"])


def _name(row: Row) -> str:
    return f"{TITLES[row['part']]}, batch {row['batch']}"


def targets() -> str:
    """The table of targets."""
    lines = []
    for other, whose in ((False, "with odelet's steps"), (True, "with other steps")):
        rows = [row for row in _beside() if row["other_steps"] == other]
        claim = f"time over the best form, of {len(rows)} rows of peers {whose}: the least"
        lines.append([claim, verdict(rows[0]["over_best"] if rows else None, EVEN, at_least=True)])
    rows = read("speed")["rows"]
    for (part, batch), target in EAGER.items():
        row = find(rows, part=part, batch=batch, way="torchdiffeq")
        ratio = row and row.get("over_best")
        claim = f"speed-up over torchdiffeq in eager mode: {TITLES[part]}, batch {batch}"
        lines.append([claim, verdict(ratio, target, at_least=True)])
    for (part, batch), target in OF_DIFFRAX.items():
        row = find(rows, part=part, batch=batch, way="diffrax")
        ratio = row and row.get("over_best")
        lines.append([f"time over jitted diffrax: {TITLES[part]}, batch {batch}", verdict(ratio and 1 / ratio, target)])
    return table(["claim", "measured (target)"], lines)


def behind() -> str:
    """The rows in which a peer is ahead by more than noise, or a sentence that there is none."""
    rows = [row for row in _beside() if row["over_best"] < EVEN]
    if not rows:
        return f"No peer is ahead: its time over that of the best form is at least {EVEN} in every row."
    lines = [[_name(row), row["way"], _steps(row), row["best_form"], _over(row)] for row in rows]
    return table(["workload", "peer that is ahead", "its steps", "best form", "over best form"], lines)


def _steps(row: Row) -> str:
    if row["steps"] is None:
        return ""
    best = find(read("speed")["rows"], part=row["part"], batch=row["batch"], way=row["best_form"])
    return f"{row['steps']}, of odelet {best['steps']}" if best else str(row["steps"])


def _over(row: Row) -> str:
    """A peer's time over that of the best form, with a star where the peer takes other steps."""
    figure = f"{row['over_best']:.2f}"
    figure = f"**{figure}**" if row["over_best"] < EVEN else figure
    return f"{figure}\\*" if row["other_steps"] else figure


def floor() -> str:
    """The table of times over the floor."""
    rows = [row for row in read("speed")["rows"] if row["kind"] == "form"]
    lines = []
    for part, batch in dict.fromkeys((row["part"], row["batch"]) for row in rows):
        forms = [find(rows, part=part, batch=batch, way=form) for form in FORMS]
        lines.append([TITLES[part], batch, *("" if row is None else f"{row['over_floor']:.2f}" for row in forms)])
    return table(["workload", "batch", *(f"`{form}`" for form in FORMS)], lines)


def speed() -> str:
    """The table of all ways to run each model."""
    data = read("speed")
    lines = [_line(row) for row in data["rows"]]
    loads = [row["load"] for row in data["rows"]]
    head = ["workload", "batch", "way", "ms", "evaluations", "steps", "over floor", "over best form"]
    load = f"The load of the machine was {min(loads):g} to {max(loads):g} on {data['machine']['cores']} cores."
    return f"{table(head, lines)}\n\n{load}"


def _line(row: Row) -> Sequence[object]:
    way = {"form": f"`{row['way']}`", "native": "native code"}.get(row["kind"], row["way"])
    if row.get("note"):
        way = f"{way} ({row['note']})"
    first = [TITLES[row["part"]], row["batch"], way]
    if "missing" in row:
        return [*first, f"not run: {row['missing']}", "", "", "", ""]
    over = f"{row['over_floor']:.2f}" if "over_floor" in row else ""
    beside = _over(row) if row["kind"] == "peer" else ("best" if row["best"] else "")
    return [*first, f"{row['ms']['p50']:.3g}", row["evaluations"] or "", row["steps"] or "", over, beside]
