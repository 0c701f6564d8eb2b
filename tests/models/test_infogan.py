"""InfoGAN: each step against the gradient of its losses, and which part of the code is which."""

import math

import pytest
import torch
from torch.distributions import Normal

from latentlab.models import infogan as module
from latentlab.models.infogan import (
    UNSUPPORTED,
    CodeRecognitionLoss,
    InfoGAN,
    InfoGANCodes,
    InfoGANNetworks,
)
from latentlab.networks.regularization import DiscriminatorRegularization
from latentlab.samplers import ClassConditional, InfoGANPrior
from latentlab.transforms.augmentation import random_affine
from models.fixed_randomness import mirror
from models.lightning_stub import with_trainer
from models.options import every_option
from models.steps import assert_steps, large_weights, prob

SHAPE = (1, 8, 8)
TWO_LEVELS = (1, 16, 16)  # so large that D has batch normalization
LAMBDA_Y, LAMBDA_C = 0.6, 0.3


def infogan(num_categories=3, affine_strength=0.0, noise_scale=1.0):
    torch.manual_seed(0)
    codes = InfoGANCodes(
        num_categories=num_categories, num_continuous=2, noise_dim=4, noise_scale=noise_scale
    )
    return InfoGAN(
        SHAPE,
        prior=InfoGANPrior(),
        codes=codes,
        networks=InfoGANNetworks(width=4),
        recognition=CodeRecognitionLoss(affine_strength=affine_strength),
    )


def chen(step):
    """Chen et al. 2016, eqs. 5 and 6. z has 4 values of noise, 2 continuous codes, 3 categories."""
    G, heads = step.nets.generator, step.nets.discriminator
    z, K = step.codes(), 3
    noise, c, y = z[:, :4], z[:, 4:6], z[:, 6:]
    x_fake = G(torch.cat([0.5 * noise, c, y], 1)).tanh()

    def D(x):
        return heads["D"](heads["body"](x))[:, 0]

    def information(x):
        """λ_y L(y) + λ_c L(c); Q gets y from a mirrored image, with the strength 0.2."""
        q_y = heads["Q"](heads["body"](mirror(x, 0.2)))[:, :K].softmax(1)
        mu, logvar = heads["Q"](heads["body"](x))[:, K:].split(2, 1)
        q_c = Normal(mu, logvar.clip(-6, 2).exp().sqrt())
        l_y = math.log(K) + (q_y * y).sum(1).log().mean()
        l_c = 2 * math.log(2) + q_c.log_prob(c).sum(1).mean()
        return LAMBDA_Y * l_y + LAMBDA_C * l_c

    real, fake = step.view(step.x), step.view(x_fake.detach())
    loss = step.cross_entropy(prob(D(real)), prob(D(fake)))
    yield heads, loss - information(fake) + step.r1(D, real)
    fake = step.view(x_fake)
    yield G, -prob(D(fake)).log().mean() - information(fake)


@every_option(UNSUPPORTED)
def test_each_step_follows_the_gradient_of_its_own_objective(settings, monkeypatch):
    monkeypatch.setattr(module, "random_affine", mirror)
    torch.manual_seed(0)
    model = InfoGAN(
        TWO_LEVELS,
        prior=InfoGANPrior(),
        codes=InfoGANCodes(num_categories=3, num_continuous=2, noise_dim=4, noise_scale=0.5),
        networks=InfoGANNetworks(width=4, generator_hidden=6, shared_hidden=8),
        recognition=CodeRecognitionLoss((LAMBDA_Y, LAMBDA_C), affine_strength=0.2),
        **settings,
    )
    assert_steps(model, TWO_LEVELS, chen)


