"""The data the models are trained on: small, and part of an installed package, never downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

TEST_SIZE = 360
SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """Images and labels, divided once into a part to train on and a part for the final figure.

    train_images: (train, features) float32; train_labels: (train,) int64, a class number each;
    test_images, test_labels: the same for the test part.
    """

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.ndim != 2 or labels.shape != images.shape[:1] or len(images) == 0:
                raise ValueError(
                    f"{part}_images has shape {images.shape} and {part}_labels {labels.shape}; "
                    "pass at least one image, as (samples, features), and one label for each"
                )

    def digest(self) -> str:
        """Return the sha256 of all four arrays, in hex: equal digests are equal splits."""
        state = sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            state.update(f"{array.dtype.str}{array.shape}".encode())
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


def digits() -> Split:
    """Load scikit-learn's handwritten digits: 1437 to train on, 360 to test, classes balanced.

    Images are (samples, 64) float32, an 8 x 8 image in reading order with ink from 0 to 16; labels
    are 0 to 9. The split is always the same.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI repository (1998).
    """
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images.astype(np.float32),
        labels.astype(np.int64),
        test_size=TEST_SIZE,
        stratify=labels,
        random_state=SPLIT_SEED,
    )
    return Split(train_images, train_labels, test_images, test_labels)
