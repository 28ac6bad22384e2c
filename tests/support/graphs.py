"""The graphs of an artifact as ONNX protos, and the operators in them."""

import onnx

CONTROL_FLOW = {"Loop", "If", "Scan"}


def operators(graph):
    """The operators of a graph and of the graphs inside its loops and branches, in order."""
    names = []
    for node in graph.node:
        names.append(node.op_type)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names += operators(attribute.g)
    return names


def written(case, folder):
    """Lower a case into a folder. Returns its graphs as protos, by file name."""
    case.load(folder)
    return {path.name: onnx.load(path) for path in sorted(folder.glob("*.onnx"))}