def test_regularization_of_the_discriminator_leaves_q_alone():
    """Only the slope of D is bounded, and what Q reads does not depend on the other images."""
    options = DiscriminatorRegularization(spectral_norm=True, minibatch_stddev=True)
    torch.manual_seed(0)
    model = InfoGAN(SHAPE, prior=InfoGANPrior(), regularization=options).eval()
    parts = model.discriminator
    normed = {name for name, layer in parts.named_modules() if hasattr(layer, "parametrizations")}
    assert {name.split(".")[0] for name in normed} == {"body", "D"}
    with torch.no_grad():
        parts["D"][1].parametrizations.weight.original[:, -1] = 3.0  # the column starts at 0
    x = torch.rand(8, *SHAPE)
    for alone, among in zip(model.recognize(x[:1]), model.recognize(x), strict=True):
        torch.testing.assert_close(alone, among[:1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model.real_logits(x[:1], None), model.real_logits(x, None)[:1])


def test_mutual_information_reads_each_code_at_its_place():
    model = infogan()
    z = model.prior.sample((40, model.latent_dim), torch.Generator().manual_seed(0))
    sigma = 0.25
    logvar = torch.full((40, 2), 2 * math.log(sigma))
    mi_y, mi_c = model.mutual_information(torch.cat([50 * z[:, -3:], z[:, 4:6], logvar], 1), z)
    assert float(mi_y) == pytest.approx(math.log(3), rel=1e-5)
    log_density = -math.log(sigma * (2 * math.pi) ** 0.5)  # of each normal density at its mean c
    assert float(mi_c) == pytest.approx(2 * (math.log(2) + log_density), rel=1e-5)


@pytest.mark.parametrize(("logvar", "sigma"), [(-20.0, math.exp(-3)), (20.0, math.e)])
def test_the_standard_deviation_of_q_stays_between_e_to_the_minus_3_and_e(logvar, sigma):
    model = infogan()
    z = model.prior.sample((40, model.latent_dim), torch.Generator().manual_seed(0))
    q = torch.cat([z[:, -3:], z[:, 4:6], torch.full((40, 2), logvar)], 1)
    log_density = -math.log(sigma * (2 * math.pi) ** 0.5)  # at the mean
    expected = 2 * (math.log(2) + log_density)
    assert float(model.mutual_information(q, z)[1]) == pytest.approx(expected, rel=1e-5)


def test_both_heads_read_one_shared_layer():
    """Feature maps → shared layer → D; shared layer → 128 units → Q. All hidden: LeakyReLU(0.2)."""
    model = large_weights(infogan()).eval()
    x = 2 * torch.rand(5, *SHAPE).double() - 1
    body, Q = model.discriminator["body"], model.discriminator["Q"]

    def hidden(layers, h):
        linear, norm, _ = layers
        h = norm(linear(h))
        return torch.maximum(h, 0.2 * h)

    shared = hidden(body.head, body.trunk(x).permute(0, 2, 3, 1).reshape(5, -1))
    logits, q = model.heads(x)
    torch.testing.assert_close(logits, model.discriminator["D"](shared)[:, 0])
    torch.testing.assert_close(q, Q[1](hidden(Q[0], shared)))


def test_each_step_updates_its_own_network():
    model = with_trainer(infogan(num_categories=10))
    for group in model.optimizers()[1].param_groups:
        group["lr"] = 0.0
    before = {name: value.clone() for name, value in model.named_parameters()}
    terms = model.training_step((torch.rand(16, *SHAPE), None), 0)
    changed = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert changed
    assert all(name.startswith("generator") for name in changed)
    assert terms["mi_categorical_nats"].item() < math.log(10)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_curves_have_each_information_under_its_name():
    model = with_trainer(infogan())
    for optimizer in model.optimizers():
        optimizer.param_groups[0]["lr"] = 0.0
    x = torch.rand(16, *SHAPE)
    torch.manual_seed(1)
    terms = model.training_step((x, None), 0)
    torch.manual_seed(1)
    z = model.sample_prior(x)
    mi_y, mi_c = model.mutual_information(model.heads(model.generate(z))[1], z)
    assert terms["mi_categorical_nats"].item() == pytest.approx(mi_y.item(), rel=1e-4)
    assert terms["mi_continuous_nats"].item() == pytest.approx(mi_c.item(), rel=1e-4)


def test_recognition_reads_an_image_in_the_range_of_training():
    model, x = infogan().eval(), torch.rand(5, *SHAPE)
    logits, means = model.recognize(x)
    q = model.discriminator["Q"](model.discriminator["body"](2 * x - 1))
    torch.testing.assert_close(torch.cat([logits, means], 1), q[:, :5])


def test_q_reads_the_category_from_the_mapped_image_and_the_continuous_codes_from_the_image():
    model = infogan(affine_strength=0.3).eval()
    x = 2 * torch.rand(5, *SHAPE) - 1
    logits, q = model.heads(x)
    torch.manual_seed(1)
    training_logits, training_q = model.training_heads(x)
    torch.manual_seed(1)
    mapped_q = model.heads(random_affine(x, 0.3))[1]
    torch.testing.assert_close(training_logits, logits)
    torch.testing.assert_close(training_q, torch.cat([mapped_q[:, :3], q[:, 3:]], 1))
    assert not torch.equal(mapped_q[:, :3], q[:, :3])
    plain = infogan(affine_strength=0.0).eval()
    torch.testing.assert_close(plain.training_heads(x)[1], plain.heads(x)[1])


def test_noise_scale_multiplies_the_noise_only():
    plain, scaled = infogan().eval(), infogan(noise_scale=0.25).eval()
    scaled.load_state_dict(plain.state_dict())
    z = plain.prior.sample((6, plain.latent_dim))
    expected = plain.decode(torch.cat([0.25 * z[:, :4], z[:, 4:]], 1))
    torch.testing.assert_close(scaled.decode(z), expected)


@pytest.mark.parametrize("num_continuous", [0, 1, 3])
def test_q_has_a_logit_for_each_category_and_a_mean_and_a_variance_for_each_continuous_code(
    num_continuous,
):
    torch.manual_seed(0)
    codes = InfoGANCodes(num_categories=2, num_continuous=num_continuous, noise_dim=4)
    model = InfoGAN(SHAPE, prior=InfoGANPrior(), codes=codes, networks=InfoGANNetworks(width=4))
    x = torch.rand(5, *SHAPE)
    assert model.latent_dim == 4 + num_continuous + 2
    assert model.heads(x)[1].shape == (5, 2 + 2 * num_continuous)
    assert [part.shape for part in model.recognize(x)] == [(5, 2), (5, num_continuous)]
    terms = with_trainer(model).training_step((x, None), 0)
    assert all(value.isfinite() for value in terms.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"affine_strength": -0.1},
        {"affine_strength": 1.0},
        {"noise_scale": 0.0},
        {"noise_scale": -0.5},
    ],
)
def test_invalid_strengths_and_scales_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is .* must be"):
        infogan(**settings)


