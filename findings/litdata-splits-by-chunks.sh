#!/usr/bin/env bash
# One would expect: train_test_split(data, [0.8, 0.2]) puts a random fifth of the items (or the last fifth)
# into the second part.
#
# What happens: The second part is two whole chunks of neighbours (70..79 and 10..19): chunks are shuffled,
# never items. If the data was written class by class, classes are missing in one part or the other.
#
# Seen with: litdata==0.2.76, torch==2.15.0, numpy==2.4.6 on 2026-11-29 (Python 3.11, Linux, CPU).
# What to do: Shuffle the inputs before optimize().
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check litdata==0.2.76 torch==2.15.0 numpy==2.4.6
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

if __name__ == "__main__":
    print(*(f"{name} {version(name)}" for name in ['litdata', 'torch', 'numpy']), sep=", ")

import contextlib
import io

import litdata

if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        litdata.optimize(
            fn=int, inputs=list(range(100)), output_dir="data", num_workers=1, chunk_size=10
        )
        train, test = litdata.train_test_split(litdata.StreamingDataset("data"), splits=[0.8, 0.2])
        result = sorted(int(item) for item in test)
    print(result)

    holds = len({i // 10 for i in result}) == 2 and len(result) == 20
    if not holds:
        raise SystemExit("Changed: single items are split now.")
PYTHON
"$folder/venv/bin/python" program.py
