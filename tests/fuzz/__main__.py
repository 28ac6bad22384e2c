"""The command line: `python -m tests.fuzz --count 100000 --seed 1`, in the root of the repository."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.run import run, summary  # the folder of the tests has to be there first


def main() -> int:
    """Run the mutants, print what became of them, and return 1 if one was bad."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many mutants to make and run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--only", type=int, help="number of the one mutant to run")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    numbers = [options.only] if options.only is not None else range(options.first, options.first + options.count)
    start = time.perf_counter()
    verdicts = []
    for verdict in run(options.seed, numbers, workers=min(options.workers, len(numbers))):
        verdicts.append(verdict)
        if verdict.bad or options.only is not None:
            print(f"{verdict}\n", flush=True)
        elif len(verdicts) % 1000 == 0:
            print(summary(verdicts), flush=True)
    print(f"{summary(verdicts)}; seed {options.seed}, {time.perf_counter() - start:.0f} s")
    return int(any(verdict.bad for verdict in verdicts))


if __name__ == "__main__":
    raise SystemExit(main())
