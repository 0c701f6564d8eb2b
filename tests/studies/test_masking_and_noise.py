"""Studies of the masked autoencoder and of stochastic decoders, against sums by hand."""

import pytest
import torch
from PIL import Image
from torch.distributions import Bernoulli, Categorical

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_float
from latentlab.data.prepared import Meta
from latentlab.evaluation import Yardsticks
from latentlab.models.linear_ae import LinearAE
from latentlab.models.masked_ae import MaskedAE
from latentlab.models.stochastic_ae import StochasticAE
from latentlab.nets.vit import patchify
from latentlab.studies import masking, pixel_noise
from latentlab.trained import Trained

SHAPE = (1, 8, 8)
SETTINGS = EvaluationSettings()


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)


@pytest.fixture
def yard(tmp_path):
    meta = Meta("noise", SHAPE, None, {"train": 40, "val": 1, "test": 30}, (), 0, "0" * 64)
    return Yardsticks(meta, Split(images(40, 0)), Split(images(30, 1)), None, None, SETTINGS)


def trained(module, tmp_path):
    return Trained("it", tmp_path, module.eval(), None, SHAPE, SETTINGS, {})


def masked(**settings):
    torch.manual_seed(0)
    return MaskedAE(SHAPE, width=16, depth=1, **settings)


def test_masking_is_asked_of_models_that_fill_in_only():
    assert masking.applies(masked())
    assert not masking.applies(LinearAE(SHAPE))
    assert not masking.applies(StochasticAE(SHAPE, likelihood="bernoulli"))


def test_error_on_hidden_pixels_by_a_loop():
    target, filled = torch.rand(2, 4, 3), torch.rand(2, 4, 3)
    visible = torch.tensor([[0, 2], [3, 1]])
    squares = [(filled[0, n] - target[0, n]).square() for n in (1, 3)]
    squares += [(filled[1, n] - target[1, n]).square() for n in (0, 2)]
    expected = float(torch.stack(squares).mean().sqrt())
    assert masking.hidden_rmse(filled, target, visible) == pytest.approx(expected)


def test_rows_show_the_mask_the_paste_and_the_original(tmp_path):
    model, x = masked(), to_float(images(3, 2))
    visible = model.draw_visible(x)
    with torch.inference_mode():
        above, middle, below = masking.pictures(trained(model, tmp_path), x, visible)
        filled = model.fill_in(x, visible)
    assert torch.equal(below, x)
    for i in range(3):
        for place in range(16):
            look = [patchify(image[i : i + 1], 2)[0, place] for image in (above, middle, x)]
            if place in visible[i]:
                assert torch.equal(look[0], look[2])
                assert torch.equal(look[1], look[2])
            else:
                assert set(look[0].tolist()) == {masking.HIDDEN_GREY}
                assert torch.equal(look[1], filled[i, place])


def test_masking_study_compares_with_the_mean_image(yard, tmp_path):
    """Noise has nothing to fill in: the mean image errs by the standard deviation, about 0.29."""
    finding = masking.study(trained(masked(), tmp_path), yard)
    assert list(finding.table) == ["25% hidden", "50% hidden", "75% hidden", "88% hidden"]
    for row in finding.table.values():
        assert row["mean_image_rmse"] == pytest.approx(0.289 * (1 + 1 / 80), abs=0.02)
    assert (
        finding.numbers["hidden_pixel_rmse_75"] == finding.table["75% hidden"]["hidden_pixel_rmse"]
    )
    finding.pictures[0].draw(tmp_path / "masking.png")
    with Image.open(tmp_path / "masking.png") as picture:
        assert picture.size == ((10 * 9 - 1) * 8, (3 * 9 - 1) * 8)


def test_masking_is_drawn_for_as_many_images_as_there_are(yard, tmp_path):
    few = Yardsticks(yard.meta, yard.train, yard.test.first(4), None, None, SETTINGS)
    masking.study(trained(masked(), tmp_path), few).pictures[0].draw(tmp_path / "masking.png")
    with Image.open(tmp_path / "masking.png") as picture:
        assert picture.size == ((4 * 9 - 1) * 8, (3 * 9 - 1) * 8)


def test_marginal_is_the_histogram_of_each_pixel():
    train, x = images(50, 3) // 64 * 64, to_float(images(4, 4) // 64 * 64)
    expected = torch.zeros(4)
    for row in range(8):
        for column in range(8):
            counts = torch.bincount(train[:, 0, row, column].long(), minlength=256) + 1.0
            levels = (x[:, 0, row, column] * 255).round().long()
            expected -= Categorical(probs=counts / counts.sum()).log_prob(levels)
    assert torch.allclose(pixel_noise.marginal(train, x), expected, rtol=1e-5)


def test_binary_marginal_is_the_cross_entropy_of_the_mean_image():
    train, x = images(50, 5), to_float(images(4, 6))
    odds = (to_float(train).sum(0) + 1) / 52
    reference = Bernoulli(probs=odds, validate_args=False).log_prob(x).sum((1, 2, 3))
    assert torch.allclose(pixel_noise.binary_marginal(train, x), -reference, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "unit"),
    [
        ({"likelihood": "gaussian", "scale": 0.05}, "bits_per_dim"),
        ({"likelihood": "categorical"}, "bits_per_dim"),
        ({"likelihood": "bernoulli"}, "binary_bits_per_dim"),
    ],
)
def test_pixel_noise_adds_the_variance_to_the_error_of_the_mean(settings, unit, yard, tmp_path):
    torch.manual_seed(0)
    model = StochasticAE(SHAPE, hidden=[8], **settings)
    if "scale" in settings:
        torch.nn.init.constant_(model.decoder[-1].bias, 0.5)  # far from where draws clip
    assert pixel_noise.applies(model)
    finding = pixel_noise.study(trained(model, tmp_path), yard)
    x = to_float(yard.test.images)
    with torch.no_grad():
        variance = model.decode_std(model.encode(x)).square().sum((1, 2, 3)).mean()
        step = model.validation_step((x, None), 0)
    numbers = finding.numbers
    added = numbers["sse_of_sample"] - numbers["sse_of_mean"]
    assert added == pytest.approx(float(variance), rel=0.25)
    assert numbers[unit] == pytest.approx(float(step[unit]), rel=1e-4)
    finding.pictures[0].draw(tmp_path / "draws.png")
    with Image.open(tmp_path / "draws.png") as picture:
        assert picture.size == ((10 * 9 - 1) * 8, (5 * 9 - 1) * 8)


def test_pixel_noise_is_not_asked_of_others():
    assert not pixel_noise.applies(LinearAE(SHAPE))
