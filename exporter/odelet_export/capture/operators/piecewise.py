"""Takes a traced program apart node by node: only operators that need it are traced again, each kind once.

torch's own way traces the whole program again, twice, with symbolic sizes; of a large model that takes longer than all
the rest of the translation. Most nodes stay as they are. Here an operator is traced alone, on the shapes that the
program has for its arguments, and the nodes of that trace take its place.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._guards import detect_fake_mode
from torch._ops import OpOverload
from torch._subclasses import FakeTensor
from torch.export import ExportedProgram
from torch.export import exported_program as torchs
from torch.fx import Graph, GraphModule, Node, Proxy
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from odelet_export.capture.operators.preserving import preserved

# Operators that read a tensor's sizes, all of which follow from the sizes of the inputs.
_SIZES = tuple(getattr(torch.ops.aten, name) for name in ("sym_size", "sym_numel", "sym_stride", "sym_storage_offset"))
_SIZES = (*_SIZES, *(getattr(packet, name) for packet in _SIZES for name in packet.overloads()))
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
# What a node's meta says of its value, which differs between the node and the nodes that take its place.
_VALUE = ("val", "tensor_meta", "unbacked_bindings")

Table = Mapping[Any, Callable[..., Any]]


class NotPiecewise(Exception):
    """Raised for a program that is not a list of operators without side effects; it is left as it was."""


def decompose_piecewise(program: ExportedProgram, table: Table) -> None:
    """Put decompositions in place of the operators of `table`, and of composite operators that are to be taken apart,
    in a program, in place.

    The program computes what `program.run_decompositions(table)` computes, by the same operators. Raises NotPiecewise
    for programs with operators that write into their arguments, with subgraphs, or with other classes of tensors.
    """
    graph = program.graph_module.graph
    for node in graph.nodes:
        _check(node)
    composite, plain = torchs._split_decomp_table_to_cia_and_python_decomp({**table})
    sizes, pieces = _Sizes(graph), dict[Any, GraphModule]()
    found: list[tuple[Node, GraphModule]] = []
    modes = [node.meta.get("val") for node in graph.nodes if node.op == "placeholder"]
    mode = detect_fake_mode([value for value in modes if isinstance(value, torch.Tensor)])
    if mode is None:
        raise NotPiecewise("no shapes")
    with torch.no_grad(), mode, enable_python_dispatcher(), preserved(composite):
        for node in graph.nodes:
            if _stays(node, composite, plain) or _detaches_constant(node):
                continue
            key = _key(node)
            piece = pieces.get(key) if key is not None else None
            if piece is None:
                piece = _traced(node, plain, sizes)
                if key is not None:
                    pieces[key] = piece
            _check_result(node, piece)
            found.append((node, piece))
    replaced = dict(found)
    for node in list(graph.nodes):
        if _detaches_constant(node):
            made: Any = node.args[0]
            made.target = torch.ops.aten.clone.default
            _use(program, node, made)
        elif node in replaced:
            _replace(program, node, replaced[node].graph, sizes)
        else:
            sizes.note(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _check(node: Node) -> None:
    """Raise NotPiecewise for a node that only torch's own way can deal with."""
    target: Any = node.target
    if node.op in ("placeholder", "output"):
        return
    if node.op != "call_function" or "val" not in node.meta:
        raise NotPiecewise(f"{node.op} {target}")
    if isinstance(target, OpOverload):
        refused = target._schema.is_mutable and not _detaches_constant(node)
    else:
        refused = isinstance(target, torch._ops.OperatorBase)
    if refused:
        raise NotPiecewise(str(target))


def _detaches_constant(node: Node) -> bool:
    """Whether a node is the second of the two that `torch.tensor` leaves in a trace: it changes no number."""
    made: Any = node.args[0] if node.target is torch.ops.aten.detach_.default else None
    return isinstance(made, Node) and made.target is torch.ops.aten.lift_fresh_copy.default


def _stays(node: Node, composite: Table, plain: Table) -> bool:
    """Whether a node stays as it is."""
    target: Any = node.target
    if node.op in ("placeholder", "output") or not isinstance(target, OpOverload):
        return True  # getitem, and functions of sizes, too
    if target in composite:
        return composite[target] is torchs._special_op_to_preserve_cia
    if target in plain:
        return False
    return _COMPOSITE not in target.py_kernels and not torch._C._dispatch_has_kernel_for_dispatch_key(
        target.name(), "CompositeImplicitAutograd"
    )


