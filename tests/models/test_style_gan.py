"""StyleGAN: styles, truncation, noise and settings."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.models.style_gan import StyleGAN
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal

SHAPE = (1, 8, 8)


def gan(**settings):
    torch.manual_seed(0)
    return StyleGAN(SHAPE, prior=StandardNormal(), latent_dim=6, width=4, **settings).eval()


def test_truncation_moves_the_styles_to_the_mean_style():
    model, z = gan(), torch.randn(4, 6)
    model.mean_style += torch.randn(6)
    full, half, none = (model.styles(z, truncation=psi)[:, 0] for psi in (1.0, 0.5, 0.0))
    torch.testing.assert_close(full, model.mapping(z))
    torch.testing.assert_close(half, (full + model.mean_style) / 2)
    torch.testing.assert_close(none, model.mean_style.expand(4, -1))


def test_fine_styles_do_not_change_the_coarse_feature_maps():
    model, maps = gan(), []
    model.generator.first.register_forward_hook(lambda *a: maps.append(a[2]))
    styles = model.styles(torch.randn(2, 6)).clone()
    a = model.synthesize(styles)
    styles[:, 1:] = model.styles(torch.randn(2, 6))[:, 1:]
    b = model.synthesize(styles)
    torch.testing.assert_close(maps[0], maps[1])
    assert not torch.allclose(a, b)


def test_the_noise_is_constant_in_decoding_and_new_in_training():
    model, z = gan(), torch.randn(2, 6)
    model.generator.first.strength.data.fill_(1.0)
    assert torch.equal(model.decode(z), model.decode(z))
    styles = model.styles(z)
    assert not torch.equal(
        model.synthesize(styles, fresh_noise=True), model.synthesize(styles, fresh_noise=True)
    )


def test_mean_style_and_constant_noise_are_stored_with_the_weights():
    model = gan(style_mixing_prob=0.0)
    before = model.mean_style.clone()
    model.mixed_styles(torch.zeros(64, *SHAPE))
    assert not torch.equal(model.mean_style, before)
    assert "mean_style" in model.state_dict()
    assert any(name.endswith("constant_noise") for name in model.state_dict())


def test_the_mapping_network_has_a_tenth_of_the_learning_rate():
    model = gan(optim=AdversarialOptim(generator_lr=2e-3, discriminator_lr=3e-3))
    model._trainer = SimpleNamespace(estimated_stepping_batches=10)
    (opt_g, opt_d), _ = model.configure_optimizers()
    assert [group["lr"] for group in opt_g.param_groups] == pytest.approx([2e-3, 2e-4])
    assert opt_g.param_groups[1]["params"] == list(model.mapping.parameters())
    assert [group["lr"] for group in opt_d.param_groups] == [3e-3]


def test_r1_is_on_by_default_at_every_16th_step():
    assert gan().regularization.r1_gamma == 1.0
    assert [step for step in range(40) if gan().regularization.has_r1(step)] == [0, 16, 32]


def test_invalid_settings_are_refused():
    with pytest.raises(ValueError, match="r1_gamma is -1: it must be ≥ 0"):
        gan(regularization=DiscriminatorRegularization(r1_gamma=-1))
    with pytest.raises(ValueError, match=r"style_mixing_prob is 2: it must be in \[0, 1\]"):
        gan(style_mixing_prob=2)
