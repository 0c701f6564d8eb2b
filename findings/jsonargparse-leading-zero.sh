#!/usr/bin/env bash
# One would expect: for an argument of type int, --x=010 is read as YAML 1.1 does, as octal: 8.
#
# What happens: 10, while 0x10 is read as 16, 1_000 as 1000, and 1e3 or 1.0 are refused for int; PyYAML itself
# reads 010 as 8.
#
# Seen with: jsonargparse==4.53.0, PyYAML==6.0.3 on 2026-11-29 (Python 3.11, Linux, CPU).
# What to do: Write plain decimal numbers.
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jsonargparse==4.53.0 PyYAML==6.0.3
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['jsonargparse', 'PyYAML']), sep=", ")

import yaml
from jsonargparse import ArgumentParser

parser = ArgumentParser()
parser.add_argument("--x", type=int)
result = {text: parser.parse_args([f"--x={text}"]).x for text in ["010", "0x10", "1_000"]}
print("jsonargparse", result, "PyYAML", {text: yaml.safe_load(text) for text in result})

if result != {"010": 10, "0x10": 16, "1_000": 1000}:
    raise SystemExit("Changed: integers are read otherwise now.")
PYTHON
"$folder/venv/bin/python" program.py
