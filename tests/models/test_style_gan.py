"""StyleGAN: each step against the gradient of its losses; styles, truncation, noise, settings."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.models.style_gan import UNSUPPORTED, StyleGAN
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal
from models.options import RATES, every_option
from models.steps import assert_steps, prob

SHAPE = (1, 8, 8)
TWO_LEVELS = (1, 16, 16)  # five blocks, each with its own style


def gan(**settings):
    torch.manual_seed(0)
    return StyleGAN(SHAPE, prior=StandardNormal(), latent_dim=6, width=4, **settings).eval()


def karras(mixing):
    """Non-saturating losses; with `mixing` the last block has the styles of a second code."""

    def algorithm(step):
        G, D, f = step.nets.generator, step.nets.discriminator, step.nets.mapping
        w = f(step.codes())
        step.nets.mean_style.copy_(0.995 * step.nets.mean_style + 0.005 * w.detach().mean(0))
        last = f(step.codes()) if mixing else w
        x_fake = G(torch.stack([w, w, w, w, last], 1), fresh_noise=True).tanh()
        real, fake = step.view(step.x), step.view(x_fake.detach())
        yield D, step.cross_entropy(prob(D(real)), prob(D(fake))) + step.r1(D, real)
        yield {G: 1.0, f: 0.1}, -prob(D(step.view(x_fake))).log().mean()

    return algorithm


def assert_style_steps(*, mixing, **settings):
    torch.manual_seed(0)
    sizes = {"latent_dim": 6, "width": 4, "style_mixing_prob": 0.3 if mixing else 0.0}
    model = StyleGAN(TWO_LEVELS, prior=StandardNormal(), **sizes, **settings)
    reference = assert_steps(model, TWO_LEVELS, karras(mixing))
    torch.testing.assert_close(model.mean_style, reference.nets.mean_style)


@every_option(UNSUPPORTED)
def test_each_step_follows_the_gradient_of_its_own_objective(settings):
    assert_style_steps(mixing=True, **settings)


def test_without_mixing_all_blocks_have_the_style_of_one_code():
    assert_style_steps(mixing=False, optim=AdversarialOptim(**RATES))


def test_truncation_moves_the_styles_to_the_mean_style():
    model, z = gan(), torch.randn(4, 6)
    model.mean_style += torch.randn(6)
    full, half, none = (model.styles(z, truncation=psi)[:, 0] for psi in (1.0, 0.5, 0.0))
    torch.testing.assert_close(full, model.mapping(z))
    torch.testing.assert_close(half, (full + model.mean_style) / 2)
    torch.testing.assert_close(none, model.mean_style.expand(4, -1))


def test_mixed_styles_change_at_every_block_but_the_first():
    model, crossovers = gan(style_mixing_prob=1.0), []
    for _ in range(60):
        styles = model.mixed_styles(torch.zeros(1, *SHAPE))[0]
        crossovers.append(int((styles == styles[0]).all(1).sum()))
    assert set(crossovers) == {1, 2}, "of three blocks"


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
    with pytest.raises(ValueError, match=r"style_mixing_prob is -0.5: it must be in \[0, 1\]"):
        gan(style_mixing_prob=-0.5)
    assert gan(style_mixing_prob=1.0).style_mixing_prob == 1.0


def test_logits_are_those_of_images_from_minus_1_to_1():
    model, x, z = gan(), torch.rand(4, *SHAPE), torch.randn(4, 6)
    torch.testing.assert_close(model.real_logits(x, None), model.discriminator(2 * x - 1))
    x_fake = model.generator(model.styles(z), fresh_noise=False).tanh()
    torch.testing.assert_close(model.fake_logits(z), model.discriminator(x_fake))


def test_features_are_those_of_images_from_minus_1_to_1():
    model, x = gan(), torch.rand(4, *SHAPE)
    expected = model.discriminator.features(2 * x - 1)
    torch.testing.assert_close(model.features(x), expected)
