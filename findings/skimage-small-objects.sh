#!/usr/bin/env bash
# One would expect: the deprecated argument of remove_small_objects keeps its meaning until it is removed:
# min_size=2 keeps an object of 2 pixels.
#
# What happens: min_size=2 removes it: the number is read as the new max_size, up to which objects are
# removed, and a FutureWarning says so in its last sentence. By default, objects of 64 pixels are removed
# too.
#
# Seen with: scikit-image==0.26.0, numpy==2.4.6 on 2026-11-30 (Python 3.11, Linux, CPU).
# What to do: Write max_size=1 for min_size=2.
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-image==0.26.0 numpy==2.4.6
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['scikit-image', 'numpy']), sep=", ")

import warnings

import numpy as np
from skimage.morphology import remove_small_objects

warnings.simplefilter("ignore")
mask = np.array([[1, 1, 0, 1]], bool)
old, new = remove_small_objects(mask, min_size=2), remove_small_objects(mask, max_size=2)
print("min_size=2:", old.astype(int).tolist(), " max_size=2:", new.astype(int).tolist())
objects = np.zeros((1, 200), bool)
objects[0, :64] = objects[0, 70:135] = True
kept = int(remove_small_objects(objects).sum())
print("of objects of 64 and 65 pixels, pixels that stay:", kept)

if old.any() or kept != 65:
    raise SystemExit("Changed: an object of min_size pixels stays again.")
PYTHON
"$folder/venv/bin/python" program.py
