"""The functions of odelet_math.h against those of libm in double, over the range of float."""

import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from odelet_export.targets.build.c.kernels import written
from odelet_export.targets.build.operators import Operator, Port

PAGE = Path(__file__).parents[3] / "docs" / "embedded.md"
HEADER = files("odelet_export.targets.build.c") / "odelet_math.h"
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

# A function of float, what it is in double, and the largest error in units in the last place.
FUNCTIONS = {
    "expf": ("exp(x)", 3),
    "tanhf": ("tanh(x)", 3),
    "sigmoidf": ("1 / (1 + exp(-x))", 3),
    "softplusf": ("isnan(x) ? x : (x > 0 ? x : 0) + log1p(exp(-fabs(x)))", 3),
}
# With this macro, tanh is a faster function, which is less exact. Its limit is the bound of an error analysis, below.
FAST = {"tanhf": ("tanh(x)", 16)}
# With this variable in the environment, the test takes all numbers of float, in some minutes, in place of some.
STEP = 1 if os.environ.get("ODELET_EVERY_FLOAT") else 7919
RELAXED = ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"]

PROGRAM = """
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "odelet_math.h"
#define MANY 4096
static float xs[MANY], ys[MANY];
/* The error in units in the last place of float; numbers below the normal ones have the unit of the smallest. */
static double units(double got, double expected) {
    int power;
    double unit;
    if (isnan(expected)) return isnan(got) ? 0 : INFINITY;
    if (isinf((float)expected) || isinf(got)) return (float)expected == got ? 0 : INFINITY;
    frexp(fabs(expected), &power);
    unit = ldexp(1, power - 24);
    return fabs(got - expected) / (unit < ldexp(1, -149) ? ldexp(1, -149) : unit);
}
int main(void) {
    double worst, x;
    uint64_t bits;
    int i;
%s
    return 0;
}
"""
LOOP = """
    for (worst = 0, bits = 0; bits < 4294967296;) {
        for (i = 0; i < MANY; i++, bits += STEP) { uint32_t b = (uint32_t)bits; memcpy(xs + i, &b, 4); }
        xs[0] = NAN; xs[1] = INFINITY; xs[2] = -INFINITY; xs[3] = 0; xs[4] = 1e-45f; xs[5] = 3.4e38f; xs[6] = -3.4e38f;
        xs[7] = 88.72283f; xs[8] = -103.97f; xs[9] = -87.34f;
        for (i = 0; i < MANY; i++) ys[i] = odelet_%s(xs[i]);
        for (i = 0; i < MANY; i++) { x = xs[i]; x = units(ys[i], %s); worst = x > worst ? x : worst; }
    }
    printf("%s %%.3f\\n", worst);
"""


@pytest.mark.parametrize("functions, macro", [(FUNCTIONS, []), (FAST, ["-DODELET_FAST_TANH"])], ids=["exact", "fast"])
@pytest.mark.parametrize("flags", [[], RELAXED], ids=["strict", "relaxed"])
def test_errors_are_a_few_units_in_the_last_place(functions, macro, flags, tmp_path):
    loops = "".join(LOOP % (name, expected, name) for name, (expected, _) in functions.items())
    (tmp_path / "test.c").write_text(PROGRAM % loops)
    (tmp_path / "odelet_math.h").write_text(HEADER.read_text())
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror"]
    words = ["gcc", *strict, "-O3", f"-DSTEP={STEP}", *flags, *macro, "test.c", "-o", "test", "-lm"]
    subprocess.run(words, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "test"], capture_output=True, text=True, check=True).stdout
    errors = dict(line.split() for line in said.splitlines())
    assert {name: float(error) <= functions[name][1] for name, error in errors.items()} == dict.fromkeys(
        functions, True
    )


def test_the_errors_of_the_rational_tanh_cannot_add_up_to_more_than_the_header_says():
    """The bound of a running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, section 5.1)."""
    body = HEADER.read_text().partition("#ifdef ODELET_FAST_TANH")[2].partition("#else")[0]
    x = np.linspace(1e-4, float(re.search(r"a > ([\d.]+)f", body)[1]), 200_001)
    z, unit = x * x, 2.0**-24
    values, errors = {}, {}
    for name in "pq":
        first, *rest = (
            float(np.float32(c))
            for c in re.findall(rf"{name} = (?:p \* z |q \* z )?(.*?)f;", body.replace("+ ", "").replace("- ", "-"))
        )
        value, error = np.full_like(z, first), np.zeros_like(z)
        for coefficient in rest:
            product = value * z
            # The roundings of z, of the product and of the sum.
            error = error * z + 2 * np.abs(product)
            value = product + coefficient
            error += np.abs(value)
        values[name], errors[name] = value, error / np.abs(value)
    # And those of the quotient and of the last product.
    rounding = (errors["p"] + errors["q"] + 2) * unit * np.tanh(x)
    fit = np.abs(x * values["p"] / values["q"] - np.tanh(x))
    last_place = 2.0 ** (np.floor(np.log2(np.tanh(x))) - 23)
    (stated,) = re.findall(r"cannot add up to more than (\d+) units", " ".join(HEADER.read_text().split()))
    assert ((rounding + fit) / last_place).max() <= int(stated)
    assert (fit / last_place).max() < 2


def test_the_larger_and_the_smaller_of_two_numbers_pass_nan_on(tmp_path):
    text = """
#include <math.h>
#include <stdint.h>
#include "odelet_math.h"
#define CHECK(f, g, of) \\
    if (f(1, 2) != of(2, 1) || g(1, 2) != of(1, 2)) return 1; \\
    if (f(2, 1) != of(2, 1) || g(2, 1) != of(1, 2)) return 2; \\
    if (!isnan(f(1, NAN)) || !isnan(f(NAN, 1)) || !isnan(g(1, NAN)) || !isnan(g(NAN, 1))) return 3;
#define FIRST(a, b) (a)
int main(void) {
    CHECK(odelet_fmax, odelet_fmin, FIRST)
    CHECK(odelet_fmaxf, odelet_fminf, FIRST)
    return 0;
}
"""
    (tmp_path / "test.c").write_text(text)
    (tmp_path / "odelet_math.h").write_text(HEADER.read_text())
    subprocess.run(["gcc", "-std=c99", "-O3", *RELAXED, "test.c", "-o", "test", "-lm"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "test"], check=False).returncode == 0


def test_the_header_and_the_page_say_the_errors_that_are_tested():
    header, page = (" ".join(file.read_text().split()) for file in (HEADER, PAGE))
    exact, fast = {limit for _, limit in FUNCTIONS.values()}, {limit for _, limit in FAST.values()}
    assert set(map(int, re.findall(r"[Ww]ithin (\d) units in the last place over", header))) == exact
    assert set(map(int, re.findall(r"rational function, within (\d+) units in the last place", header))) == fast
    assert set(map(int, re.findall(r"within (\d) units in the last place,", page))) == exact
    assert set(map(int, re.findall(r"within (\d+) units in the last place in the target", page))) == fast


@pytest.mark.parametrize("kind", ["Exp", "Tanh", "Sigmoid", "Softplus"])
def test_operators_of_float_call_the_functions_of_the_header(kind):
    port = Port(np.dtype(np.float32), (16,))
    operator = Operator.of(helper.make_node(kind, ["x"], ["y"]), [port], {}, {"": 20})
    helpers = written({operator: [port]}).helpers
    body = re.search(rf"ref_scalar_f32_{kind.lower()}\(float a\) {{\n(.*?)\n}}", helpers, re.S)
    assert body is not None and body[1].strip() == f"return odelet_{kind.lower()}f(a);"
