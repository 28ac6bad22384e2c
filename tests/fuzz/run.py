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
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

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
        """Whether this must not happen."""
        return self.verdict in BAD

    def __str__(self) -> str:
        return f"{self.verdict}, number {self.number}: {self.mutant}\n{self.detail.rstrip()}"


@dataclass
class Worker:
    """A process that runs mutants of a seed; it is started again after a crash or a hang.

    prelude: code that the process runs first, for tests of this class.
    """

    seed: int
    prelude: str = ""
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def judge(self, number: int) -> Verdict:
        """Have a mutant run, and return its verdict."""
        process = self._process or self._started()
        assert process.stdin is not None
        line: str | None = ""
        try:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            line = self._line(PATIENCE)
        except BrokenPipeError:
            pass
        if line:
            return Verdict(**json.loads(line))
        what = str(mutant(self.seed, number))
        if line is None:
            self.close()
            return Verdict(number, "hang", what, f"no verdict in {PATIENCE:g} s")
        code = process.wait()
        errors = self._errors()
        self.close()
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Verdict(number, "crash", what, f"{name}: {errors}")

    def _started(self) -> subprocess.Popen[str]:
        folders = [ROOT / name for name in ("tests", "runtime")]
        path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", str(self.seed), *filter(None, [self.prelude])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        if self._line(120) != "ready\n":
            errors = self._errors()
            self.close()
            raise RuntimeError(f"the worker did not start: {errors}")
        return process

    def _line(self, seconds: float) -> str | None:
        """Return the next line of the process, "" where it has ended, or None where no line comes in time."""
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return self._process.stdout.readline() if ready else None

    def _errors(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read()[-600:]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
            self._stderr.close()


def run(seed: int, numbers: Iterable[int], *, workers: int = 2) -> Iterator[Verdict]:
    """Yield the verdict of each mutant of a seed, as they come. workers: how many processes run them."""
    waiting: Queue[int] = Queue()
    verdicts: Queue[Verdict | BaseException] = Queue()
    count = 0
    for number in numbers:
        waiting.put(number)
        count += 1

    def work() -> None:
        worker = Worker(seed)
        try:
            while True:
                verdicts.put(worker.judge(waiting.get_nowait()))
        except Empty:
            pass
        except BaseException as error:  # for the caller, who waits for a verdict
            verdicts.put(error)
        finally:
            worker.close()

    threads = [Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        verdict = verdicts.get()
        if isinstance(verdict, BaseException):
            raise verdict
        yield verdict
    for thread in threads:
        thread.join()


def summary(verdicts: Iterable[Verdict]) -> str:
    """The number of mutants with each verdict, on one line."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    return f"{counts.total()} mutants: " + ", ".join(f"{count} {name}" for name, count in counts.most_common())
