#!/usr/bin/env bash
# One would expect: a search with two directions and no sampler given uses NSGAIISampler, as in every
# release before.
#
# What happens: TPESampler is the default for several objectives as well since 5.0: after ten random trials it fits
# densities instead of evolving a population of fifty, so the same script with the same number of trials searches
# otherwise.
#
# Seen with: optuna==5.0.0 on 2026-11-29 (Python 3.11, Linux, CPU).
# What to do: Name the sampler: create_study(directions=..., sampler=NSGAIISampler(seed=...)).
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['optuna']), sep=", ")

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
search = optuna.create_study(directions=["minimize", "minimize"])
result = type(search.sampler).__name__
print(result)

if result != "TPESampler":
    raise SystemExit("Changed: the default sampler for several objectives is another one now.")
PYTHON
"$folder/venv/bin/python" program.py
