"""The neural CDE and its twin: padding and missing values; and the vowels."""

import pytest
import torch

from odelet_models import neural_cde
from odelet_models.datasets import vowels

MEMBERS = list(neural_cde.FAMILY.members)


def test_the_vowels_have_lengths_and_missing_values_as_described():
    data = vowels()
    lengths = [(~part[0][:, :, 0].isnan()).sum(1) for part in (data.train, data.test)]
    assert int(min(x.min() for x in lengths)) == 7
    assert int(max(x.max() for x in lengths)) == 29
    for (series, speakers), length in zip((data.train, data.test), lengths, strict=True):
        there = torch.arange(29) < length[:, None]
        assert torch.equal(series[:, :, 0][there], torch.arange(29.0).expand(len(series), -1)[there])
        assert series[~there].isnan().all()
        assert float(series[there][:, 1:].isnan().float().mean()) == pytest.approx(0.3, abs=0.01)
        assert set(speakers.tolist()) == set(range(9))


@pytest.mark.parametrize("member", MEMBERS)
def test_a_class_does_not_depend_on_padding_or_on_the_other_series(member):
    network = neural_cde.FAMILY.trained(member)
    series = vowels().test[0]
    lengths = (~series[:, :, 0].isnan()).sum(1)
    some = series[lengths <= 15][:4]
    with torch.no_grad():
        logits = network(some[:, :15])
        torch.testing.assert_close(network(some), logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network(some[1:2]), logits[1:2], rtol=1e-4, atol=1e-4)


def test_a_channel_that_misses_values_is_bridged():
    network = neural_cde.FAMILY.trained("neural_cde")
    series = torch.arange(9.0)[None, :, None].repeat(
        1, 1, 13
    )  # Straight lines, of which no missing value hides a thing.
    holes = series.clone()
    holes[0, 3:6, 2] = holes[0, 5:7, 8] = torch.nan
    with torch.no_grad():
        torch.testing.assert_close(network(holes), network(series), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("member", MEMBERS)
def test_more_of_an_utterance_helps(member):
    call = neural_cde.FAMILY.trained(member)
    series, speakers = (tensor[::6] for tensor in vowels().test)
    early, late = (neural_cde.accuracy(call, series[:, :length], speakers) for length in (3, 29))
    assert late > early + 0.05
