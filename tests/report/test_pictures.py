"""Sprites and figures as WebP."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from latentlab.report import pictures
from latentlab.report.arrays import read_arrays
from latentlab.report.pictures import Pictures, picture, sprites_of
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import write_arrays
from latentlab.visualization import charts, grids


def blocks(count, side=8, channels=1):
    """Images of one level each, so that lossy compression keeps their mean: (N, H, W, C)."""
    levels = (np.arange(count) * 37 % 256).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, side, side, channels)).copy()


def tiles_of(sprite):
    """The images of a sprite, (N, H, W)."""
    sheet = np.asarray(Image.open(io.BytesIO(sprite.webp)).convert("L"))
    rows = sheet.shape[0] // sprite.height
    grid = sheet.reshape(rows, sprite.height, sprite.columns, sprite.width).swapaxes(1, 2)
    return grid.reshape(-1, sprite.height, sprite.width)[: sprite.count]


def assert_levels(sprite, expected):
    got = tiles_of(sprite)[:, 2:-2, 2:-2].mean((1, 2))
    assert np.abs(got - expected[:, 0, 0, 0]).max() < 12


def test_a_sprite_has_all_images_of_the_file_in_order(tmp_path):
    samples, paths = blocks(40), blocks(60).reshape(6, 10, 8, 8, 1)
    write_arrays(tmp_path / "images.npz", {"samples": samples, "interpolations": paths})
    found = sprites_of(tmp_path, read_arrays(tmp_path), (1, 8, 8))
    assert set(found) == {"samples", "interpolations"}
    assert (found["samples"].count, found["samples"].columns) == (40, 16)
    assert_levels(found["samples"], samples)
    assert found["interpolations"].count == 60
    assert found == sprites_of(tmp_path, read_arrays(tmp_path), (1, 8, 8))


def test_without_the_file_images_are_cut_out_of_the_png_files(tmp_path):
    images = torch.tensor(blocks(32)).permute(0, 3, 1, 2) / 255
    grids.save_grid(images, tmp_path / "samples.png", columns=8)
    grids.save_pairs(images[:16], images[16:], tmp_path / "reconstructions.png")
    found = sprites_of(tmp_path, read_arrays(tmp_path), (1, 8, 8))
    assert_levels(found["samples"], blocks(32))
    assert_levels(found["reconstructions"], blocks(32)[16:])
    assert sprites_of(tmp_path, {}, (1, 9, 8)) == {}, "images of another size"
    assert sprites_of(tmp_path / "none", {}, (1, 8, 8)) == {}


def test_large_images_are_fewer_and_groups_stay_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 25 * 64)
    arrays = {
        "samples": blocks(64, channels=3),
        "interpolations": blocks(60).reshape(6, 10, 8, 8, 1),
    }
    found = sprites_of(tmp_path, arrays, (1, 8, 8))
    assert found["samples"].count == 25
    assert found["interpolations"].count == 20


def test_arrays_that_are_no_images_are_left_out(tmp_path):
    arrays = {
        "samples": np.zeros((3, 8), np.uint8),
        "reconstructions": np.zeros((0, 8, 8, 1), np.uint8),
    }
    assert sprites_of(tmp_path, arrays, (1, 8, 8)) == {}


@pytest.mark.parametrize("keep", [0, 20, 200])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, keep):
    folder = tmp_path / "results" / "vae"
    folder.mkdir(parents=True)
    write_arrays(folder / "images.npz", {"samples": blocks(64)})
    content = (folder / "images.npz").read_bytes()
    (folder / "images.npz").write_bytes(content[:keep])
    with pytest.raises(
        LatentlabError, match=r"vae/images.npz cannot be .*`dvc repro evaluate@vae`"
    ):
        read_arrays(folder)


def test_a_grid_becomes_small_again_and_a_chart_keeps_its_size(tmp_path):
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    grids.save_grid(images, tmp_path / "grid.png", columns=8)
    grid = picture(tmp_path / "grid.png")
    assert (grid.width, grid.height, grid.pixelated) == (8 * 9 - 1, 2 * 9 - 1, True)
    charts.save_curves(
        [charts.Curve("a", [0, 1], [1.0, 2.0])], tmp_path / "chart.png", x="x", y="y"
    )
    chart = picture(tmp_path / "chart.png")
    assert not chart.pixelated
    assert Image.open(io.BytesIO(chart.webp)).size == (chart.width, chart.height)
    assert len(chart.webp) < (tmp_path / "chart.png").stat().st_size
    assert picture(tmp_path / "none.png") is None


def test_equal_pictures_are_stored_once():
    pictures = Pictures()
    assert pictures.add(b"a") == pictures.add(b"a") != pictures.add(b"b")
    assert len(pictures.content) == 2
