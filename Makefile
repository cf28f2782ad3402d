# Everything is installed into .venv and run from there.  PYTHON=... names another interpreter to make it from.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# One thread for each of as many processes as there are cores: more of them would only wait for each other.
CORES := $(shell getconf _NPROCESSORS_ONLN)
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
	$(BIN)/python -m pytest --numprocesses $(CORES) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo readme test quick lint mutate bench wheel clean

help: ## Say what there is to make.
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

setup: $(INSTALLED) ## Install Plait and all extras into .venv.

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it with: make setup PYTHON=..." >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup ## Fetch the data set stamps, fit, evaluate and search, in a new folder below runs/.
	@$(BIN)/python docs/demo.py

readme: setup ## The same, and put the output and the figures into README.md.
	@$(BIN)/python docs/demo.py --readme README.md

test: setup ## All tests.
	@$(PYTEST)

quick: setup ## The tests that take less than ten seconds each.
	@$(PYTEST) -m 'not slow'

lint: setup ## ruff and mypy.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

mutate: setup ## Break each component on purpose and list the changes that its tests do not notice; takes hours.
	@OMP_NUM_THREADS=1 $(BIN)/python tests/mutate.py

bench: setup ## What Plait costs and what it is worth, as benchmarks/README.md says; the last one takes hours.
	@for name in startup missing loop million protocol; do echo "$$name"; $(BIN)/python benchmarks/$$name.py || exit; done
	@$(BIN)/plait fetch stamps && $(BIN)/python benchmarks/stamps.py

wheel: setup ## Build the wheel, into dist/.
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove what was built, but not runs/.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
