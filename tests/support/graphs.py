"""The graphs of an artifact as protos, and the operators in them."""

import onnx

CONTROL_FLOW = {"Loop", "If", "Scan"}


def operators(graph):
    """The operators of a graph and of the graphs inside it."""
    found = []
    for node in graph.node:
        found.append(node.op_type)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += operators(attribute.g)
    return found


def written(case, folder):
    """The files of a case's graphs, as protos by name."""
    case.load(folder)
    return {path.name: onnx.load(path) for path in sorted(folder.glob("*.onnx"))}