def test_one_category_and_a_sampler_without_categories_are_refused():
    with pytest.raises(ValueError, match="at least 2 categories"):
        infogan(num_categories=1)
    with pytest.raises(ValueError, match="0 continuous codes are allowed"):
        InfoGANCodes(num_continuous=-1)
    with pytest.raises(ValueError, match=r"class_path to latentlab\.samplers\.InfoGANPrior"):
        InfoGAN(SHAPE, prior=ClassConditional())


def test_logits_are_those_of_images_from_minus_1_to_1():
    model, x = infogan(), torch.rand(16, *SHAPE)
    z = model.prior.sample((16, model.latent_dim), torch.Generator().manual_seed(0))
    real, fake = model.real_logits(x, None), model.fake_logits(z)
    assert real.shape == fake.shape == (16,)
    torch.testing.assert_close(real, model.batch_heads(2 * x - 1)[0])
    torch.testing.assert_close(fake, model.batch_heads(2 * model.decode(z) - 1)[0])


def test_both_losses_have_the_information_subtracted():
    model, x = infogan(), torch.rand(16, *SHAPE)
    z = model.prior.sample((16, model.latent_dim), torch.Generator().manual_seed(0))
    d_loss, g_loss = model.adversarial_losses(x, None, z)
    _, q = model.batch_heads(model.generate(z))
    weights = model.recognition.mi_weights
    information = sum(w * mi for w, mi in zip(weights, model.mutual_information(q, z), strict=True))
    d, g = prob(model.real_logits(x, None)), prob(model.fake_logits(z))
    expected = -(d.log().mean() + (1 - g).log().mean()) - information
    torch.testing.assert_close(d_loss, expected)
    torch.testing.assert_close(g_loss, -g.log().mean() - information)
