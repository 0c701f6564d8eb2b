# latentlab's commands. `make help` lists them; all need Python ≥ 3.11, make and git, no more.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KILLS ?= 100
CASES ?= 20000
FLOOR_TESTS := tests/test_config.py tests/test_configs.py tests/test_losses.py tests/test_plots.py \
  tests/test_trained.py tests/test_training.py tests/data tests/metrics tests/models tests/tracking
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE # else every process compiles all that it imports: seconds each
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true

.DEFAULT_GOAL := help
.PHONY: help setup repro zoo test check format ui bench mnist fuzz floors lock clean soak

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

zoo: $(READY) ## every model and task of zoo.yaml: lists them in params.yaml, then as repro
	python -m latentlab.zoo
	dvc repro
	@latentlab results

test: $(READY) ## run the tests, on up to four cores
	python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: $(READY) ## lint, format and types
	ruff check .
	ruff format --check .
	mypy

format: $(READY) ## let ruff mend what it can
	ruff check --fix .
	ruff format .

ui: $(READY) ## MLflow on http://127.0.0.1:5000
	python -m latentlab.tracking ui

bench: $(READY) ## speed against bare PyTorch: the training loop, and whole processes
	python bench/speed.py
	python bench/process.py

soak: $(READY) ## kill trainings 100 times (KILLS=n); none may lose or change a result
	python tests/soak.py --kills $(KILLS)

mnist: $(READY) ## the README's table: the same pipeline on MNIST, in a folder of its own
	python bench/mnist.py

fuzz: $(READY) ## hostile input, 20,000 cases a reader (CASES=n), 1,000 a test of the configuration
	LATENTLAB_FUZZ=$(CASES) python -m pytest tests/fuzz

floors: $(READY) ## a part of the tests under the lowest versions that pyproject.toml allows
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --group dev pyproject.toml \
	  -o .floors.txt
	rm -rf .floors && $(BIN)/uv venv --quiet --python $(BIN)/python .floors
	$(BIN)/uv pip install --quiet --python .floors/bin/python -r .floors.txt
	OMP_NUM_THREADS=1 PYTHONPATH=src .floors/bin/python -m pytest -m "not browser" $(FLOOR_TESTS)

lock: ## resolve requirements.lock anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	  --custom-compile-command 'make lock' --group dev pyproject.toml -o requirements.lock

clean: ## remove what the pipeline made; keep data, cache and .venv
	rm -rf runs results reports data/prepared data/reference .checkpoints .floors .floors.txt
