"""The style-based generator against the definitions that its fast forms replace."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latentlab.models.style_gan import StyleGAN
from latentlab.nets.style import Mapping, ModulatedConv, with_spread
from latentlab.priors import StandardNormal

SHAPE = (1, 8, 8)


def gan(**settings):
    torch.manual_seed(0)
    return StyleGAN(SHAPE, prior=StandardNormal(), latent_dim=6, width=4, **settings).eval()


def test_modulation_equals_convolving_each_image_with_weights_of_its_own():
    """Karras et al. 2020, eq. 1 and 3, written out for one image at a time."""
    torch.manual_seed(0)
    conv = ModulatedConv(3, 5, style_dim=4).double()
    x, w = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 4).double()
    for image, style, got in zip(x, conv.style(w), conv(x, w), strict=True):
        weights = conv.weight * style[None, :, None, None]
        weights = weights / (weights.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        torch.testing.assert_close(got, F.conv2d(image[None], weights, padding=1)[0])


def test_demodulation_gives_every_map_unit_variance_whatever_the_style():
    torch.manual_seed(0)
    conv = ModulatedConv(8, 6, style_dim=4)
    y = conv(torch.randn(400, 8, 12, 12), (10 * torch.randn(1, 4)).expand(400, -1))
    spread = y[:, :, 2:-2, 2:-2].std((0, 2, 3))
    torch.testing.assert_close(spread, torch.ones(6), atol=0.02, rtol=0)


def test_only_the_direction_of_a_code_matters():
    z = torch.randn(3, 6)
    mapping = Mapping(6)
    torch.testing.assert_close(mapping(z), mapping(5 * z), atol=1e-4, rtol=1e-4)


def test_the_spread_of_a_batch_is_that_of_its_groups():
    h = torch.randn(8, 3, 2, 2)
    got = with_spread(h, group=4)
    assert got.shape == (8, 4, 2, 2)
    torch.testing.assert_close(got[:, :3], h)
    for image in range(8):
        group = h[image % 2 :: 2].numpy()  # images of one group stand 8 / 4 = 2 apart
        expected = np.sqrt(group.var(0) + 1e-8).mean()
        assert got[image, 3].numpy() == pytest.approx(expected, rel=1e-5)
    assert float(with_spread(torch.ones(4, 3, 2, 2))[:, 3].max()) < 1e-3, "all the same: no spread"
    assert with_spread(torch.randn(5, 3, 2, 2)).shape == (5, 4, 2, 2)


def test_truncation_ends_at_the_mean_style():
    model, z = gan(), torch.randn(4, 6)
    model.mean_style += torch.randn(6)
    full, half, none = (model.styles(z, truncation=psi)[:, 0] for psi in (1.0, 0.5, 0.0))
    torch.testing.assert_close(full, model.mapping(z))
    torch.testing.assert_close(half, (full + model.mean_style) / 2)
    torch.testing.assert_close(none, model.mean_style.expand(4, -1))


def test_fine_styles_leave_the_coarse_maps_alone():
    model, seen = gan(), []
    model.generator.first.register_forward_hook(lambda *a: seen.append(a[2]))
    styles = model.styles(torch.randn(2, 6)).clone()
    a = model.draw(styles)
    styles[:, 1:] = model.styles(torch.randn(2, 6))[:, 1:]
    b = model.draw(styles)
    torch.testing.assert_close(seen[0], seen[1])
    assert not torch.allclose(a, b)


def test_decoding_stands_still_and_training_noise_does_not():
    model, z = gan(), torch.randn(2, 6)
    model.generator.first.strength.data.fill_(1.0)
    assert torch.equal(model.decode(z), model.decode(z))
    styles = model.styles(z)
    assert not torch.equal(
        model.draw(styles, fresh_noise=True), model.draw(styles, fresh_noise=True)
    )


def test_the_mean_style_is_remembered_with_the_weights():
    model = gan(mixing=0.0)
    before = model.mean_style.clone()
    model.mixed_styles(torch.zeros(64, *SHAPE))
    assert not torch.equal(model.mean_style, before)
    assert "mean_style" in model.state_dict()
    assert any(name.endswith("still") for name in model.state_dict()), "the noise stands still"


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"r1_weight is -1 and mixing 0\.5: they must be ≥ 0 and"):
        gan(r1_weight=-1)
    with pytest.raises(ValueError, match="mixing 2"):
        gan(mixing=2)
