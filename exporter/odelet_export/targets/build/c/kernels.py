"""The C functions of operators, most of them written by emx-onnx-cgen; no other module knows that package.

All that it writes for a program goes through it at once, each operator in names of its own, so that its start is paid
once and its helper functions are there once. Of its text, the functions of operators and their helpers are taken; the
function that would call them, with its memory on the stack, is only read for the order of their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import helper

from odelet_export.targets.build.built import BuildError
from odelet_export.targets.build.c.own import DOMAIN
from odelet_export.targets.build.c.replacing import own_text
from odelet_export.targets.build.operators import Operator, Port

INSTALL = 'pip install "odelet[c]"'
VERSION = "1.4.0"
_MODEL = "kernels"
# The functions of libm that odelet_math.h has in a form that compilers vectorise, or that keeps NaN as ONNX does.
_OWN_MATH = ("tanhf", "expf", "fmaxf", "fminf", "fmax", "fmin")
# And the generator's functions of float that it has in a form that is slower or less exact.
_OWN_SCALARS = ("sigmoid", "softplus")

_NODE = re.compile(r"/\*\n \* Node \d+:\n.*?\*/\n", re.S)
_WEIGHT = re.compile(r"/\*\n \* Weight \d+:\n.*?\*/\n(?:static )?const [^=;]*= (?:\{.*?\n\}|[^;]*);\n", re.S)
# A function for weights in a file of their own, which there are none of.
_LOADER = re.compile(rf"^_Bool {_MODEL}_load\(.*?^\}}\n", re.S | re.M)
_CALL = re.compile(r"^ +(\w+)\(([^()]*)\);$", re.M)
_LOCAL = re.compile(r"^ +(?:static )?(\w+) (\w+)((?:\[\d+\])+)(?: = \{0\})?;$", re.M)
_PLACE = re.compile(r"(?:weight\d+_|tmp\d+_)?k(\d+)_([io]\d+)")


@dataclass(frozen=True)
class Kernel:
    """The C functions of an operator, in the order in which they are called. calls: the name of each function and its
    arguments: i0 and so on for inputs, o0 and so on for outputs, and other names for values between two functions.
    between: the C types and shapes of these values, by name. text: the functions."""

    calls: tuple[tuple[str, tuple[str, ...]], ...]
    between: Mapping[str, tuple[str, str]]
    text: str


@dataclass(frozen=True)
class Kernels:
    """The kernels of a program, by operator. helpers: C that all of them need. includes: names of C headers."""

    of: Mapping[Operator, Kernel]
    helpers: str
    includes: tuple[str, ...]


def written(operators: Mapping[Operator, Sequence[Port]]) -> Kernels:
    """The kernels of operators. operators: the types of the results of each.

    Raises BuildError where emx-onnx-cgen is missing, and for an operator that it does not have.
    """
    theirs = {one: ports for one, ports in operators.items() if one.proto.domain != DOMAIN}
    try:
        text = _generated(theirs)
    except BuildError:
        raise
    except Exception:  # the generator's own errors, and those that it does not expect
        raise _culprit(theirs) from None
    made = _read(text, list(theirs))
    ours = [one for one in operators if one.proto.domain == DOMAIN]
    own = {one: _own(one, operators[one], f"own{number}_{one.kind.lower()}") for number, one in enumerate(ours)}
    return Kernels({**made.of, **own}, made.helpers, made.includes)


def _own(operator: Operator, outputs: Sequence[Port], name: str) -> Kernel:
    """The kernel of an operator of odelet's own."""
    words = [f"i{place}" for place, port in enumerate(operator.inputs) if port is not None]
    return Kernel(((name, (*words, "o0")),), {}, own_text(operator, outputs, name))


def _generated(operators: Mapping[Operator, Sequence[Port]]) -> str:
    """What the generator writes for operators."""
    try:
        from emx_onnx_cgen.compiler import Compiler, CompilerOptions
    except ImportError:
        raise BuildError(f"emx-onnx-cgen, which writes the C of operators, is not installed: {INSTALL}") from None
    models = [one.model(ports, prefix=f"k{number}_") for number, (one, ports) in enumerate(operators.items())]
    graphs = [model.graph for model in models]
    graph = helper.make_graph(
        [node for graph in graphs for node in graph.node],
        _MODEL,
        [value for graph in graphs for value in graph.input],
        [value for graph in graphs for value in graph.output],
        [tensor for graph in graphs for tensor in graph.initializer],
    )
    opset = {pair for one in operators for pair in one.opset}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*pair) for pair in opset], ir_version=10)
    never = 2**62  # no memory from malloc, and no weights in a file of their own
    options = CompilerOptions(model_name=_MODEL, large_temp_threshold_bytes=never, large_weight_threshold=never)
    return str(Compiler(options).compile(model))


