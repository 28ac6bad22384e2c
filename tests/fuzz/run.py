"""Runs mutants in worker processes and counts the verdicts; a crash and a hang are seen here."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.mutants import mutant

ROOT = Path(__file__).resolve().parents[2]
BAD = ("crash", "hang", "foreign exception", "other answer")
# Seconds from the number of a mutant to its verdict: a load, a call that ends at its deadline, and sometimes `verify`.
PATIENCE = 20.0


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant. detail: what was raised, or how the process ended."""

    number: int
    verdict: str
    mutant: str
    detail: str

    @property
    def bad(self) -> bool:
        return self.verdict in BAD


@dataclass
class Worker:
    """A process that runs mutants of a seed; it is started again after a crash or a hang."""

    seed: int
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def judge(self, number: int) -> Verdict:
        """Have a mutant run, and return its verdict."""
        process = self._process or self._started()
        assert process.stdin is not None
        line = ""
        try:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            line = self._line(PATIENCE)
        except BrokenPipeError:
            pass
        if line:
            return Verdict(**json.loads(line))
        hangs = process.poll() is None
        self.close()
        what = str(mutant(self.seed, number))
        if hangs:
            return Verdict(number, "hang", what, f"no verdict in {PATIENCE:g} s")
        code = process.returncode
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Verdict(number, "crash", what, f"{name}: {self._errors()}")

    def _started(self) -> subprocess.Popen[str]:
        folders = [ROOT / name for name in ("tests", "runtime")]
        path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", str(self.seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        if self._line(120) != "ready\n":
            self.close()
            raise RuntimeError(f"the worker did not start: {self._errors()}")
        return process

    def _line(self, seconds: float) -> str:
        """Return the next line of the process, or "" where none comes in time or it has ended."""
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return self._process.stdout.readline() if ready else ""

    def _errors(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read()[-600:]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            try:
                # A process that has just crashed may take a moment to end.
                self._process.wait(0.2 if self._process.stdin is None else 0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process.communicate()
            self._process = None


def run(seed: int, numbers: Iterable[int], *, workers: int = 2) -> Iterator[Verdict]:
    """Yield the verdict of each mutant of a seed, in no order. workers: how many processes run them."""
    numbers = list(numbers)

    def judged(first: int) -> list[Verdict]:
        worker = Worker(seed)
        try:
            return [worker.judge(number) for number in numbers[first::workers]]
        finally:
            worker.close()

    with ThreadPoolExecutor(workers) as pool:
        for verdicts in pool.map(judged, range(workers)):
            yield from verdicts


def summary(verdicts: Iterable[Verdict]) -> str:
    """The number of each verdict, and a paragraph for each bad one."""
    verdicts = list(verdicts)
    counts = Counter(verdict.verdict for verdict in verdicts)
    lines = [f"{len(verdicts)} mutants: " + ", ".join(f"{count} {name}" for name, count in counts.most_common())]
    for verdict in sorted((verdict for verdict in verdicts if verdict.bad), key=lambda verdict: verdict.number):
        lines += [f"\n{verdict.verdict}, number {verdict.number}: {verdict.mutant}", verdict.detail.rstrip()]
    return "\n".join(lines)
