# Two commands do everything: `make paper` and `make test`. Both set up the environment they need.
PYTHON ?= python3
VENV ?= .venv
CORES ?= 2
KILLS ?= 100
SEED ?= 1
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(abspath $(BIN)):$(PATH)
export PYTHONNOUSERSITE := 1

.PHONY: paper test test-fast chaos setup lint full clean help
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; call: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP)  ## Environment only

paper: setup  ## Environment, the default experiments, tables, figures, report
	snakemake --cores $(CORES) --rerun-incomplete
	snakemake --cores $(CORES) --report results/report.html > /dev/null
	@echo "report: results/report.html   tables: results/tables/   figures: results/figures/"

full: setup  ## The large forms of both experiments: every weight, all ablations, several trainings (hours on two cores)
	snakemake --cores $(CORES) --rerun-incomplete results/tables/toy2d_full.csv results/fashion_full/manifests/paper.json

test: setup  ## Environment, then lint and every test
	$(MAKE) --no-print-directory lint
	python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder --durations 20 --durations-min 10 --junitxml .state/tests.xml

test-fast: setup  ## Tests that take seconds
	python -m pytest -m "not slow"

chaos: setup  ## Kill jobs, Snakemake and DVC a hundred times, at random moments: the same tables come out (half an hour)
	python tests/chaos --kills $(KILLS) --seed $(SEED)

lint: setup  ## Formatters, linters, types
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

clean:  ## Remove caches; results stay
	rm -rf .state .inductor .pytest_cache .mypy_cache .ruff_cache
