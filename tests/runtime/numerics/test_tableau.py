"""Every tableau has the right sizes, fulfils order conditions over rooted trees, and has the numbers of torchdiffeq."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from support.problems import torch_solve
from support.rosters import ADAPTIVE, FIXED, MIDDLE_ORDERS
from torchdiffeq._impl.odeint import SOLVERS

from odelet.numerics.tableau import BOSH3, DOPRI5, HEUN3, TABLEAUS, TSIT5, Tableau

every = pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=TABLEAUS)
adaptive = pytest.mark.parametrize("tableau", [TABLEAUS[name] for name in ADAPTIVE], ids=ADAPTIVE)
# Coefficients given in decimals carry about this much of rounding into sums of products.
ROUNDING = 5e-14


# A rooted tree is the sorted tuple of the trees at its root. Hairer, Norsett & Wanner, Solving ODEs I, sec. II.2.


@cache
def trees(order):
    """All rooted trees with `order` vertices."""
    return sorted(forests(order - 1, order - 1))


@cache
def forests(vertices, largest):
    """All multisets of trees that have `vertices` vertices together, each tree at most `largest`."""
    if vertices == 0:
        return {()}
    return {
        tuple(sorted((tree, *rest)))
        for size in range(min(vertices, largest), 0, -1)
        for tree in trees(size)
        for rest in forests(vertices - size, size)
    }


def size(tree):
    return 1 + sum(map(size, tree))


def density(tree):
    return size(tree) * math.prod(map(density, tree))


def stage_weights(tree, a):
    """The elementary weight of a tree at each stage: a product over its branches of sums with the rows of `a`."""
    weights = np.ones(len(a))
    for branch in tree:
        weights = weights * (a @ stage_weights(branch, a))
    return weights


def defects(weights, tableau, order, *, at=1.0):
    """The errors of `weights` in the order conditions of this order, for the solution at fraction `at` of a step."""
    a = np.zeros((tableau.stages, tableau.stages))
    for i, row in enumerate(tableau.a):
        a[i, : len(row)] = row
    sums = [np.dot(weights, stage_weights(tree, a)) for tree in trees(order)]
    return [abs(total - at**order / density(tree)) for total, tree in zip(sums, trees(order), strict=True)]


def test_the_numbers_of_rooted_trees_are_those_of_the_book():
    assert [len(trees(order)) for order in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]


@every
def test_rows_sum_to_the_nodes(tableau):
    assert [sum(row) for row in tableau.a] == pytest.approx(tableau.c, rel=0, abs=2e-15)


@every
def test_the_weights_have_exactly_the_declared_order(tableau):
    propagated = tableau.propagated or tableau.order
    for order in range(1, propagated + 1):
        assert max(defects(tableau.b, tableau, order)) < ROUNDING
    assert max(defects(tableau.b, tableau, propagated + 1)) > 1e-6


@adaptive
def test_the_embedded_solution_has_one_order_less(tableau):
    # In a tableau that propagates the weights of lower order, b itself has the lower order.
    low = tableau.b if tableau.propagated else np.subtract(tableau.b, tableau.b_err)
    for order in range(1, tableau.order):
        assert max(defects(low, tableau, order)) < ROUNDING
    assert max(defects(low, tableau, tableau.order)) > 1e-5


@adaptive
def test_the_error_weights_sum_to_zero(tableau):
    assert abs(math.fsum(tableau.b_err)) < 1e-15


@adaptive
def test_the_middle_weights_give_the_solution_at_half_the_step(tableau):
    assert math.fsum(tableau.mid) == pytest.approx(1 / 2, rel=0, abs=ROUNDING)
    for order in range(1, MIDDLE_ORDERS.get(tableau.name, 1) + 1):
        assert max(defects(tableau.mid, tableau, order, at=0.5)) < ROUNDING


def test_exactly_four_methods_reuse_their_last_stage():
    reusing = {name for name, tableau in TABLEAUS.items() if tableau.reuses_last_stage}
    assert reusing == {"bosh3", "dopri5", "dopri8", "tsit5"}


@every
def test_stages_and_adaptive_follow_from_the_coefficients(tableau):
    assert tableau.stages == len(tableau.c) == len(tableau.a) == len(tableau.b)
    assert tableau.adaptive == (tableau.b_err is not None) == (tableau.mid is not None)


@pytest.mark.parametrize("name", [name for name in ADAPTIVE if name in SOLVERS])
def test_adaptive_tableaus_equal_those_of_torchdiffeq_bit_for_bit(name):
    tableau, theirs = TABLEAUS[name], SOLVERS[name]
    assert tableau.order == theirs.order
    assert theirs.tableau.alpha.tolist() == list(tableau.c[1:])
    assert [row.tolist() for row in theirs.tableau.beta] == [list(row) for row in tableau.a[1:]]
    assert theirs.tableau.c_sol.tolist() == list(tableau.b)
    assert theirs.tableau.c_error.tolist() == list(tableau.b_err)
    assert theirs.mid.tolist() == list(tableau.mid)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_step_tableaus_are_those_of_a_step_of_torchdiffeq(name):
    """With slopes that are the unit vectors, the stages of one step from zero are the rows of the tableau."""
    tableau = TABLEAUS[name]
    times, states = [], []

    def field(t, y):
        times.append(float(t))
        states.append(y.tolist())
        return torch.eye(tableau.stages, dtype=torch.float64)[len(states) - 1]

    solution = torch_solve(field, np.zeros(tableau.stages), [0.0, 1.0], method=name)
    assert tableau.order == SOLVERS[name].order
    assert times == pytest.approx(tableau.c, rel=0, abs=1e-15)
    for row, state in zip(tableau.a, states, strict=True):
        assert state == pytest.approx([*row, *[0] * (tableau.stages - len(row))], rel=0, abs=1e-15)
    assert solution.outputs[0][-1] == pytest.approx(tableau.b, rel=0, abs=1e-15)


@pytest.mark.parametrize("name", [name for name in TABLEAUS if name not in SOLVERS])
def test_torchdiffeq_lacks_only_both_tableaus_of_tsit5(name):
    assert name in ("tsit5", "tsit5_torchdiffeq")


def test_tsit5_propagates_order_5_and_its_twin_the_weights_of_torchdiffeq():
    assert TSIT5.a[-1] == TSIT5.b[:-1]
    assert max(defects(TSIT5.b, TSIT5, 5)) < ROUNDING
    twin = TABLEAUS["tsit5_torchdiffeq"]
    # The first and last weights in torchdiffeq's tsit5.py (GitHub, 657943a).
    assert (twin.b[0], twin.b[-1]) == pytest.approx((0.09468075576583945, 1 / 66), rel=1e-14)


WRONG = {
    "too few rows": (HEUN3, {"a": ((), (1 / 3,))}, r"'heun3': row i of a must have i entries, for 3 stages"),
    "a long row": (HEUN3, {"a": ((), (1 / 3,), (0, 2 / 3, 0))}, "row i of a must have i entries"),
    "a short b": (HEUN3, {"b": (1 / 4, 3 / 4)}, "b, b_err and mid must have 3 entries"),
    "a long b_err": (BOSH3, {"b_err": (0, 0, 0, 0, 0)}, "b, b_err and mid must have 4 entries"),
    "a short mid": (BOSH3, {"mid": (1 / 2,)}, "b, b_err and mid must have 4 entries"),
    "b_err alone": (HEUN3, {"b_err": (1, 0, -1)}, "b_err and mid go together"),
    "mid alone": (HEUN3, {"mid": (1 / 2, 0, 0)}, "b_err and mid go together"),
    "a wrong node": (HEUN3, {"c": (0, 1 / 3, 1 / 2)}, r"row \(0, 0\.66.*\) sums to 0\.66.*, its node is 0\.5"),
    "a wrong b": (HEUN3, {"b": (1 / 4, 0, 1 / 2)}, r"b sums to 0\.75, not 1"),
    "a first row": (HEUN3, {"a": ((0,), (1 / 3,), (0, 2 / 3))}, "row i of a must have i entries"),
}


@pytest.mark.parametrize(("tableau", "changes", "message"), WRONG.values(), ids=WRONG)
def test_a_tableau_that_does_not_fit_together_is_refused(tableau, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(tableau, **changes)


def test_a_tableau_cannot_be_changed():
    with pytest.raises(AttributeError):
        DOPRI5.order = 4


@every
def test_a_tableau_has_plain_numbers_and_a_source(tableau):
    numbers = [
        *tableau.c,
        *(x for row in tableau.a for x in row),
        *tableau.b,
        *(tableau.b_err or ()),
        *(tableau.mid or ()),
    ]
    assert {type(number) for number in numbers} <= {int, float}
    assert tableau.source
    assert TABLEAUS[tableau.name] is tableau
    assert isinstance(tableau, Tableau)
