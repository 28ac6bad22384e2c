# make demo    export a trained model in four forms and run it without torch (the default)
# make test    check formatting, lint and types, and run every test: what CI runs
# make quick   like `make test`, without the tests that take more than five seconds
# make check   check formatting, lint and types only
# make docs    write the made parts of docs/methods.md, docs/sde.md and docs/architecture.md again, from the code
# make bench   measure speed and weight, compare with other solvers, and write docs/performance.md again
# make plots   measure work against precision again, and draw docs/work-precision.png
# make tuned   tune two models again, and write their tables in docs/tune.md
# make venv    create .venv with the pinned versions; the other targets do this when it is needed
# make clean   remove .venv and everything that tools and tests left behind
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tests run in two processes of one thread each: with more threads, torch and onnxruntime compete for the cores.
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
	$(BIN)/mypy --python-version 3.10 -p odelet

docs: $(STAMP)
	$(BIN)/python docs/methods.py
	$(BIN)/python docs/sde.py
	$(BIN)/python docs/targets.py
	$(BIN)/python docs/architecture.py

plots: $(STAMP)
	$(BIN)/python benchmarks/work_precision.py

# Each claim is measured in a process of its own, so that no claim is affected by what another one loaded.
bench: $(VENV)/.bench
	for claim in speed rewrites shared_work stored_weights stochastic native embedded outputs scaling weight exporting threads zoo; do $(BIN)/python benchmarks/$$claim.py || exit 1; done
	$(BIN)/python benchmarks/report.py

# The extra `bench` installs the solvers that odelet is compared with.
$(VENV)/.bench: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[bench]"
	@touch $@

tuned: $(STAMP)
	$(BIN)/python benchmarks/tune.py

venv: $(STAMP)

# The first installation takes a few minutes, most of them for the download of torch.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'odelet needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
