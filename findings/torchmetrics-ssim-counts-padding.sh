#!/usr/bin/env bash
# One would expect: with the same Gaussian window (11 pixels, sigma 1.5) and data range, torchmetrics, pytorch-
# msssim and scikit-image give the same SSIM, each averaging over the pixels that the window wholly covers.
#
# What happens: torchmetrics reflects the image at its edges and averages over all pixels; the two others leave out
# the 5 outermost pixels. On a 16x16 image that differs only along its edge they disagree widely, and an 8x8 image,
# too small for the window, gets a number instead of a refusal.
#
# Seen with: torchmetrics==1.9.0, pytorch-msssim==1.0.0, scikit-image==0.26.0, torch==2.15.0, numpy==2.4.6 on
# 2026-11-29 (Python 3.11, Linux, CPU).
# What to do: Compare SSIM only within one library; crop the images by the window's radius first if it must be the
# classical one.
#
# Prints the versions and the output; ends with 0 while the behaviour is as told, else with 1 and one sentence.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torchmetrics==1.9.0 pytorch-msssim==1.0.0 scikit-image==0.26.0 torch==2.15.0 numpy==2.4.6
cd "$folder"
cat > program.py <<'PYTHON'
from importlib.metadata import version

print(*(f"{name} {version(name)}" for name in ['torchmetrics', 'pytorch-msssim', 'scikit-image', 'torch', 'numpy']), sep=", ")

import torch
from pytorch_msssim import ssim as msssim
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

torch.manual_seed(0)
first = torch.rand(1, 1, 16, 16, dtype=torch.float64)
second = first.clone()
second[..., 0, :] = second[..., -1, :] = second[..., :, 0] = second[..., :, -1] = 0.0
ours = structural_similarity_index_measure(first, second, data_range=1.0).item()
other = msssim(first, second, data_range=1.0).item()
third = structural_similarity(
    first[0, 0].numpy(), second[0, 0].numpy(), data_range=1.0,
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
)
small = structural_similarity_index_measure(first[..., :8, :8], second[..., :8, :8], data_range=1.0).item()
print("torchmetrics", round(ours, 4), "pytorch-msssim", round(other, 4), "scikit-image", round(float(third), 4))
print("torchmetrics, 8x8:", round(small, 4))

if abs(other - third) > 1e-4 or abs(ours - other) < 0.1 or small != small:
    raise SystemExit("Changed: the edge counts otherwise now.")
PYTHON
"$folder/venv/bin/python" program.py
