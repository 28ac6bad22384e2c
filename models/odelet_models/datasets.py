"""The data of the families: small, and part of an installed package, so that nothing is downloaded.

The files in `data/` have their sources and licences in `data/README.md`; `models/make_data.py` made them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from odelet_models.family import Data

FILES = Path(__file__).resolve().parent / "data"
DIGITS_TEST_SIZE = 360
SPLIT_SEED = 0


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
