# Commands of the repository. `make help` lists them. They need Python ≥ 3.11, make and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KILLS ?= 100
MODEL ?= vae
CASES ?= 20000
FLOOR_TESTS := tests/test_configs.py tests/config tests/data tests/inference tests/losses \
  tests/metrics tests/models tests/tracking tests/training tests/visualization
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE # else each process compiles all modules again, which takes seconds
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
# DVC needs the name of the user; a container may have none
export LOGNAME ?= $(or $(USER),$(shell id -u))

.DEFAULT_GOAL := help
.PHONY: help setup repro zoo test check format ui bench ais results evidence metrics-elsewhere crossings findings fuzz floors lock clean soak docs
.PHONY: edits mutants test-slow

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

setup: $(READY) ## create .venv and install everything, pinned by hash

$(READY): requirements.lock pyproject.toml install.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "latentlab needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) -V 2>&1): make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python install.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# without git (in an unpacked archive), DVC needs this setting
	@git rev-parse --git-dir >/dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
	@touch $@

repro: $(READY) ## run the stages that changed, as many at a time as there are cores; print the results
	latentlab repro
	@latentlab results

zoo: $(READY) ## run every model and task of configs/: writes them into params.yaml, then repro
	latentlab select all
	latentlab repro
	@latentlab results

test: $(READY) ## run the tests, on up to four cores
	python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  -m "not docs and not crossings and not slow"

test-slow: $(READY) ## run the tests that take minutes: killed trainings, new models, full MNIST
	python -m pytest -n auto --maxprocesses 4 --dist loadfile -m slow

check: $(READY) ## lint, format, types, and the texts of the wrong edits
	ruff check .
	ruff format --check .
	mypy
	python tests/wrong_edits.py --check

format: $(READY) ## fix style with ruff
	ruff check --fix .
	ruff format .

docs: $(READY) ## build the documentation into site/, run its commands and the notebooks
	NO_MKDOCS_2_WARNING=true mkdocs build --strict --quiet
	python -m pytest -n auto --maxprocesses 4 -m docs tests/test_docs.py tests/test_examples.py

ui: $(READY) ## MLflow on http://127.0.0.1:5000
	python -m latentlab.tracking ui

bench: $(READY) ## compare the speed with plain PyTorch: the training loop, and whole processes
	python bench/speed.py
	python bench/process.py

soak: $(READY) ## kill trainings 100 times (KILLS=n); no result may change
	python tests/soak.py --kills $(KILLS)

results: $(READY) ## run the pipeline with three seeds, in .bench: the tables of docs/results.md
	python bench/results.py

ais: $(READY) ## log p(x) of MODEL=vae (or an IWAE) by annealed importance sampling: half a minute
	python bench/ais.py $(MODEL)

metrics-elsewhere: $(READY) ## compare the metrics with those of other packages: docs/metrics-elsewhere.md
	python bench/metrics_elsewhere.py --write

evidence: $(READY) ## check the metrics: noise, spread over sample seeds, ranks on full MNIST
	python bench/evidence.py

crossings: $(READY) ## every model with every option and use
	python -m pytest -n auto --maxprocesses 4 tests/test_crossings.py tests/test_crossed_use.py

findings: ## run the scripts of findings/: each installs public packages into a temporary folder
	@failed=; for script in findings/*.sh; do \
	  echo "$$script"; bash $$script || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "changed:$$failed" >&2; exit 1; }

fuzz: $(READY) ## random input: 20,000 cases for each reader (CASES=n), 1,000 for each test of configs
	LATENTLAB_FUZZ=$(CASES) python -m pytest tests/fuzz

edits: $(READY) ## break the code in the ways of tests/wrong_edits.yaml: tests must notice each
	python tests/wrong_edits.py

mutants: $(READY) $(VENV)/mutants ## mutation tests of the mathematics, hours; FILES="losses metrics/kid.py" SAMPLE=400 SEED=1: a part
	python tests/mutants.py $(FILES) $(addprefix --sample ,$(SAMPLE)) $(addprefix --seed ,$(SEED))

$(VENV)/mutants:
	$(BIN)/python -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check cosmic-ray==8.7.0 || { rm -rf $@; false; }

floors: $(READY) ## run a part of the tests with the lowest versions that pyproject.toml allows
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --group dev pyproject.toml \
	  -o .floors.txt
	rm -rf .floors && $(BIN)/uv venv --quiet --python $(BIN)/python .floors
	$(BIN)/uv pip install --quiet --python .floors/bin/python -r .floors.txt
	OMP_NUM_THREADS=1 PYTHONPATH=src .floors/bin/python -m pytest -m "not browser" $(FLOOR_TESTS)

lock: ## write requirements.lock again
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	  --custom-compile-command 'make lock' --group dev --group docs pyproject.toml -o requirements.lock

clean: ## remove the outputs of the pipeline; keep data, cache and .venv
	rm -rf runs results reports data/prepared data/reference .checkpoints .floors .floors.txt
