"""The data of the families: small, and part of an installed package, so that nothing is downloaded.

The files in `data/` have their sources and licences in `data/README.md`; `models/make_data.py` made them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from odelet_models.family import Data

FILES = Path(__file__).resolve().parent / "data"
DIGITS_TEST_SIZE = 360
SPLIT_SEED = 0
VOWEL_LENGTH, VOWEL_MISSING = 29, 0.3
CO2_WEEKS, CO2_SEEN, CO2_TRAIN = 104, 12, 0.8
# Series of 24 readings, for which 60 are enough, of which 70% are kept.
GLUCOSE_TRAIN, GLUCOSE_SPAN, GLUCOSE_KEPT, GLUCOSE_SEEN = 0.8, 60, 0.7, 24


def stored(name: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file in `data/`, by name."""
    with np.load(FILES / f"{name}.npz") as arrays:
        return dict(arrays)


@cache
def digits() -> Data:
    """scikit-learn's handwritten digits: images (samples, 64) float32 and their classes, 1437 to train and 360 to test.

    Each row is an 8 x 8 image in reading order, with ink from 0 to 16. The division is always the same, and its classes
    are balanced.

    >>> digits().rows
    (1437, 360)

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images.astype(np.float32),
        labels.astype(np.int64),
        test_size=DIGITS_TEST_SIZE,
        stratify=labels,
        random_state=SPLIT_SEED,
    )
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return Data(train=(train_images, train_labels), test=(test_images, test_labels))


def split(*tensors: Tensor, test: float, seed: int = SPLIT_SEED) -> Data:
    """Divide rows by chance. test: the share of the rows to test with, in (0, 1). Equal seeds give equal divisions.

    >>> split(torch.arange(10), test=0.2).rows
    (8, 2)
    """
    order = torch.randperm(len(tensors[0]), generator=torch.Generator().manual_seed(seed))
    count = round(test * len(order))
    return Data(train=tuple(x[order[count:]] for x in tensors), test=tuple(x[order[:count]] for x in tensors))


@cache
def vowels() -> Data:
    """Japanese vowels: series (utterances, 29, 13) float32 and their speakers, 270 to train and 370 to test.

    A frame has its time, in frames since the first one, and 12 coefficients of the linear prediction of the sound,
    less their mean in training and divided by their deviation. Utterances have 7 to 29 frames, after which all is NaN;
    within them, 30% of the coefficients are NaN, each by chance. The division is that of the source, and what is
    missing is always the same.

    >>> vowels().rows
    (270, 370)

    Source: Kudo, Toyama and Shimbo, Pattern Recognition Letters 20 (1999), UCI repository; see data/README.md.
    """
    arrays = {name: torch.from_numpy(array.astype(np.int64)) for name, array in stored("vowels").items()}
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    trained = arrays["train_frames"].double()
    parts = []
    for part in ("train", "test"):
        utterances = arrays[f"{part}_frames"].split(arrays[f"{part}_lengths"].tolist())
        frames = nn.utils.rnn.pad_sequence(
            [((frames - trained.mean(0)) / trained.std(0)).float() for frames in utterances],
            batch_first=True,
            padding_value=torch.nan,
        )
        frames = nn.functional.pad(frames, (0, 0, 0, VOWEL_LENGTH - frames.shape[1]), value=torch.nan)
        time = torch.arange(VOWEL_LENGTH) + 0 * frames[:, :, :1].sum(2)
        frames = frames.masked_fill(torch.rand(frames.shape, generator=generator) < VOWEL_MISSING, torch.nan)
        parts.append((torch.cat([time[:, :, None], frames], 2), arrays[f"{part}_speakers"]))
    return Data(train=parts[0], test=parts[1])


@cache
def carbon_dioxide() -> Data:
    """Windows of two years of weekly CO2 at Mauna Loa, and which of their weeks are seen.

    weeks: (windows, 104) float32 in parts per million, NaN where nothing was measured. seen: (windows, 12) int64, the
    numbers of 12 weeks in order, by chance. Windows to train on, from 1958 to 1993, overlap. Windows to test are all
    later, and end in 2001. What is seen in training differs from step to step; see `latent_ode.loss`.

    >>> carbon_dioxide().rows
    (431, 45)

    Source: Keeling and Whorf (2004); see data/README.md.
    """
    weeks = torch.from_numpy(stored("co2")["ppm"].astype(np.float32))
    cut = round(CO2_TRAIN * len(weeks))
    train, test = weeks[:cut].unfold(0, CO2_WEEKS, 4), weeks[cut:].unfold(0, CO2_WEEKS, 8)
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    seen = [some_weeks(len(part), generator=generator) for part in (train, test)]
    return Data(train=(train.clone(), seen[0]), test=(test.clone(), seen[1]))


def some_weeks(rows: int, *, count: int = CO2_SEEN, generator: torch.Generator | None = None) -> Tensor:
    """The numbers of some of 104 weeks in order, others in each row: (rows, count) int64."""
    return torch.rand(rows, CO2_WEEKS, generator=generator).argsort(1)[:, :count].sort(1).values


@cache
def glucose() -> Data:
    """Readings of a glucose monitor, 30% of them dropped by chance: series of 24, and the reading half an hour later.

    gaps: (series, 25) float32, the minutes since the reading before, 0 for the first one; they are mostly 5 to 20, and
    up to 28 hours. readings: (series, 25) float32 in milligrams per decilitre; the last one lies 28 to 32 minutes after
    the one before. Series begin every hour, to test every two hours; those to test are all later.

    >>> glucose().rows
    (3419, 430)

    Source: bokeh_sampledata; see data/README.md.
    """
    arrays = stored("glucose")
    minutes, values = arrays["minutes"], arrays["mg_per_dl"].astype(np.float32)
    generator = np.random.default_rng(SPLIT_SEED)
    cut = round(GLUCOSE_TRAIN * len(minutes))
    parts = []
    for first, last, stride in ((0, cut, 12), (cut, len(minutes), 24)):
        rows = []
        for start in range(first, last - GLUCOSE_SPAN, stride):
            kept = start + np.flatnonzero(generator.random(GLUCOSE_SPAN) < GLUCOSE_KEPT)[:GLUCOSE_SEEN]
            (later,) = np.nonzero(np.abs(minutes[first:last] - minutes[kept[-1]] - 30) <= 2)
            if len(later):
                rows.append(np.append(kept, first + later[0]))
        places = np.stack(rows)
        gaps = np.diff(minutes[places], axis=1, prepend=minutes[places[:, :1]]).astype(np.float32)
        parts.append((torch.from_numpy(gaps), torch.from_numpy(values[places])))
    return Data(train=parts[0], test=parts[1])


@cache
def glucose_hours() -> Data:
    """Two hours of a glucose monitor, and the two hours after them: (windows, 24) float32 each, in mg/dL.

    Readings lie 5 minutes apart, with none missing. Windows to train on begin every half hour, windows to test every
    two hours; those to test are all later.

    >>> glucose_hours().rows
    (5770, 373)

    Source: bokeh_sampledata; see data/README.md.
    """
    arrays = stored("glucose")
    readings = torch.from_numpy(arrays["mg_per_dl"].astype(np.float32))
    minutes = torch.from_numpy(arrays["minutes"])
    cut = round(GLUCOSE_TRAIN * len(minutes))
    parts = []
    for part, stride in ((slice(cut), 6), (slice(cut, None), 24)):
        windows = readings[part].unfold(0, 48, stride)
        gaps = minutes[part].unfold(0, 48, stride).diff(dim=1)
        whole = windows[((gaps - 5).abs() <= 1).all(1)]
        parts.append((whole[:, :24].clone(), whole[:, 24:].clone()))
    return Data(train=parts[0], test=parts[1])


def standard(data: Data) -> Data:
    """The first tensors of both parts, with mean 0 and standard deviation 1 in each column of the part to train on."""
    (train, *_), (test, *_) = data.train, data.test
    mean, deviation = train.mean(0), train.std(0)
    return Data(train=((train - mean) / deviation,), test=((test - mean) / deviation,))


@cache
def moons() -> Data:
    """Points of two moons, (samples, 2) float32, with mean 0 and deviation 1: 3200 to train and 800 to test.

    >>> moons().rows
    (3200, 800)

    Source: scikit-learn, `make_moons`, with normal noise of 0.08 in its unit.
    """
    from sklearn.datasets import make_moons

    points, _ = make_moons(4000, noise=0.08, random_state=SPLIT_SEED)
    return standard(split(torch.from_numpy(points.astype(np.float32)), test=0.2))


@cache
def wine() -> Data:
    """13 measured properties of Italian wines, (samples, 13) float32, with mean 0 and deviation 1: 142 and 36 wines.

    >>> wine().rows
    (142, 36)

    Source: scikit-learn, `load_wine`: Aeberhard and Forina, Wine, UCI repository (1992).
    """
    from sklearn.datasets import load_wine

    columns, _ = load_wine(return_X_y=True)
    return standard(split(torch.from_numpy(columns.astype(np.float32)), test=0.2))


@cache
def images() -> Data:
    """Handwritten digits of 14 x 14 pixels, (samples, 1, 14, 14) float32, whole numbers from 0 to 255, and their
    classes: 4750 to train and 250 to test.

    >>> images().rows
    (4750, 250)
    """
    arrays = stored("images")
    pixels = torch.from_numpy(arrays["images"].astype(np.float32))[:, None]
    return split(pixels, torch.from_numpy(arrays["labels"].astype(np.int64)), test=0.05)
