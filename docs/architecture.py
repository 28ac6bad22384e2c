"""The made parts of docs/architecture.md: the rooms with their laws, in order. `make docs` writes them.

The order of the rooms is data here, and nowhere else; tests/whole/test_rooms.py holds every import against it.

    python docs/architecture.py           # write the page again
    python docs/architecture.py --counts  # print how the packages import each other
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- rooms of {}: make docs -->\n", "<!-- to here -->\n"

# The folder of each package, and its rooms: a room imports only rooms of the rows above its own.
ROOMS: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "odelet": (
        "runtime",
        (
            ("status",),
            ("errors", "numerics"),
            ("methods",),
            ("artifact", "loops"),
            ("engine",),
            ("model",),
            ("commands",),
            ("cli",),
        ),
    ),
    "odelet_intercept": (
        "exporter",
        (
            ("errors", "call"),
            ("torch_backend", "torchdiffeq_calls"),
            ("fixed_point",),
            ("mark",),
            ("mark_calls",),
            ("libraries",),
            ("user_code",),
            ("intercept", "installed", "call_options"),
        ),
    ),
    "odelet_export": (
        "exporter",
        (
            ("errors",),
            ("graphs", "model"),
            ("capture",),
            ("lowering",),
            ("targets",),
            ("proof",),
            ("calibration",),
            ("pipeline",),
            ("tuning",),
            ("commands",),
        ),
    ),
}


def law(package: str, room: str) -> str:
    """The first line of the docstring of a room, which is a file or a folder."""
    folder = ROOT / ROOMS[package][0] / package
    file = folder / room / "__init__.py"
    file = file if file.exists() else folder / f"{room}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text, f"{file} has no docstring"
    return text.splitlines()[0]


def files() -> dict[str, Path]:
    """The files of the packages, by the name of the module."""
    found = {}
    for package, (folder, _) in ROOMS.items():
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports() -> dict[str, set[str]]:
    """Which modules each module of the packages imports: anywhere in it, for types too."""
    modules = files()
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [full if full in modules else node.module for full in inner]
            else:
                continue
            found[name] |= {target for target in targets if target in modules} - {name}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or by way of others."""
    reached = {name: set(_reachable(graph, name)) for name in graph}
    groups = {tuple(sorted({name, *(n for n in reached[name] if name in reached[n])})) for name in graph}
    return sorted([list(group) for group in groups if len(group) > 1 or group[0] in reached[group[0]]])


def _reachable(graph: dict[str, set[str]], name: str) -> Iterator[str]:
    seen: set[str] = set()
    waiting = [*graph[name]]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            yield module
            waiting += graph[module]


def longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """The longest way from module to module along imports; there must be no circle."""
    known: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in known:
            known[name] = [name, *max((chain(module) for module in sorted(graph[name])), key=len, default=[])]
        return known[name]

    return max((chain(name) for name in graph), key=len)


def rooms(package: str) -> str:
    """The list of a package's rooms, each with its law."""
    lines = ["| room | law |", "|---|---|"]
    for row in ROOMS[package][1]:
        lines += [f"| `{room}` | {law(package, room)} |" for room in row]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with its made parts made again."""
    for package in ROOMS:
        start = START.format(package)
        before, rest = text.split(start)
        _, after = rest.split(END, 1)
        text = f"{before}{start}{rooms(package)}{END}{after}"
    return text


def counts() -> str:
    """The figures of the import graph, as text."""
    graph = imports()
    tied = circles(graph)
    lines = [f"modules {len(graph)}, imports {sum(map(len, graph.values()))}, circles {len(tied)}"]
    if not tied:
        chain = longest_chain(graph)
        lines.append(f"longest chain {len(chain)}: {' > '.join(chain)}")
    return "\n".join(lines)


if __name__ == "__main__":
    if "--counts" in sys.argv:
        print(counts())
    else:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
