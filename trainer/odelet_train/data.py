"""The data that the models are trained on: small, and part of an installed package, so that nothing is downloaded."""

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
    """Images and labels, divided once into a part to train on and a part to measure the final accuracy on.

    train_images: (train, features) float32. train_labels: (train,) int64, the class number of each image.
    test_images, test_labels: the same for the test part. Raises ValueError where images and labels do not fit.
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
        """The sha256 of all four arrays, in hex: splits are equal if their digests are."""
        state = sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            state.update(f"{array.dtype.str}{array.shape}".encode())
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


def digits() -> Split:
    """Load scikit-learn's handwritten digits: 1437 images to train on and 360 to test, with balanced classes.

    Images are (samples, 64) float32; each row is an 8 x 8 image in reading order, with ink from 0 to 16. Labels are
    0 to 9. The split is always the same.

    >>> digits().train_images.shape, digits().test_images.shape
    ((1437, 64), (360, 64))

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
