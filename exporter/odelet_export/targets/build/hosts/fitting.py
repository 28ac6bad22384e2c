"""Changes how the graphs of an artifact meet their host, to what a profile says.

The law here: no number inside a graph changes; what a profile does not have inside is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from odelet.artifact.card import Card
from odelet.artifact.program_steps import DriveStep
from odelet.artifact.solve_card import SolveCard
from odelet_export.errors import FormError
from odelet_export.graphs.narrow import narrow
from odelet_export.lowering.profiles import GENERAL, Profile
from odelet_export.targets.build.built import BuildError
from odelet_export.targets.build.hosts.batch import batch_first
from odelet_intercept.user_code import place_in_trace, short

Defaults = dict[str, np.ndarray[Any, Any]]
_TRACE = "pkg.torch.onnx.stack_trace"


@dataclass(frozen=True)
class Fitted:
    """The graphs of an artifact, as their host takes them. graphs: by file name. card: what holds of them. defaults:
    the values of settings as exported, by the name of their input; none where settings are fixed."""

    graphs: Mapping[str, ir.Model]
    card: Card
    defaults: Defaults


def fitted(card: Card, folder: Path, profile: Profile) -> Fitted:
    """The graphs of an artifact with the settings and the types of a profile. folder: that of the artifact.

    Raises BuildError for a solve that runs in Python, for a Loop where the profile has none, and for types that the
    profile does not have: these are inside the graphs, and an export decides them.
    """
    _check_program(card, profile)
    card = replace(card, fallback=None)  # its solves run in Python
    names = {name for solve in card.solves for name in solve.settings.values() if name is not None}
    graphs, defaults = {}, Defaults()
    for file in dict.fromkeys(card.graph_files):
        model = _read(folder, file)
        if not profile.doubles:
            narrow(model, names)
        _check_nodes(file, model, profile)
        defaults |= _settings(model, names, profile)
        graphs[file] = model
    if profile.settings == "fixed":
        card = replace(card, solves=tuple(replace(solve, settings=_between(solve)) for solve in card.solves))
        defaults = {}
    return Fitted(graphs, card, defaults)


def _between(solve: SolveCard) -> dict[str, str | None]:
    """The settings of a solve that no graph takes."""
    return {key: name for key, name in solve.settings.items() if name is None}


def _check_program(card: Card, profile: Profile) -> None:
    for step in card.program:
        if isinstance(step, DriveStep):
            solve = card.solves[step.drive]
            raise BuildError(
                f"the solve at {solve.source or 'an unknown line'} has the form {solve.form}, which runs in Python "
                "alone; export the model again without form, or as adaptive or loop_free"
            )
    for tensor in (*card.inputs, *card.outputs):
        kind = "input" if tensor in card.inputs else "output"
        if tensor.dtype not in profile.types:
            raise BuildError(
                f"the {kind} {tensor.name!r} is {tensor.dtype}, and the profile {profile.name}, for {profile.about}, "
                f"has no {tensor.dtype}; export the model in float32, as by model.float() and inputs of float32"
            )


def _read(folder: Path, file: str) -> ir.Model:
    """The graph of a file, with the type of each value; its large weights stay in their file."""
    proto = onnx.load(str(folder / file), load_external_data=False)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    ir.external_data.set_base_dir(model.graph, folder)
    return model


def _check_nodes(file: str, model: ir.Model, profile: Profile) -> None:
    for node in model.graph.all_nodes():
        if node.op_type in ("Loop", "Scan") and not profile.loops:
            raise _refusal(file, node, "is a loop inside a graph", profile, f"with --profile {profile.name}")
        for value in (*node.inputs, *node.outputs):
            name = value.dtype.numpy().name if value is not None and value.dtype is not None else ""
            if name and name not in profile.types:
                does = "makes" if value in node.outputs else "reads"
                raise _refusal(file, node, f"{does} {name}", profile, _way(name, profile))


def _way(dtype: str, profile: Profile) -> str:
    own = "with numbers of float32 in the model, as x.float() gives them"
    return (
        f"with --profile {profile.name}, which keeps the times of solves in float32, and {own}"
        if dtype == "float64"
        else own
    )


def _refusal(file: str, node: ir.Node, what: str, profile: Profile, way: str) -> BuildError:
    line = short(place_in_trace(node.metadata_props.get(_TRACE)))
    named = f", from {line}" if line else ""
    more = "" if line else "; --keep-debug-info makes this message name the line of the model"
    return BuildError(
        f"{file}: {node.op_type} {node.name or node.outputs[0].name!r}{named} {what}, which the profile "
        f"{profile.name}, for {profile.about}, does not have; export the model again {way}{more}"
    )


def _settings(model: ir.Model, names: set[str], profile: Profile) -> Defaults:
    """Make settings inputs with defaults, inputs without, or none. Returns the defaults of those of this graph."""
    graph, defaults = model.graph, Defaults()
    for value in [value for value in graph.inputs if value.name in names]:
        assert value.const_value is not None and value.name is not None
        defaults[value.name] = value.const_value.numpy()
        if profile.settings == "required":
            del graph.initializers[value.name]
            value.const_value = None
        elif profile.settings == "fixed":
            graph.inputs.remove(value)
    return defaults


def lone(fits: Fitted, target: str) -> tuple[str, ir.Model]:
    """The file name and the model of an artifact that is one graph. Raises BuildError for one of several graphs."""
    if len(fits.graphs) != 1:
        raise BuildError(
            f"the artifact has the graphs {', '.join(fits.graphs)}, and the target {target} takes one graph; export "
            "the model again without form=loop_free and without --profile c"
        )
    ((file, model),) = fits.graphs.items()
    return file, model


def check_fits(card: Card, folder: Path, profile: Profile) -> None:
    """Raise FormError for an artifact that no build for the profile could take, by the build's own checks."""
    if profile is GENERAL:
        return
    batch = batch_first(card) if profile.batch_first else ""
    if isinstance(batch, str) and batch:
        raise FormError(f"the profile {profile.name} has the samples of a batch first in every input, and {batch}")
    try:
        fitted(card, folder, profile)
    except BuildError as error:
        raise FormError(str(error)) from None
