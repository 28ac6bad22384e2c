"""Conditions on sizes: what follows from others is left out, and the rest is said shortly."""

import pytest
import sympy
from torch.utils._sympy.functions import CeilToInt, FloorDiv, IntTrueDiv, ToFloat, TruncToInt

from odelet.artifact.formulas import Formula
from odelet_export.capture.sizes.conditions import SizeCondition, text_of
from odelet_export.capture.sizes.shortest import fewest, follows, in_words, is_readable

PLACE = ("model.py", 7)
s0, s1 = sympy.symbols("s0 s1", integer=True, positive=True)


def conditions(*formulas, by_user=False):
    return [SizeCondition(PLACE, formula, by_user) for formula in formulas]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["batch // 2 <= batch"], []),
        (["3*batch % 6 == 0", "batch // 2 == batch - batch // 2", "batch % (batch // 2) == 0"], ["batch % 2 == 0"]),
        (["batch % 2 == 0", "batch % 4 == 0"], ["batch % 4 == 0"]),
        (["batch % 2 == 0", "batch % 3 == 0"], ["batch % 2 == 0", "batch % 3 == 0"]),
        (["batch > 3", "7 < batch"], ["batch >= 8"]),
        (["batch < 200", "batch < 400"], ["batch <= 199"]),
        (["batch != 1"], []),
        (["batch == obs + 1", "obs + 1 == batch", "2*obs >= obs"], ["batch == obs + 1"]),
        (["batch % 2 == 0", "obs % 2 == 0"], ["batch % 2 == 0", "obs % 2 == 0"]),
        (["a + b == c", "a + b == c"], ["a + b == c"]),
        (["12*batch*(h // 2)*(w // 2) == 3*batch*h*w"], ["h % 2 == 0", "w % 2 == 0"]),
        (["(batch*(w + -w % 4)) // (batch*4) * 4 >= w", "max(1, w)*max(1, w) == w*w"], []),
        (["(-w) % 4 != 0"], ["w % 4 != 0"]),
        (["w // 4 == (w + 3) // 4", "w >= 8"], ["w % 4 == 0", "w >= 8"]),
        (["isqrt(w)*isqrt(w) == w"], ["isqrt(w)*isqrt(w) == w"]),
        (["(h // 2)*batch == (w // 2)*batch"], ["h // 2 == w // 2"]),
    ],
)
def test_conditions_are_as_few_and_short_as_they_can_be_said(given, kept):
    assert [one.text for one in fewest(conditions(*given))] == kept


def test_the_decisions_of_a_model_count_for_a_size_of_1_too():
    assert [one.text for one in fewest(conditions("batch > 1", by_user=True))] == ["batch >= 2"]
    assert [one.text for one in fewest(conditions("batch != 1", by_user=True))] == ["batch != 1"]
    assert fewest(conditions("batch > 1")) == []


def test_a_condition_on_many_sizes_follows_only_from_itself():
    many, other = conditions("a + b == c", "a + b <= c")
    assert follows(many, [many, other])
    assert not follows(many, [other])


@pytest.mark.parametrize(
    ("condition", "formula", "true_at", "false_at"),
    [
        (sympy.Eq(FloorDiv(s0, 2) * 2, s0), None, 6, 7),
        (sympy.And(s0 > 3, s0 < 9), None, 5, 9),
        (sympy.Not(sympy.Or(sympy.Eq(s0, 4), s0 > 8)), None, 5, 4),
        (sympy.Eq(TruncToInt(IntTrueDiv(s0, 2)), 3), None, 7, 8),
        (sympy.Eq(CeilToInt(IntTrueDiv(s0, 2)), 4), None, 7, 9),
        (sympy.Eq(TruncToInt(ToFloat(s0) * 0.25), 2), None, 11, 12),
        (sympy.Max(s0, 4) > 4, None, 5, 4),
    ],
)
def test_conditions_of_a_tracer_become_formulas(condition, formula, true_at, false_at):
    formula = Formula(text_of(condition, {s0: "batch"}))
    assert formula.names == {"batch"}
    assert formula.value({"batch": true_at})
    assert not formula.value({"batch": false_at})


def test_a_condition_that_python_would_round_is_said_by_what_it_comes_to():
    rounded = SizeCondition(PLACE, text_of(sympy.Eq(TruncToInt(ToFloat(s0) * 0.1), 2), {s0: "batch"}), by_user=True)
    assert rounded.formula is None
    assert [one.text for one in fewest([rounded])] == ["20 <= batch <= 29"]


def test_a_condition_that_no_formula_says_is_told_by_sizes():
    hidden = SizeCondition(PLACE, "round(batch * 0.37) % 3 != 0", by_user=False)
    (left,) = fewest([hidden])
    assert not is_readable(left)
    assert in_words(left) == (
        "a condition that holds for batch = 2, 3, 4, 5, 6, 10 and not for batch = 7, 8, 9, 15, 16, 17"
    )
