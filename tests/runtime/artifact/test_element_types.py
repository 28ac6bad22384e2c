"""What is said of the types that operators make agrees with ONNX's definitions, of all versions."""

import pytest
from onnx import TensorProto, defs

from odelet.artifact.element_types import FLOATS, LIKE, MADE, STATED, UNTOLD
from odelet.artifact.operators import OPERATORS

# Their outputs are those of their subgraphs, or they have an attribute for the tensor itself.
ELSEWHERE = {"Constant", "If", "Loop", "Scan"}
DEFINITIONS = [
    schema
    for schema in defs.get_all_schemas_with_history()
    if schema.domain == "" and schema.name in OPERATORS - ELSEWHERE - UNTOLD
]


def kinds(schema, type_str):
    """The numbers of the types that a parameter of a definition may be."""
    named = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    names = {"float": "FLOAT", "double": "DOUBLE"}
    texts = [text for text in named.get(type_str, [type_str]) if text.startswith("tensor(")]
    texts = [text.removeprefix("tensor(").removesuffix(")") for text in texts]
    return {TensorProto.DataType.Value(names.get(text, text.upper())) for text in texts}


@pytest.mark.parametrize("schema", DEFINITIONS, ids=lambda schema: f"{schema.name}-{schema.since_version}")
def test_each_output_has_the_type_that_is_said(schema):
    for number, output in enumerate(schema.outputs):
        made = kinds(schema, output.type_str)
        if (schema.name, number) in MADE:
            said = MADE[schema.name, number]
            assert made == {said} or (said in FLOATS and made <= FLOATS)
        elif schema.name in STATED:
            name, otherwise = STATED[schema.name]
            assert schema.since_version < 6 or name.decode() in schema.attributes
            assert otherwise is None or otherwise == 0 or otherwise in made
        else:
            like = schema.inputs[LIKE.get(schema.name, 0)]
            # Where the two may differ, all that either may be is a float.
            assert like.type_str == output.type_str or (made | kinds(schema, like.type_str)) <= FLOATS


def test_every_operator_is_defined():
    assert {schema.name for schema in DEFINITIONS} == OPERATORS - ELSEWHERE - UNTOLD
    assert MADE.keys() <= {(s.name, k) for s in DEFINITIONS for k in range(len(s.outputs))}
    assert LIKE.keys() | STATED.keys() | UNTOLD <= OPERATORS
