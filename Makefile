# make demo    export a trained model and run it without torch
# make test    lint, types and every test
# make quick   the same without the slow tests
# make check   lint and types only
# make docs    write the table of methods again, from the rosters
# make bench   measure speed and weight beside other solvers, and write docs/performance.md again
# make plots   measure work against precision again, and draw it
# make tuned   tune two models again, for docs/tune.md
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Two test processes with one thread each: torch and onnxruntime otherwise fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: demo test quick check docs plots bench tuned venv clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: check
	$(PYTEST)

quick: check
	$(PYTEST) -m "not slow"

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python docs/methods.py

plots: $(STAMP)
	$(BIN)/python benchmarks/work_precision.py

# One process a claim, so that none sees what another loaded.
bench: $(VENV)/.bench
	for claim in speed outputs scaling weight exporting threads; do $(BIN)/python benchmarks/$$claim.py || exit 1; done
	$(BIN)/python benchmarks/report.py

# Other solvers to compare with.
$(VENV)/.bench: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[bench]"
	@touch $@

tuned: $(STAMP)
	$(BIN)/python benchmarks/tune.py

venv: $(STAMP)

# Torch alone takes a few minutes to download on a first run.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'odelet needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