def _culprit(operators: Mapping[Operator, Sequence[Port]]) -> BuildError:
    """The error for the operator that the generator does not have, found by halving."""
    left = list(operators.items())
    while len(left) > 1:
        half = left[: len(left) // 2]
        left = half if _failure(dict(half)) is not None else left[len(half) :]
    ((operator, ports),) = left
    reason = str(_failure({operator: ports})).split("\n")[0]
    return BuildError(
        f"{operator.label}: emx-onnx-cgen {VERSION} has no C for this operator ({reason}); write the model without it"
    )


def _failure(operators: Mapping[Operator, Sequence[Port]]) -> Exception | None:
    """The generator's error for operators; None where it writes them."""
    try:
        _generated(operators)
    except Exception as error:
        return error
    return None


def _read(text: str, operators: Sequence[Operator]) -> Kernels:
    """Take the kernels from what the generator wrote."""
    start = text.index(f"void {_MODEL}(")
    body, wrapper = _LOADER.sub("", text[:start]), text[start:]
    head, *comments = _NODE.split(body)
    _check_static(body)
    functions: dict[str, str] = {}
    for function in comments:
        found = re.search(r"^EMX_NODE_FN \w+ (\w+)\(", function, re.M)
        assert found is not None
        functions[found[1]] = function
    types = {name: (ctype, shape) for ctype, name, shape in _LOCAL.findall(wrapper)}
    calls: dict[int, list[tuple[str, tuple[str, ...]]]] = {}
    owner: dict[str, int] = {}
    for name, arguments in _CALL.findall(wrapper):
        words = [word.strip() for word in arguments.split(",")]
        numbers = {int(place[1]) for place in map(_PLACE.fullmatch, words) if place is not None}
        numbers |= {owner[word] for word in words if word in owner}
        (number,) = numbers
        owner |= {word: number for word in words if word in types}
        calls.setdefault(number, []).append((name, tuple(_argument(word) for word in words)))
    made = {}
    for number, operator in enumerate(operators):
        own = calls[number]
        names = {name: f"k{number}_{name.partition('_')[2]}" for name, _ in own}
        texts = [re.sub(rf"\b{name}\b", names[name], functions[name]) for name, _ in own]
        between = {word: types[word] for _, words in own for word in words if word in types}
        made[operator] = Kernel(
            tuple((names[name], words) for name, words in own),
            between,
            _with_own_math("".join(texts)).strip("\n"),
        )
    includes = tuple(dict.fromkeys(re.findall(r"^#include <([\w./]+)>$", head, re.M)))
    return Kernels(made, _with_own_math(_helpers(head)), includes)


def _argument(word: str) -> str:
    place = _PLACE.fullmatch(word)
    return place[2] if place is not None else word


def _helpers(head: str) -> str:
    """The functions and macros before the kernels, without the weights, which are written for the whole program."""
    head = _WEIGHT.sub("", head)
    head = re.sub(r"^extern const [^;]*;\n", "", head, flags=re.M)
    head = re.sub(r"^#include .*\n", "", head, flags=re.M)
    head = head[head.index("*/") + 2 :]  # the generator's own comment at the top
    for name in _OWN_SCALARS:
        own = rf"\1    return odelet_{name}f(a);\n}}\n"
        head = re.sub(
            rf"^(static inline float ref_scalar_f32_{name}\(float a\) {{\n).*?^}}\n", own, head, flags=re.M | re.S
        )
    return re.sub(r"\n{3,}", "\n\n", head).strip("\n") + "\n"


def _with_own_math(text: str) -> str:
    return re.sub(rf"\b({'|'.join(_OWN_MATH)})\(", r"odelet_\1(", text)


def _check_static(text: str) -> None:
    """Raise BuildError where the generator wrote code that takes memory of varying size."""
    found = re.search(r"\b(malloc|calloc|alloca)\b", text)
    if found is not None:
        raise BuildError(f"emx-onnx-cgen {VERSION} writes C with {found[1]} for this model, and such C is refused")
