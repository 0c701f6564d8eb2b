"""The number of grey levels of images."""

import pytest
import torch

from latentlab.diagnostics.metrics.grey_levels import num_grey_levels


@pytest.mark.parametrize("count", [2, 3, 16, 17, 64, 86, 128, 256])
def test_all_levels_of_an_even_grid_are_counted(count):
    levels = (255 * torch.arange(count) / (count - 1)).round().to(torch.uint8)
    assert num_grey_levels(levels.view(1, 1, 1, -1)) == count


def test_a_level_that_no_image_has_counts_too():
    levels = (255 * torch.arange(17) / 16).round().to(torch.uint8)
    assert num_grey_levels(torch.cat([levels[:5], levels[6:]])) == 17


def test_values_off_every_grid_are_256_levels():
    assert num_grey_levels(torch.tensor([0, 1, 255], dtype=torch.uint8)) == 256
