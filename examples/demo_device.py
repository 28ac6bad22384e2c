"""The device's half of the demo: run the artifacts with numpy and onnxruntime, where torch cannot be imported.

demo.py starts it as `python demo_device.py FOLDER FORM...`. It reads the artifact of each form and digits.npz in that
folder, and writes device.json and device.npz there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

ABSENT = ("torch", "torchdiffeq", "onnx", "onnxscript")
ROUNDS = 15


class Absence:
    """An import hook that hides some packages, whether they are installed or not."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r} on this device", name=name)


def prove_absent():
    """Try to import the packages that the device does not have, and stop the program if one can be imported."""
    sys.meta_path.insert(0, Absence())
    for name in ABSENT:
        try:
            __import__(name)
        except ModuleNotFoundError:
            continue
        raise SystemExit(f"{name} can be imported, so this would prove nothing")
    print(f"on the device: {', '.join(ABSENT)} cannot be imported")


def measure(models, images):
    """Median milliseconds of a call, by model, for one image and for all. The models take turns."""
    batches = {"one": images[:1], "all": images}
    seconds = {(name, size): [] for name in models for size in batches}
    for number in range(ROUNDS + 2):
        for name, model in models.items():
            for size, batch in batches.items():
                start = perf_counter()
                model(batch)
                if number >= 2:  # The first two calls only warm up.
                    seconds[name, size].append(perf_counter() - start)
    return {name: {size: 1e3 * median(seconds[name, size]) for size in batches} for name in models}


def main(folder, forms):
    prove_absent()
    # These imports stand here because nothing may be imported before the packages are hidden.
    import numpy as np

    import odelet

    images = np.load(folder / "digits.npz")["images"]
    models = {form: odelet.load(folder / form, threads=1) for form in forms}
    logits, evaluations = {}, {}
    for form, model in models.items():
        solution = model.solve(images).raise_if_failed()
        logits[form] = solution.outputs["output"]
        evaluations[form] = solution.stats.evaluations
    results = {"evaluations": evaluations, "milliseconds": measure(models, images)}
    (folder / "device.json").write_text(json.dumps(results))
    np.savez(folder / "device.npz", **logits)
    assert not set(ABSENT) & set(sys.modules)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
