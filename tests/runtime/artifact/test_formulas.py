"""Formulas of sizes in a card: read, checked, and never run as Python."""

from dataclasses import replace

import numpy as np
import pytest
from support.artifacts import affine_card, write_affine

import odelet
from odelet import ArtifactError
from odelet.artifact.formulas import Formula
from odelet.artifact.input_cards import AssumptionCard
from odelet.errors import AssumptionError

SIZES = {"batch": 6, "obs": 4}
EVEN = AssumptionCard(output="", source="m.py:3", text="x.chunk(2)", value="", inputs=("x",), sizes="batch % 2 == 0")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("batch % 4", 2),
        ("batch + -1*obs", 2),
        ("min(batch, obs, 9) + max(obs, 5)", 9),
        ("isqrt(batch) + isqrt(obs)*isqrt(obs) == obs", False),
        ("isqrt(batch - 2*obs)", None),
        ("batch % 2 == 0", True),
        ("2 <= obs < batch", True),
        ("(batch > 7) or (not (obs != 4))", True),
        ("batch >= 1 and obs >= 5", False),
        ("batch // (obs - 4) == 1", None),
        ("rows == 1", None),
    ],
)
def test_formulas_give_numbers_and_answers(text, value):
    assert Formula(text).value(SIZES) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "f(batch)",
            "min(batch)",
            "isqrt(batch, obs)",
            "min(*batch)",
            "max(batch, key=obs)",
            "batch.real",
            "batch[0]",
            "'a' == 'b'",
            "1.5",
        ),
        *("batch ** 2", "batch << 9", "batch / 2", "-batch", "True", "batch if 1 else 2", "lambda: 1", "", "(" * 150),
        *("batch in obs", "batch is obs", "(batch := 2)", "9" * 201),
    ],
)
def test_nothing_else_is_a_formula(text):
    with pytest.raises(ValueError, match=r"formula|characters"):
        Formula(text)


def test_a_call_checks_the_condition_on_sizes(tmp_path):
    model = odelet.load(write_affine(tmp_path, replace(affine_card(), assumptions=(EVEN,))))
    assert "m.py:3: 'x.chunk(2)' takes batch % 2 == 0, from x" in model.card.summary()
    assert model(np.zeros((4, 3), np.float32)).shape[0] == 4
    with pytest.raises(AssumptionError, match="inputs with batch % 2 == 0 alone") as refused:
        model(np.zeros((5, 3), np.float32))
    assert refused.value.assumption == EVEN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": "batch ** 2"}, r"an assumption at m.py:3: 'batch \*\* 2' is no formula of sizes"),
        ({"sizes": "rows == 2"}, r"assumptions\[0\] is about sizes that no input has: rows"),
        ({"output": "holds"}, "on sizes names the output 'holds'"),
    ],
)
def test_a_condition_that_makes_no_sense(changes, message):
    with pytest.raises(ArtifactError, match=message):
        replace(affine_card(), assumptions=(replace(EVEN, **changes),))
