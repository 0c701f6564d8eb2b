#!/usr/bin/env bash
# One would expect: a number means the same for all functions that take an image and a scalar: 5 is added to
# the first channel only, as the scalar (5, 0, 0, 0), and min(image, 5) does the same.
#
# What happens: add, subtract and absdiff use 5 for every channel, but min, max and the bitwise functions
# use (5, 0, 0, 0). With the tuple (5,) it is the other way round: add uses the first channel only, and min
# uses 5 for every channel.
#
# Seen with: opencv-python-headless==5.0.0.93, numpy==2.4.6 on 2026-11-30 (Python 3.11, Linux, CPU).
# What to do: Give one number for each channel, (5, 5, 5, 0), or use NumPy with a clip.
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['opencv-python-headless', 'numpy']), sep=", ")

import cv2
import numpy as np

image = np.full((4, 4, 3), 100, np.uint8)
found = {
    (function, str(scalar)): getattr(cv2, function)(image, scalar)[0, 0].tolist()
    for function in ("add", "min", "bitwise_and")
    for scalar in (5, (5,))
}
print(*(f"{function} {scalar}: {pixel}" for (function, scalar), pixel in found.items()), sep="\n")

seen = {
    ("add", "5"): [105, 105, 105],
    ("add", "(5,)"): [105, 100, 100],
    ("min", "5"): [5, 0, 0],
    ("min", "(5,)"): [5, 5, 5],
    ("bitwise_and", "5"): [4, 0, 0],
    ("bitwise_and", "(5,)"): [4, 4, 4],
}
if found != seen:
    raise SystemExit("Changed: scalars reach other channels now.")
PYTHON
"$folder/venv/bin/python" program.py
