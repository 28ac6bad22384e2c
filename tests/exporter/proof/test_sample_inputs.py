"""Fresh samples look like the example, and axes with one label have one size."""

from itertools import islice

import pytest
import torch

from odelet.artifact.formulas import Formula
from odelet_export.proof.sample_inputs import Drawing
from odelet_export.proof.sample_masks import draw_mask
from odelet_export.proof.sample_sizes import sample_sizes


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(example, dynamic, sizes, *, times=(), frozen=(), seed=0, gently=False):
    """Fresh inputs by name. example: tensors by name."""
    drawing = Drawing(list(example), list(example.values()), dynamic, times, frozen)
    return dict(zip(example, drawing.at(sizes, numbers(seed), gently=gently), strict=True))


@pytest.mark.parametrize("traced", [{"b": 7}, {"b": 3, "n": 4}, {"b": 2, "n": 5, "k": 11}])
def test_each_label_takes_the_size_one_and_the_traced_size_within_four_samples(traced):
    sizes = sample_sizes(traced)
    for _ in range(3):
        four = [next(sizes) for _ in range(4)]
        for label, size in traced.items():
            assert {1, size} <= {one[label] for one in four}
            assert len({one[label] for one in four}) == 4


def test_two_labels_meet_in_all_pairs_of_sizes():
    sizes = sample_sizes({"b": 3, "n": 5})
    pairs = {(one["b"], one["n"]) for one in (next(sizes) for _ in range(16))}
    assert len(pairs) == 16


@pytest.mark.parametrize(
    ("traced", "conditions"),
    [
        ({"b": 8}, ["b % 4 == 0"]),
        ({"b": 5}, ["b >= 3", "b <= 7"]),
        ({"b": 48}, ["b % 16 == 0"]),
        ({"b": 3, "n": 6}, ["n % 2 == 0", "n >= b + 2"]),
        ({"h": 8, "w": 16}, ["h % 8 == 0", "w == 2*h"]),
    ],
)
def test_sizes_meet_the_conditions_of_the_model_and_still_differ(traced, conditions):
    formulas = [Formula(text) for text in conditions]
    four_twice = list(islice(sample_sizes(traced, formulas), 8))
    assert all(formula.value(sizes) for formula in formulas for sizes in four_twice)
    assert all(len({sizes[label] for sizes in four_twice}) >= 3 for label in traced)


def test_conditions_that_no_sizes_meet_leave_the_sizes_as_they_are():
    usual = list(islice(sample_sizes({"b": 5}), 4))
    assert list(islice(sample_sizes({"b": 5}, [Formula("b < 0")]), 4)) == usual


def test_a_number_of_steps_is_no_index_along_another_axis():
    example = {"x": torch.randn(3, 2), "n": torch.tensor(12)}
    fresh = drawn(example, {"x": {0: "b"}, "n": {0: "n"}}, {"b": 2, "n": 9})
    assert fresh["n"].item() == 9


@pytest.mark.parametrize("size", [1, 2, 9])
def test_inputs_that_share_an_axis_get_one_size_times_among_them(size):
    example = {"x": torch.randn(3, 6, 2), "t": torch.linspace(0, 1, 6), "mask": torch.ones(3, 6, dtype=torch.bool)}
    dynamic = {"x": {0: "b", 1: "n"}, "t": {0: "n"}, "mask": {0: "b", 1: "n"}}
    fresh = drawn(example, dynamic, {"b": 4, "n": size}, times=["t"])
    assert fresh["x"].shape == (4, size, 2)
    assert fresh["mask"].shape == (4, size)
    assert fresh["t"].shape == (size,)
    assert bool((fresh["t"].diff() > 0).all())


def test_rows_of_data_stay_in_the_span_and_range_of_the_examples_rows():
    """Two rows of another scale in each feature: what is drawn is a multiple of a mixture of them, up to 2%."""
    rows = torch.tensor([[1.0, 100.0, 0.01], [2.0, 300.0, 0.05]])
    for seed in range(20):
        fresh = drawn({"x": rows}, {"x": {0: "b"}}, {"b": 9}, seed=seed)["x"]
        assert float(fresh.min()) + 1e-6 >= 0.01
        assert float(fresh.max()) <= 300
        ratios = fresh[:, 1] / fresh[:, 0]
        assert bool((ratios > 95).all())
        assert bool((ratios < 158).all())


