"""The files beside the source: samples, the program that checks them, a Makefile, and licences."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from typing import Any

import numpy as np

from odelet.artifact.card import Tensor
from odelet.artifact.samples import Sample
from odelet_export.targets.build.c.header import identifier, macro
from odelet_export.targets.build.c.kernels import VERSION
from odelet_export.targets.build.c.numbers import array, ctype

FLAGS = "-std=c99 -O3 -fassociative-math -fno-signed-zeros -fno-trapping-math"
# A test of more numbers takes longer to compile than to run.
_MOST_NUMBERS = 2**20


def fitting(samples: list[Sample]) -> list[Sample]:
    """The first samples, as many as make a test of a size that compilers take; at least one."""
    kept: list[Sample] = []
    numbers = 0
    for sample in samples:
        numbers += sum(x.size for x in (*sample[0].values(), *sample[1].values()))
        if kept and numbers > _MOST_NUMBERS:
            break
        kept.append(sample)
    return kept


def samples_text(samples: list[Sample], inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str:
    """The text of `samples.h`: inputs, torch's outputs, and the largest error that passes for each."""
    parts = ["/* Calls of the model, torch's answers, and the largest error that passes. */", "#include <math.h>"]
    parts += ["#include <stdbool.h>", "#include <stdint.h>", "", f"#define SAMPLES {len(samples)}"]
    for tensor in inputs:
        parts.append(array(f"sample_in_{identifier(tensor.name)}", _joined([x[0][tensor.name] for x in samples])))
    for tensor in outputs:
        own = identifier(tensor.name)
        parts.append(array(f"sample_out_{own}", _joined([x[1][tensor.name] for x in samples])))
        parts.append(array(f"sample_allowed_{own}", np.array([x[2][tensor.name] for x in samples])))
    return "\n".join(parts)


def _joined(arrays: list[Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([np.asarray(x).reshape(-1) for x in arrays])


def test_text(name: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> str:
    """The text of `test_NAME.c`."""
    upper = name.upper()
    given = [f"sample_in_{identifier(t.name)} + i * ODELET_{upper}_IN_{macro(t.name)}" for t in inputs]
    taken = [f"out_{identifier(t.name)}" for t in outputs]
    call = ", ".join([*given, "settings", *taken, "arena.bytes", "&stats"])
    declared = "\n".join(
        f"static {ctype(np.dtype(t.dtype))} out_{identifier(t.name)}[ODELET_{upper}_OUT_{macro(t.name)} + 1];"
        for t in outputs
    )
    checks = "\n".join(
        f"        for (j = 0; j < ODELET_{upper}_OUT_{macro(t.name)}; j++)\n"
        f"            wrong += check(out_{identifier(t.name)}[j],\n"
        f"                sample_out_{identifier(t.name)}[i * ODELET_{upper}_OUT_{macro(t.name)} + j],\n"
        f"                sample_allowed_{identifier(t.name)}[i]);"
        for t in outputs
    )
    return f"""\
/* Checks odelet_{name}.c on the samples of its artifact. With a number as argument it also measures so many calls. */
#include "odelet_{name}.h"
#include "samples.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static union {{
    double aligned;
    unsigned char bytes[ODELET_{upper}_ARENA];
}} arena;
{declared}
static double worst, largest;

static int check(double got, double expected, double allowed) {{
    double error = got == expected || (got != got && expected != expected) ? 0 : fabs(got - expected);
    if (error > worst) worst = error;
    if (error > largest * allowed) largest = allowed > 0 ? error / allowed : INFINITY;
    return !(error <= allowed);
}}

int main(int count, char **words) {{
    const odelet_settings *settings = NULL;
    odelet_stats stats = {{0, 0, 0, 0, 0}};
    long i, j, wrong = 0, status = 0, calls = count > 1 ? atol(words[1]) : 0;
    for (i = 0; i < SAMPLES; i++) {{
        status = odelet_{name}_solve({call});
        printf("sample %ld: status %ld, steps %ld, accepted %ld, time %.9g\\n", i, status, (long)stats.steps,
            (long)stats.accepted, stats.time);
{checks}
    }}
    printf("%d samples, largest error %.3g, at most %.3g of what is allowed, %ld numbers wrong\\n", SAMPLES, worst,
        largest, wrong);
    if (calls > 0) {{
        clock_t start = clock();
        for (i = 0, j = 0; j < calls; j++) odelet_{name}_solve({call});
        printf("microseconds per call: %.3f\\n", (double)(clock() - start) * 1e6 / CLOCKS_PER_SEC / (double)calls);
    }}
    return wrong != 0;
}}
"""


def makefile_text(name: str) -> str:
    """The text of the Makefile."""
    return f"""\
# make         compile the object
# make test    compile and run the check on the artifact's samples
CC ?= cc
CFLAGS ?= {FLAGS}

odelet_{name}.o: odelet_{name}.c odelet_{name}.h
\t$(CC) $(CFLAGS) -c odelet_{name}.c -o $@

test_{name}: test_{name}.c samples.h odelet_{name}.o
\t$(CC) $(CFLAGS) test_{name}.c odelet_{name}.o -o $@ -lm

.PHONY: test clean
test: test_{name}
\t$(RUN) ./test_{name}

clean:
\trm -f odelet_{name}.o test_{name}
"""


def license_text(name: str) -> str:
    """The text of LICENSE.txt: the notices of what odelet and the generator of kernels put into the files."""
    return f"""\
odelet_{name}.c, odelet_{name}.h, test_{name}.c, samples.h and Makefile were written by odelet from a model of yours.
The model, its weights and its samples are yours. The following parts come from others:

- odelet, Copyright the odelet authors, licensed under the Apache License, Version 2.0: all text that is not of the
  model, such as the functions of odelet_math.h.
- emx-onnx-cgen {VERSION}, Copyright emmtrix Technologies GmbH, licensed under the Apache License, Version 2.0: the
  functions of operators (k0_..., k1_... and so on) and their helpers (ref_scalar_...), changed by odelet: names, calls
  of libm, and qualifiers of parameters.

The licence of both follows.

{_apache()}"""


def _apache() -> str:
    try:
        found = [path for path in files("emx-onnx-cgen") or [] if path.name == "LICENSE"]
    except PackageNotFoundError:
        found = []
    text = found[0].read_text(encoding="utf-8") if found else "https://www.apache.org/licenses/LICENSE-2.0\n"
    return text
