"""Masked reconstruction, compared with loops over patches."""

from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import evaluator_of, figure_inputs, save_figures
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


def test_the_figure_masks_the_fraction_of_training_and_the_seed_chooses_the_patches(evaluator):
    shown = []
    for seed in (0, 0, 1):
        evaluator.settings.seed = seed
        result = masked_reconstruction.diagnose(trained(masked_ae()), evaluator)
        (rows,) = figure_inputs(result, "masked")
        assert torch.equal(rows[2], to_float(evaluator.test.images[:10]))
        masked = (patchify(rows[0], 2) == masked_reconstruction.MASK_GREY).all(2)  # (10, 16)
        fraction = f"{masked.double().mean():.0%}"
        assert fraction == "75%"
        assert result.figures[0].caption.startswith(f"{fraction} masked")
        assert f"with {fraction} of the patches masked" in result.summary
        shown.append((masked, result.table))
    assert torch.equal(shown[0][0], shown[1][0])
    assert shown[0][1] == shown[1][1]
    assert not torch.equal(shown[0][0], shown[2][0])


def test_only_the_first_test_images_are_used(evaluator, monkeypatch):
    few = SimpleNamespace(**{**vars(evaluator), "test": evaluator.test.first(12)})
    expected = masked_reconstruction.diagnose(trained(masked_ae()), few)
    monkeypatch.setattr(masked_reconstruction, "NUM_IMAGES", 12)
    found = masked_reconstruction.diagnose(trained(masked_ae()), evaluator)
    assert found.table == expected.table


def test_the_mean_image_is_that_of_all_batches():
    train = images(1001, 5)
    expected = train.double().mean(0) / 255
    found = masked_reconstruction.mean_image(Split(train))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("patches", "percents"), [(16, [25, 50, 75, 88]), (4, [25, 50, 75, 75])])
def test_at_least_one_patch_is_visible(patches, percents):
    """A tenth of four patches is none."""
    x = torch.rand(3, 1, patches, 1)
    seen = []
    model = SimpleNamespace(
        num_patches=patches,
        patchify=lambda x: x.flatten(2).squeeze(1)[..., None],
        inpaint=lambda x, visible: seen.append(visible.shape[1]) or torch.zeros(3, patches, 1),
    )
    g = torch.Generator().manual_seed(0)
    table = masked_reconstruction.score_ratios(model, x, x[0], g)
    assert list(table) == list(dict.fromkeys(f"{percent}% masked" for percent in percents))
    assert seen == [round(patches * (1 - percent / 100)) for percent in percents]
