#!/usr/bin/env bash
# One would expect: RandomRotation90(times=(0, 3), p=1.0) turns by 0, 90, 180 and 270 degrees equally often.
#
# What happens: 1/6, 1/3, 1/3, 1/6: a real number between 0 and 3 is drawn and rounded, so both ends get half.
#
# Seen with: kornia==0.9.0, torch==2.15.0, numpy==2.4.6 on 2026-11-29 (Python 3.11, Linux, CPU).
# What to do: Draw torch.randint(4) and use torch.rot90.
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kornia==0.9.0 torch==2.15.0 numpy==2.4.6
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['kornia', 'torch', 'numpy']), sep=", ")

from collections import Counter

import kornia.augmentation as K
import torch

torch.manual_seed(0)
image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(6000, 1, 2, 2).contiguous()
turned = K.RandomRotation90(times=(0, 3), p=1.0)(image)
corners = Counter(turned[:, 0, 0, 0].round().int().tolist())
print(sorted(corners.items()))

holds = max(corners.values()) > 1.5 * min(corners.values())
if not holds:
    raise SystemExit("Changed: quarter turns are equally likely now.")
PYTHON
"$folder/venv/bin/python" program.py
