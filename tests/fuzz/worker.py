"""The process that loads and runs mutants: it reads numbers of mutants from stdin, and writes a verdict for each.

It is a process of its own, so that a crash is the end of this process alone.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import odelet
from fuzz.mutants import OLD, Mutant, folder_of, mutant, origins
from odelet.artifact.samples import samples_of

# Seconds for one call, where the model takes a deadline.
DEADLINE = 2.0
# Bytes of address space: what asks for more gets an error, and the machine goes on.
MEMORY = 6 * 2**30


@dataclass(frozen=True)
class Expected:
    """What the artifact gave before it was changed: inputs, the status, and outputs by name.

    limit: the deadline as a setting of the call, where the artifact takes one.
    """

    inputs: dict[str, np.ndarray[Any, Any]]
    limit: dict[str, float]
    status: odelet.Status
    outputs: dict[str, np.ndarray[Any, Any]]

    @classmethod
    def of(cls, folder: Path) -> Expected:
        model = odelet.load(folder)
        inputs = samples_of(model.card, folder)[0][0]
        limit = {"deadline": DEADLINE}
        try:
            solution = model.solve(**inputs, **limit)
        except odelet.InputError:
            limit = {}
            solution = model.solve(**inputs)
        return cls(inputs, limit, solution.status, solution.outputs)

    def is_given(self, solution: odelet.Solution) -> bool:
        """Whether a solution is the expected one, bit for bit."""
        return solution.status is self.status and all(
            solution.outputs[name].tobytes() == array.tobytes() and solution.outputs[name].dtype == array.dtype
            for name, array in self.outputs.items()
        )


def main() -> None:
    """Answer each number on stdin with a line of JSON: the number, the verdict, the mutant, and what was raised."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # ONNX Runtime may write to stdout, where the verdicts go.
    verdicts, sys.stdout = sys.stdout, sys.stderr
    names = {name.removesuffix(OLD) for name in origins()}
    expected = {name: Expected.of(folder_of(name)) for name in sorted(names)}
    if len(sys.argv) > 2:
        exec(sys.argv[2], {})  # what a test has this process do in place of loading
    print("ready", file=verdicts, flush=True)
    for line in sys.stdin:
        number = int(line)
        one = mutant(int(sys.argv[1]), number)
        verdict, detail = judged(one, expected[one.origin.removesuffix(OLD)], thorough=number % 4 == 0)
        answer = {"number": number, "verdict": verdict, "mutant": str(one), "detail": detail}
        print(json.dumps(answer), file=verdicts, flush=True)


def judged(one: Mutant, expected: Expected, *, thorough: bool) -> tuple[str, str]:
    """Load a mutant and run it. Returns the verdict, and what was raised.

    The verdicts are "refused", "same", "another model", and the bad ones "other answer" and "foreign exception".
    thorough: whether to verify it, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = one.write(Path(folder))
        try:
            model = odelet.load(path)
            repr(model), model.card.summary(), model.card.to_json()
            solution = model.solve(**expected.inputs, **expected.limit)
            same = solution.outputs.keys() == expected.outputs.keys() and expected.is_given(solution)
            # `verify` takes no deadline, and would run as long as the model does.
            if thorough and not one.lone and solution.status is not odelet.Status.DEADLINE:
                odelet.verify(path)
        except odelet.OdeletError as error:
            return "refused", f"{type(error).__name__}: {str(error)[:300]}"
        except Exception:
            return "foreign exception", traceback.format_exc()[-1500:]
    if same:
        return "same", ""
    return ("another model" if one.may_differ else "other answer"), ""


if __name__ == "__main__":
    main()
