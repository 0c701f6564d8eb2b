"""Latent inversion, compared with least squares for a linear decoder."""

import numpy as np
import pytest
import torch
from torch import nn

from latentlab.contracts import Split
from latentlab.metrics.inversion import invert
from latentlab.utils.errors import LatentlabError

SHAPE = (1, 4, 5)


@pytest.fixture
def decoder():
    """x̂ = W z + b with well-conditioned W, as images (B, 1, 4, 5)."""
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(3, 20)
    with torch.no_grad():
        linear.weight.copy_(torch.linalg.qr(torch.randn(20, 3, generator=generator)).Q)
        linear.bias.copy_(torch.rand(20, generator=generator))
    return nn.Sequential(linear, nn.Unflatten(1, SHAPE))


@pytest.fixture
def images():
    return torch.rand(9, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def samples():
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(2))


def test_linear_decoder_gives_least_squares(decoder, images, samples):
    found = invert(decoder, images, prior_samples=samples, steps=500, lr=0.02)
    weight, bias = (p.detach().double().numpy() for p in decoder[0].parameters())
    target = images.flatten(1).double().numpy() - bias
    expected = np.linalg.lstsq(weight, target.T, rcond=None)[0].T
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("batch_size", [4, 500])  # samples and images in several blocks, or in one
def test_without_steps_each_image_gets_its_nearest_sample(decoder, images, samples, batch_size):
    found = invert(decoder, images, prior_samples=samples, steps=0, lr=0.1, batch_size=batch_size)
    with torch.no_grad():
        pixels = decoder(samples).flatten(1).double().numpy()
    distance = ((images.flatten(1).double().numpy()[:, None] - pixels[None]) ** 2).sum(2)
    assert torch.equal(found, samples[distance.argmin(1)])
    assert len(set(distance.argmin(1))) > 3  # images start at different samples


def test_images_are_independent(decoder, images, samples):
    budget = {"prior_samples": samples, "steps": 20, "lr": 0.1}
    together = invert(decoder, images, **budget)
    alone = torch.cat([invert(decoder, image[None], **budget) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        together, invert(decoder, images, batch_size=4, **budget), rtol=1e-4, atol=1e-5
    )


def test_the_best_code_is_kept_for_any_step_size(decoder, images, samples):
    def sse(codes):
        with torch.no_grad():
            return (decoder(codes) - images).square().flatten(1).sum(1)

    start = invert(decoder, images, prior_samples=samples, steps=0, lr=1.0)
    # Every step of Adam moves each coordinate by about lr = 100: always worse than the start.
    assert torch.equal(invert(decoder, images, prior_samples=samples, steps=3, lr=100.0), start)
    gentle = invert(decoder, images, prior_samples=samples, steps=5, lr=0.05)
    assert (sse(gentle) < sse(start)).all()


def test_one_step_of_adam_moves_each_coordinate_by_lr(decoder, images, samples):
    start = invert(decoder, images, prior_samples=samples, steps=0, lr=0.001)
    moved = invert(decoder, images, prior_samples=samples, steps=1, lr=0.001)
    torch.testing.assert_close(
        (moved - start).abs(), torch.full_like(start, 0.001), rtol=1e-2, atol=0
    )


def test_the_model_and_the_grad_mode_do_not_change(decoder, images, samples):
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    expected = invert(decoder, images, prior_samples=samples, steps=3, lr=0.1)
    with torch.no_grad():
        assert torch.equal(
            invert(decoder, images, prior_samples=samples, steps=3, lr=0.1), expected
        )
    with torch.inference_mode():
        same = invert(decoder, images.clone(), prior_samples=samples.clone(), steps=3, lr=0.1)
    assert torch.equal(same, expected)
    assert all(p.grad is None and p.requires_grad for p in decoder.parameters())
    assert all(torch.equal(before[name], value) for name, value in decoder.state_dict().items())


def test_a_split_and_float_images_give_equal_codes(decoder, samples):
    levels = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    from_bytes = invert(decoder, Split(levels), prior_samples=samples, steps=2, lr=0.1)
    from_floats = invert(decoder, levels / 255, prior_samples=samples, steps=2, lr=0.1)
    assert torch.equal(from_bytes, from_floats)


def test_errors(decoder, images, samples):
    with pytest.raises(LatentlabError, match=r"Prior samples have shape \(0, 3\)"):
        invert(decoder, images, prior_samples=samples[:0], steps=1, lr=0.1)
    with pytest.raises(LatentlabError, match="steps=-1"):
        invert(decoder, images, prior_samples=samples, steps=-1, lr=0.1)
    with pytest.raises(LatentlabError, match="lr=nan"):
        invert(decoder, images, prior_samples=samples, steps=1, lr=float("nan"))
    with pytest.raises(LatentlabError, match=r"\(1, 4, 4\) but the decoder returns \(1, 4, 5\)"):
        invert(decoder, images[..., :4], prior_samples=samples, steps=1, lr=0.1)
    with pytest.raises(LatentlabError, match="not finite"):
        invert(lambda z: decoder(z) * torch.nan, images, prior_samples=samples, steps=1, lr=0.1)