def test_inputs_of_one_row_keep_their_rows_together():
    """A row of `x` goes with the row of `lengths` that it had in the example."""
    example = {"x": torch.tensor([[1.0], [10.0], [100.0]]), "lengths": torch.tensor([[1], [10], [100]])}
    dynamic = {"x": {0: "b"}, "lengths": {0: "b"}}
    fresh = drawn(example, dynamic, {"b": 9}, gently=True)
    kept = [int(n) for x, n in zip(fresh["x"], fresh["lengths"], strict=True) if round(float(x) / int(n)) == 1]
    assert len(kept) >= 4  # half of the whole numbers are drawn anew


def test_a_single_example_changes_in_value_and_a_series_stays_smooth():
    t = torch.linspace(0, 6, 50)
    series = torch.stack([t.sin(), t], dim=-1)[None]
    fresh = drawn({"x": series}, {"x": {0: "b"}}, {"b": 3})["x"]
    assert fresh.shape == (3, 50, 2)
    assert float((fresh - series).abs().max()) > 0.1
    assert float(fresh.diff(dim=1).abs().max()) <= 1.5 * float(series.diff(dim=1).abs().max())
    assert bool((fresh[:, :, 1].diff(dim=1) >= 0).all())


def test_times_in_each_row_stay_strictly_in_order():
    times = torch.rand(4, 12).sort(dim=1).values
    for seed in range(10):
        fresh = drawn({"t": times}, {"t": {0: "b"}}, {"b": 6}, times=["t"], seed=seed)["t"]
        assert bool((fresh.diff(dim=1) > 0).all())


def test_gaps_in_data_stay_gaps_and_infinities_stay():
    x = torch.tensor([[1.0, float("nan"), 3.0], [4.0, 5.0, float("-inf")]])
    fresh = drawn({"x": x}, {"x": {0: "b"}}, {"b": 9})["x"]
    assert bool(fresh.isnan().any())
    assert bool(fresh.isfinite().any(dim=1).all())
    assert not bool(fresh[:, 0].isnan().any())


def test_constant_inputs_change_and_zeros_do_too():
    fresh = drawn({"one": torch.ones(2, 3), "zero": torch.zeros(2, 3), "s": torch.tensor(0.5)}, {}, {})
    assert bool((fresh["one"] > 0).all())
    assert all(float((fresh[name] - value).abs().max()) > 0.01 for name, value in (("one", 1), ("zero", 0), ("s", 0.5)))


def test_a_frozen_input_stays():
    x = torch.randn(3, 2)
    assert torch.equal(drawn({"x": x}, {}, {}, frozen=["x"])["x"], x)


def test_indices_and_lengths_follow_the_axis_that_they_count():
    example = {"x": torch.randn(6, 3), "edges": torch.tensor([[0, 5, 2], [1, 3, 4]]), "lengths": torch.tensor([6, 2])}
    for size in (1, 2, 9):
        fresh = drawn(example, {"x": {0: "n"}}, {"n": size}, seed=size)
        assert int(fresh["edges"].max()) < size
        assert int(fresh["edges"].min()) >= 0
        assert 1 <= int(fresh["lengths"].max()) <= size


def test_sorted_whole_numbers_stay_sorted():
    graph = torch.tensor([0, 0, 1, 1, 1, 2, 3])
    fresh = drawn({"graph": graph}, {"graph": {0: "n"}}, {"n": 9})["graph"]
    assert fresh.tolist() == sorted(fresh.tolist())


def test_one_hot_rows_and_masks_of_floats_hold_zeros_and_ones():
    fresh = drawn({"m": torch.eye(3)}, {"m": {0: "b"}}, {"b": 9})["m"]
    assert set(fresh.unique().tolist()) <= {0.0, 1.0}
    assert bool((fresh.sum(dim=1) > 0).all())


@pytest.mark.parametrize(
    "source",
    [
        torch.ones(4, 6, dtype=torch.bool),
        torch.zeros(4, 6, dtype=torch.bool),
        torch.ones(5, 5, dtype=torch.bool).tril(),
        torch.tensor([[True], [False], [True]]),
        torch.tensor([[[True, False], [False, True]]]),
    ],
    ids=["all", "none", "causal", "one", "mixed"],
)
def test_a_row_of_a_mask_keeps_an_element_of_each_kind_that_it_had(source):
    changed = False
    for seed in range(40):
        fresh = draw_mask(source, numbers(seed))
        changed |= not torch.equal(fresh, source)
        assert bool((fresh.any(dim=-1) >= source.any(dim=-1)).all())
        assert bool(((~fresh).any(dim=-1) >= (~source).any(dim=-1)).all())
    assert changed or source.shape[-1] == 1


def test_complex_inputs_are_drawn():
    z = torch.randn(3, 2, dtype=torch.complex64)
    fresh = drawn({"z": z}, {"z": {0: "b"}}, {"b": 4})["z"]
    assert (fresh.shape, fresh.dtype) == ((4, 2), torch.complex64)
