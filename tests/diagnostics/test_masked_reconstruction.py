"""Masked reconstruction, compared with loops over patches."""

from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import evaluator_of, save_figures
from latentlab.contracts import Split, to_float
from latentlab.diagnostics import masked_reconstruction
from latentlab.models.linear_ae import LinearAE
from latentlab.models.masked_ae import MaskedAE
from latentlab.models.stochastic_ae import StochasticAE
from latentlab.networks.vit import patchify

SHAPE = (1, 8, 8)


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)


@pytest.fixture
def evaluator():
    evaluator = evaluator_of(images(40, 0))
    evaluator.test = Split(images(30, 1))
    return evaluator


def masked_ae():
    torch.manual_seed(0)
    return MaskedAE(SHAPE, width=16, depth=1).eval()


def trained(module):
    return SimpleNamespace(module=module)


def test_applies_to_models_that_inpaint_only():
    assert masked_reconstruction.applies(masked_ae())
    assert not masked_reconstruction.applies(LinearAE(SHAPE))
    assert not masked_reconstruction.applies(StochasticAE(SHAPE, likelihood="bernoulli"))


def test_error_of_masked_pixels_equals_that_of_a_loop():
    target, predicted = torch.rand(2, 4, 3), torch.rand(2, 4, 3)
    visible = torch.tensor([[0, 2], [3, 1]])
    squares = [(predicted[0, n] - target[0, n]).square() for n in (1, 3)]
    squares += [(predicted[1, n] - target[1, n]).square() for n in (0, 2)]
    expected = float(torch.stack(squares).mean().sqrt())
    found = masked_reconstruction.masked_rmse(predicted, target, visible)
    assert found == pytest.approx(expected)


def test_rows_show_the_mask_the_prediction_and_the_original():
    model, x = masked_ae(), to_float(images(3, 2))
    visible = masked_reconstruction.random_patches(
        3, model.num_patches, model.num_visible, torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        upper, middle, lower = masked_reconstruction.figure_rows(model, x, visible)
        predicted = model.inpaint(x, visible)
    assert torch.equal(lower, x)
    for i in range(3):
        for n in range(16):
            patches = [patchify(image[i : i + 1], 2)[0, n] for image in (upper, middle, x)]
            if n in visible[i]:
                assert torch.equal(patches[0], patches[2])
                assert torch.equal(patches[1], patches[2])
            else:
                assert set(patches[0].tolist()) == {masked_reconstruction.MASK_GREY}
                assert torch.equal(patches[1], predicted[i, n])


def test_the_mean_image_is_the_baseline(evaluator, tmp_path):
    """Images of noise: the error of the mean image is the standard deviation, about 0.29."""
    result = masked_reconstruction.diagnose(trained(masked_ae()), evaluator)
    assert list(result.table) == ["25% masked", "50% masked", "75% masked", "88% masked"]
    for row in result.table.values():
        assert row["mean_image_rmse"] == pytest.approx(0.289 * (1 + 1 / 80), abs=0.02)
    row = result.table["75% masked"]
    assert result.metrics["masked_pixel_rmse_75"] == row["masked_pixel_rmse"]
    assert save_figures(result, tmp_path)["masked"] == ((10 * 9 - 1) * 8, (3 * 9 - 1) * 8)


def test_figure_has_as_many_columns_as_there_are_images(evaluator, tmp_path):
    evaluator.test = evaluator.test.first(4)
    result = masked_reconstruction.diagnose(trained(masked_ae()), evaluator)
    assert save_figures(result, tmp_path)["masked"] == ((4 * 9 - 1) * 8, (3 * 9 - 1) * 8)
