#!/usr/bin/env bash
# One would expect: a whole-number division by zero and its remainder are NULL, and ln(0) and sqrt(-1) are
# errors, as in 1.x.
#
# What happens: it is exchanged: 7 // 0 and 7 % 0 are errors that end the query, ln(0) is -inf and sqrt(-1)
# is nan. 7 / 0 stays inf. max() of a column with such a nan is nan.
#
# Seen with: duckdb==2.0.1 on 2026-11-30 (Python 3.11, Linux, CPU).
# What to do: Write nullif(n, 0) under a division, and filter with isfinite before max, min and avg of
# metrics.
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['duckdb']), sep=", ")

import duckdb


def outcome(expression):
    try:
        return str(duckdb.sql(f"select {expression}").fetchall()[0][0])
    except duckdb.Error as error:
        return type(error).__name__


found = {text: outcome(text) for text in ("7/0", "7//0", "7%0", "ln(0)", "sqrt(-1)")}
found["max"] = outcome("max(x) from (values (sqrt(-1)), (2.0)) t(x)")
print(*(f"{text}: {result}" for text, result in found.items()), sep="\n")

errors = all("Exception" in found[text] for text in ("7//0", "7%0"))
values = [found[text] for text in ("7/0", "ln(0)", "sqrt(-1)", "max")]
if not errors or values != ["inf", "-inf", "nan", "nan"]:
    raise SystemExit("Changed: DuckDB has other results for zero and negative numbers now.")
PYTHON
"$folder/venv/bin/python" program.py
