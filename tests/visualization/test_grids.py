"""Grids compared pixel by pixel with arrays written by hand."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.utils.errors import LatentlabError
from latentlab.visualization import charts, grids


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def flat(*levels, size=2, channels=1):
    """One constant image per level: (N, C, size, size)."""
    return torch.tensor(levels, dtype=torch.float32)[:, None, None, None].expand(
        -1, channels, size, size
    )


def test_grid_has_rows_enlarged_pixels_and_transparent_gaps(tmp_path):
    grids.save_grid(flat(0.0, 0.2, 1.0), tmp_path / "g.png", columns=2, scale=3, pad=1)
    grey, alpha = np.moveaxis(pixels(tmp_path / "g.png"), -1, 0)
    assert grey.shape == (15, 15)  # (2 + 1 + 2 pixels) × 3
    expected = np.zeros((5, 5), int)
    expected[0:2, 3:5], expected[3:5, 0:2] = 51, 255
    opaque = np.zeros((5, 5), int)
    opaque[0:2, 0:2] = opaque[0:2, 3:5] = opaque[3:5, 0:2] = 255
    np.testing.assert_array_equal(grey, np.kron(expected, np.ones((3, 3), int)))
    np.testing.assert_array_equal(alpha, np.kron(opaque, np.ones((3, 3), int)))


def test_color_images_keep_their_channels_and_values_are_clipped(tmp_path):
    image = torch.tensor([-0.5, 0.5, 1.5]).reshape(1, 3, 1, 1)
    grids.save_grid(image, tmp_path / "c.png", columns=1, scale=1)
    assert pixels(tmp_path / "c.png").tolist() == [[[0, 128, 255, 255]]]


@pytest.mark.parametrize(("size", "saved"), [(8, 64), (28, 56), (32, 64), (64, 64), (200, 200)])
def test_scale_none_enlarges_an_image_to_about_64_pixels(tmp_path, size, saved):
    grids.save_grid(torch.zeros(1, 1, size, size), tmp_path / "s.png", columns=1)
    assert pixels(tmp_path / "s.png").shape[:2] == (saved, saved)


def test_pairs_have_each_original_above_its_reconstruction(tmp_path):
    originals, reconstructions = flat(0.2, 0.4, 0.6), flat(0.3, 0.5, 0.7)
    grids.save_pairs(originals, reconstructions, tmp_path / "p.png", columns=2, scale=1)
    grey = pixels(tmp_path / "p.png")[..., 0]
    assert grey.shape == (4 * 2 + 1 + 3 + 1, 5)
    np.testing.assert_array_equal(grey[[0, 3, 8, 11], 0], [51, 76, 153, 178])
    np.testing.assert_array_equal(grey[[0, 3, 8, 11], 4], [102, 128, 0, 0])


def test_rows_stay_rows(tmp_path):
    rows = torch.arange(6).div(5).reshape(2, 3, 1, 1, 1)
    grids.save_rows(rows, tmp_path / "r.png", scale=1, pad=0)
    assert pixels(tmp_path / "r.png")[..., 0].tolist() == [[0, 51, 102], [153, 204, 255]]


def test_equal_input_gives_equal_bytes_and_one_file(tmp_path):
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    points, labels = torch.randn(60, 2), torch.arange(60) % 12
    for folder in ("a", "b"):
        grids.save_grid(images, tmp_path / folder / "g.png", columns=3)
        charts.save_scatter(points, labels, None, tmp_path / folder / "m.png")
        assert sorted(p.name for p in (tmp_path / folder).iterdir()) == ["g.png", "m.png"]
    for name in ("g.png", "m.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.zeros(3, 8, 8), r"shape \(3, 8, 8\); pass \(N, C, H, W\)"),
        (torch.zeros(1, 2, 8, 8), "C = 1 or 3"),
        (torch.zeros(0, 1, 8, 8), "N ≥ 1"),
        (torch.full((1, 1, 2, 2), math.nan), "NaN or infinity"),
    ],
)
def test_tensors_that_are_not_images_raise_an_error(tmp_path, images, match):
    with pytest.raises(LatentlabError, match=match):
        grids.save_grid(images, tmp_path / "x.png", columns=1)
    assert not list(tmp_path.iterdir())


def test_impossible_layouts_raise_an_error(tmp_path):
    path = tmp_path / "x.png"
    with pytest.raises(LatentlabError, match="columns=0"):
        grids.save_grid(flat(0.0), path, columns=0)
    with pytest.raises(LatentlabError, match="columns=-1"):
        grids.save_pairs(flat(0.0), flat(0.0), path, columns=-1)
    with pytest.raises(LatentlabError, match="scale=0"):
        grids.save_grid(flat(0.0), path, columns=1, scale=0)
    with pytest.raises(LatentlabError, match="differ in shape"):
        grids.save_pairs(flat(0.0), flat(0.0, 1.0), path)
    with pytest.raises(LatentlabError, match=r"\(R, K, C, H, W\)"):
        grids.save_rows(flat(0.0), path)


def test_unscaled_undoes_an_enlargement(tmp_path):
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    grids.save_grid(images, tmp_path / "big.png", columns=3, scale=6)
    grids.save_grid(images, tmp_path / "small.png", columns=3, scale=1)
    small, width, height = grids.unscaled((tmp_path / "big.png").read_bytes())
    assert (width, height) == (26, 17)
    np.testing.assert_array_equal(pixels(io.BytesIO(small)), pixels(tmp_path / "small.png"))
    assert grids.unscaled(small)[0] == small
    with pytest.raises(LatentlabError, match="not a readable PNG"):
        grids.unscaled(b"GIF89a")


def test_is_plot_separates_charts_from_grids_of_images(tmp_path):
    grids.save_grid(torch.rand(9, 1, 4, 4), tmp_path / "grid.png", columns=3)
    charts.save_scatter(torch.randn(50, 2), None, None, tmp_path / "plot.png")
    assert not grids.is_plot((tmp_path / "grid.png").read_bytes())
    assert grids.is_plot((tmp_path / "plot.png").read_bytes())