def _key(node: Node) -> Any:
    """What a node's decomposition depends on, as a key of a dict; None where it is not known."""
    leaves, spec = tree_flatten((node.args, node.kwargs))
    parts: list[Any] = [node.target, spec]
    for leaf in leaves:
        value = leaf.meta.get("val") if isinstance(leaf, Node) else leaf
        if isinstance(value, FakeTensor):
            parts.append(
                (value.dtype, value.device, str(value.shape), str(value.stride()), str(value.storage_offset()))
            )
        elif isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            parts.append((type(value), str(value)))
        elif isinstance(value, torch.Tensor):
            return None
        else:
            parts.append((isinstance(leaf, Node), type(value), value))
    key = tuple(parts)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _traced(node: Node, table: Table, sizes: _Sizes) -> GraphModule:
    """The trace of a node's operator: a graph whose placeholders stand for the nodes among its arguments, in order."""
    leaves, spec = tree_flatten((node.args, node.kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Node)]
    values = [leaves[place].meta.get("val") for place in places]
    if not all(isinstance(value, FakeTensor | torch.SymInt | torch.SymFloat | torch.SymBool) for value in values):
        raise NotPiecewise(f"an argument of {node.target}")

    def call(*values: Any) -> Any:
        filled = list(leaves)
        for place, value in zip(places, values, strict=True):
            filled[place] = value
        args, kwargs = tree_unflatten(filled, spec)
        return node.target(*args, **kwargs)  # type: ignore[operator]  # it is an operator, see `_stays`

    try:
        traced = make_fx(call, decomposition_table=table, _disable_torch_fn_metadata_mode=True)(*values)
    except Exception as error:  # an operator may raise anything; torch's own way then says it in its own words
        raise NotPiecewise(f"{node.target} raises {error}") from error
    for made in traced.graph.nodes:
        target: Any = made.target
        if made.op in ("placeholder", "output"):
            continue
        if target in _SIZES and sizes.can_tell(made.meta.get("val")):
            continue
        functions = not isinstance(target, torch._ops.OperatorBase)
        plain = isinstance(target, OpOverload) and not target._schema.is_mutable and target not in _SIZES
        if made.op != "call_function" or not (functions or plain) or "unbacked_bindings" in made.meta:
            raise NotPiecewise(f"{made.op} {target} in {node.target}")
    return traced


class _Sizes:
    """The nodes of a graph that stand for sizes, by their values as formulas in the sizes of the program's inputs.

    torch's own way reads all sizes off the inputs, so that no operator is there for its size alone.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[Any, Node] = {}
        placeholders = [node for node in graph.nodes if node.op == "placeholder"]
        self._first = placeholders[-1].next if placeholders else next(iter(graph.nodes))
        # Where each size of an input is found: the input and the axis.
        self._axes: dict[Any, tuple[Node, int]] = {}
        for node in placeholders:
            if isinstance(value := node.meta.get("val"), torch.Tensor):
                for axis, size in enumerate(value.shape):
                    if isinstance(size, torch.SymInt):
                        self._axes.setdefault(size.node.expr, (node, axis))

    def note(self, node: Node) -> None:
        """Note a node that may stand for a size. Nodes are noted in the order of the graph."""
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt):
            self._known.setdefault(value.node.expr, node)

    def of(self, value: torch.SymInt) -> Node:
        """The node that stands for a size; a new one, where the graph inserts now, if there is none."""
        formula = value.node.expr
        if formula not in self._known:
            symbols = {symbol: Proxy(self._input_size(symbol, value)) for symbol in formula.free_symbols}
            self._known[formula] = sympy_interp(PythonReferenceAnalysis, symbols, formula).node
            self._known[formula].meta["val"] = value
        return self._known[formula]

    def _input_size(self, symbol: Any, value: torch.SymInt) -> Node:
        if symbol not in self._known:
            tensor, axis = self._axes[symbol]
            with self._graph.inserting_before(self._first):
                size = self._graph.call_function(torch.ops.aten.sym_size.int, (tensor, axis))
            size.meta["val"] = tensor.meta["val"].shape[axis]
            self._known[symbol] = size
        return self._known[symbol]

    def can_tell(self, value: object) -> bool:
        """Whether `of` gives a node for a value, whatever has been noted."""
        return isinstance(value, torch.SymInt) and all(one in self._axes for one in value.node.expr.free_symbols)


def _check_result(node: Node, piece: GraphModule) -> None:
    """Raise NotPiecewise where the result of a piece cannot take the place of a node."""
    result = piece.graph.output_node().args[0]
    several = isinstance(result, Sequence) and all(user.target is operator.getitem for user in node.users)
    if not several and (not isinstance(result, Node) or isinstance(node.meta["val"], Sequence)):
        raise NotPiecewise(f"the result of {node.target}")


def _replace(program: ExportedProgram, node: Node, piece: Graph, sizes: _Sizes) -> None:
    """Put the nodes of a piece in place of a node. sizes: the nodes before it that stand for sizes."""
    graph = program.graph_module.graph
    read = [leaf for leaf in tree_flatten((node.args, node.kwargs))[0] if isinstance(leaf, Node)]
    stands_for = dict(zip((made for made in piece.nodes if made.op == "placeholder"), read, strict=True))
    meta = {key: value for key, value in node.meta.items() if key not in _VALUE}
    with graph.inserting_before(node):
        for made in piece.nodes:
            if made.op != "call_function":
                continue
            if made.target in _SIZES:
                stands_for[made] = sizes.of(made.meta["val"])
                continue
            copied = graph.node_copy(made, stands_for.__getitem__)
            copied.meta = {**meta, **{key: made.meta[key] for key in _VALUE if key in made.meta}}
            stands_for[made] = copied
            sizes.note(copied)
    result: Any = map_arg(piece.output_node().args[0], stands_for.__getitem__)
    if isinstance(result, Node):
        _use(program, node, result)
        return
    for user in list(node.users):
        place: Any = user.args[1]
        _use(program, user, result[place])


def _use(program: ExportedProgram, old: Node, new: Node) -> None:
    """Let the users of a node use another, and remove the node."""
    old.replace_all_uses_with(new)
    program.graph_signature.replace_all_uses(old.name, new.name)
    program.graph_module.graph.erase_node(old)
