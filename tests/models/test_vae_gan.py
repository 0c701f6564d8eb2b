"""VAE-GAN: each step against the gradient of its losses."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from latentlab.models.vae_gan import VAEGAN
from models.fixed_randomness import noise_of
from models.lightning_stub import with_trainer
from models.options import OF_OPTIM, every_option
from models.steps import assert_steps, large_weights, prob

SHAPE, TWO_LEVELS = (1, 8, 8), (1, 16, 16)  # D has batch normalization at 16 pixels
WEIGHT = 3.0


def larsen(step):
    """Larsen et al. 2016, algorithm 1. The adversarial loss reaches the decoder only."""
    E, G, D = step.nets.encoder, step.nets.generator, step.nets.discriminator
    x = (step.x + 1) / 2
    mu, logvar = E(x).split(2, 1)
    sigma = logvar.exp().sqrt()
    z = mu + sigma * noise_of(mu)

    def fakes(z):
        """Reconstructions, and samples of the prior."""
        return G(torch.cat([z, noise_of(z)])).sigmoid()

    def units(x):
        h = D.trunk(x).flatten(1)
        centred = h - h.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()

    p_fake = prob(D(fakes(z).detach()))
    yield D, -prob(D(x)).log().mean() - (1 - p_fake).log().mean()
    kl = kl_divergence(Normal(mu, sigma), Normal(0.0, 1.0)).sum(1).mean()
    error = (units(G(z).sigmoid()) - units(x).detach()).square().sum(1).mean() / 2
    adversarial = -prob(D(fakes(z.detach()))).log().mean()
    yield (E, G), kl + error + WEIGHT * adversarial


@every_option(only=OF_OPTIM)
def test_each_step_follows_the_gradient_of_its_own_objective(settings):
    torch.manual_seed(0)
    model = VAEGAN(TWO_LEVELS, latent_dim=2, width=2, adversarial_weight=WEIGHT, **settings)
    assert_steps(model, TWO_LEVELS, larsen)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="adversarial_weight is -1: it must be ≥ 0"):
        VAEGAN(SHAPE, adversarial_weight=-1)


def test_with_a_weight_of_0_the_loss_is_kl_and_feature_loss():
    model = with_trainer(VAEGAN(SHAPE, latent_dim=2, width=2, adversarial_weight=0.0))
    terms = model.training_step((torch.rand(4, *SHAPE), None), 0)
    expected = terms["kl_nats"].item() + terms["feature_loss"].item()
    assert terms["loss"].item() == pytest.approx(expected)


def test_the_code_of_an_image_is_the_posterior_mean():
    model, x = VAEGAN(SHAPE, latent_dim=2, width=2).eval(), torch.rand(4, *SHAPE)
    mu, logvar = model.posterior(x)
    assert torch.equal(torch.cat([mu, logvar], 1), model.encoder(x))
    assert torch.equal(model.encode(x), mu)
    assert torch.equal(model.features(x), mu)


def test_validation_measures_the_features_of_reconstructions_and_d_on_both():
    torch.manual_seed(0)
    model = large_weights(VAEGAN(SHAPE, latent_dim=2, width=2).eval())
    x = torch.rand(4, *SHAPE).double()
    torch.manual_seed(1)
    terms = model.validation_step((x, None), 0)
    torch.manual_seed(1)
    mu, logvar = model.posterior(x)
    z = mu + logvar.exp().sqrt() * torch.randn_like(mu)
    x_hat, x_prior = model.decode(z), model.decode(torch.randn_like(z))
    p_real, p_hat, p_prior = (prob(model.discriminator(each)) for each in (x, x_hat, x_prior))
    d_loss = -p_real.log().mean() - ((1 - p_hat).log().mean() + (1 - p_prior).log().mean()) / 2
    assert terms["d_loss"].item() == pytest.approx(d_loss.item(), rel=1e-4)
    assert terms["d_prob_real"].item() == pytest.approx(p_real.mean().item(), rel=1e-4)
    layers = [torch.layer_norm(model.discriminator.trunk(i).flatten(1), (32,)) for i in (x, x_hat)]
    error = (layers[0] - layers[1]).square().sum() / 4 / 2
    assert terms["feature_loss"].item() == pytest.approx(error.item(), rel=1e-4)
    kl = kl_divergence(Normal(mu, logvar.exp().sqrt()), Normal(0.0, 1.0)).sum(1).mean()
    assert terms["kl_nats"].item() == pytest.approx(kl.item(), rel=1e-4)


def test_generator_and_discriminator_start_as_those_of_dcgan():
    """Radford et al. 2016, section 4: normal weights with standard deviation 0.02."""
    torch.manual_seed(0)
    model = VAEGAN((1, 16, 16), latent_dim=20, width=32)
    for network in (model.generator, model.discriminator):
        weights = [m.weight for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
        weights += [m.weight for m in network.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
        assert weights
        stds = [float(w.detach().std()) for w in weights if w.numel() > 1000]
        assert stds
        assert all(std == pytest.approx(0.02, rel=0.1) for std in stds)
