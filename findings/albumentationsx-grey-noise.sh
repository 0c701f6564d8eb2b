#!/usr/bin/env bash
# One would expect: GaussNoise draws its own noise for each channel of a colour image, as in albumentations
# 2.0, which has the same import name.
#
# What happens: all channels of a pixel get the same noise: per_channel is False by default now.
#
# Seen with: albumentationsx==2.5.1, opencv-python-headless==5.0.0.93, torch==2.15.0, numpy==2.4.6 on 2026-11-30 (Python 3.11, Linux, CPU).
# What to do: Pass per_channel=True.
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check albumentationsx==2.5.1 opencv-python-headless==5.0.0.93 torch==2.15.0 numpy==2.4.6
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['albumentationsx', 'opencv-python-headless', 'torch', 'numpy']), sep=", ")

import albumentations as A
import numpy as np

grey = np.full((64, 64, 3), 128, np.uint8)
found = {}
for name, options in {"default": {}, "per_channel=True": {"per_channel": True}}.items():
    noisy = A.Compose([A.GaussNoise(p=1, **options)], seed=0)(image=grey)["image"].astype(float)
    red, green = noisy[..., 0].ravel(), noisy[..., 1].ravel()
    found[name] = float(np.corrcoef(red, green)[0, 1])
    print(f"{name}: correlation of the noise of red and green {found[name]:.2f}")

if found["default"] < 0.99 or abs(found["per_channel=True"]) > 0.1:
    raise SystemExit("Changed: the noise of the channels is independent by default again.")
PYTHON
"$folder/venv/bin/python" program.py
