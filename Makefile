# latentlab's commands. `make help` lists them; all need Python ≥ 3.11, make and git, no more.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true

.DEFAULT_GOAL := help
.PHONY: help setup repro test check format ui bench mnist lock clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## create .venv and install everything, pinned by hash

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "latentlab needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) -V 2>&1): make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# dvc refuses to work outside of git (an unpacked archive) unless told so
	@git rev-parse --git-dir >/dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
	@touch $@

repro: $(READY) ## run the pipeline on what changed, print the results
	dvc repro
	@latentlab results

test: $(READY) ## run the tests
	python -m pytest

check: $(READY) ## lint, format and types
	ruff check .
	ruff format --check .
	mypy

format: $(READY) ## let ruff mend what it can
	ruff check --fix .
	ruff format .

ui: $(READY) ## MLflow on http://127.0.0.1:5000
	python -m latentlab.tracking ui

bench: $(READY) ## speed against a bare PyTorch loop, in one run
	python bench/speed.py

mnist: $(READY) ## the README's table: the same pipeline on MNIST, in a folder of its own
	python bench/mnist.py

lock: ## resolve requirements.lock anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	  --custom-compile-command 'make lock' --group dev pyproject.toml -o requirements.lock

clean: ## remove what the pipeline made; keep data, cache and .venv
	rm -rf runs results reports data/prepared data/reference .checkpoints
