"""Makes the tables of rooms in docs/architecture.md: each room with its law, in order. `make docs` writes them.

The order of the rooms stands here as data, and nowhere else. tests/whole/test_rooms.py checks every import against it.

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

# The folder of each package, and the rows of its rooms. A room imports only rooms of the rows above its own.
ROOMS: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "odelet": (
        "runtime",
        (
            ("status", "text"),
            ("errors", "numerics"),
            ("methods", "random_numbers"),
            ("artifact",),
            ("loops",),
            ("engine",),
            ("model",),
            ("commands",),
            ("cli",),
        ),
    ),
    "odelet_intercept": (
        "exporter",
        (
            ("errors", "call", "solver_library"),
            ("torch_backend",),
            ("fixed_point",),
            ("mark",),
            ("libraries",),
            ("user_code",),
            ("intercept", "installed", "call_options"),
        ),
    ),
    "odelet_export": (
        "exporter",
        (
            ("versions",),
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
    """The law of a room: the first line of the docstring of its file, or of the `__init__` of its folder."""
    folder = ROOT / ROOMS[package][0] / package
    file = folder / room / "__init__.py"
    file = file if file.exists() else folder / f"{room}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text, f"{file} has no docstring"
    return text.splitlines()[0]


def files() -> dict[str, Path]:
    """The paths of the packages' files, by the name of the module."""
    paths = {}
    for package, (folder, _) in ROOMS.items():
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            paths[name.removesuffix(".__init__")] = path
    return paths


def imports() -> dict[str, set[str]]:
    """The modules of the packages that each module imports, by name; imports inside functions and for types count."""
    modules = files()
    imported: dict[str, set[str]] = {}
    for name, path in modules.items():
        imported[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [full if full in modules else node.module for full in inner]
            else:
                continue
            imported[name] |= {target for target in targets if target in modules} - {name}
    return imported


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or through other modules."""
    reached = {name: set(_reachable(graph, name)) for name in graph}
    groups = {tuple(sorted({name, *(n for n in reached[name] if name in reached[n])})) for name in graph}
    return sorted([list(group) for group in groups if len(group) > 1 or group[0] in reached[group[0]]])


def _reachable(graph: dict[str, set[str]], name: str) -> Iterator[str]:
    """The modules that `name` imports, directly or through other modules, each once."""
    seen: set[str] = set()
    waiting = [*graph[name]]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            yield module
            waiting += graph[module]


def longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """The longest chain of modules in which each imports the next; the graph must have no circle."""
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            chains[name] = [name, *max((chain(module) for module in sorted(graph[name])), key=len, default=[])]
        return chains[name]

    return max((chain(name) for name in graph), key=len)


def rooms(package: str) -> str:
    """The table of a package's rooms, each with its law, as Markdown."""
    lines = ["| room | law |", "|---|---|"]
    for row in ROOMS[package][1]:
        lines += [f"| `{room}` | {law(package, room)} |" for room in row]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The text of the page, with each table of rooms made again."""
    for package in ROOMS:
        start = START.format(package)
        before, rest = text.split(start)
        _, after = rest.split(END, 1)
        text = f"{before}{start}{rooms(package)}{END}{after}"
    return text


def counts() -> str:
    """The number of modules, imports and circles, and the longest chain of imports, as text."""
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
