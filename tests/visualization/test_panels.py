"""Panels: their size, their colors, and equal bytes for equal input."""

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.visualization.charts import PALETTE
from latentlab.visualization.panels import (
    DensityPanel,
    save_densities,
    save_scatter_panels,
    save_vector_fields,
)

X = torch.linspace(-3, 3, 50)
BELL = (-X.square() / 2).exp()
POINTS = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


def densities(path):
    panels = [DensityPanel(f"step {k}", X, BELL, BELL.roll(k), BELL, BELL / 2) for k in range(5)]
    save_densities(panels, path)


def scatter(path):
    save_scatter_panels({str(k): POINTS + k for k in range(4)}, POINTS[:3], path)


def fields(path):
    save_vector_fields(POINTS, -POINTS, -0.9 * POINTS, POINTS[:3], path)


@pytest.mark.parametrize(
    ("save", "size", "colors"),
    [
        (densities, (900, 460), PALETTE[2:3]),  # 3 columns of 3 inches, 100 dots per inch
        (scatter, (800, 560), ()),
        (fields, (720, 720), (PALETTE[0], PALETTE[1], PALETTE[3])),
    ],
)
def test_panels_have_their_size_their_colors_and_the_same_bytes_each_time(
    save, size, colors, tmp_path
):
    for name in ("a.png", "b.png"):
        save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == size
        rgba = np.asarray(image).astype(int)
    assert (rgba[0, 0, 3] == 0).all()
    for color in colors:
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        near = (np.abs(rgba[..., :3] - wanted).max(-1) < 12) & (rgba[..., 3] > 200)
        assert near.sum() > 10, color
