"""VAE: its loss against torch.distributions, its bounds against exact likelihoods."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from latentlab.diagnostics.metrics.importance_sampling import binarized
from latentlab.losses.pixel_likelihood import PixelLikelihood
from latentlab.losses.variational import iwae_bound
from latentlab.models.iwae import IWAE
from latentlab.models.vae import VAE
from latentlab.networks.conv import Conv
from latentlab.networks.mlp import MLP
from models.gradients import assert_same_loss_and_gradients

SCALE = 0.5


class Affine(PixelLikelihood):
    """A Gaussian decoder without the sigmoid: with linear networks, log p(x) is known."""

    def mean(self, outputs):
        return outputs


def linear_gaussian(*, exact: bool):
    """A linear-Gaussian VAE of 4 pixels and 2 latents, images, and their exact log p(x).

    x = W z + b + σ eps, so p(x) = N(b, W Wᵀ + σ² I). The columns of W are orthogonal: the true
    posterior N(M⁻¹ Wᵀ (x − b) / σ², M⁻¹), M = I + WᵀW / σ², is diagonal, and `exact` gives it.
    """
    torch.manual_seed(1)
    model = VAE((1, 2, 2), latent_dim=2, network=MLP([])).double()
    model.likelihood = Affine("gaussian", scale=SCALE).double()
    weight = torch.linalg.qr(torch.randn(4, 2, dtype=torch.float64)).Q * torch.tensor([1.0, 0.6])
    model.decoder[0].weight.data = weight
    bias = model.decoder[0].bias.data
    covariance = weight @ weight.T + SCALE**2 * torch.eye(4)
    px = MultivariateNormal(bias, covariance)
    x = px.sample((6,))
    if exact:
        posterior = 1 / (1 + weight.square().sum(0) / SCALE**2)  # (D,), variances
        to_mu = posterior[:, None] * weight.T / SCALE**2
        layer = model.encoder[1]
        layer.weight.data = torch.cat([to_mu, torch.zeros(2, 4)])
        layer.bias.data = torch.cat([-to_mu @ bias, posterior.log()])
    return model, x.view(6, 1, 2, 2), px.log_prob(x)


@pytest.mark.parametrize("beta", [1.0, 4.0])
@pytest.mark.parametrize("network", [MLP([10]), Conv(width=3)], ids=["MLP", "Conv"])
def test_vae_loss_is_the_elbo_of_torch_distributions(network, beta):
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=3, network=network, beta=beta).double()
    x = (torch.rand(5, 1, 8, 8) > 0.5).double()
    torch.manual_seed(1)
    got = model.training_step((x, None), 0)
    torch.manual_seed(1)
    mu, logvar = model.encoder(x).split(3, 1)
    q = Normal(mu, (0.5 * logvar).exp())
    z = mu + q.stddev * torch.randn_like(mu)
    nll = -Bernoulli(logits=model.decoder(z)).log_prob(x).sum((1, 2, 3)).mean()
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()
    assert_same_loss_and_gradients(model, got["loss"], nll + beta * kl)
    assert got["elbo_nats"].item() == pytest.approx((-nll - kl).item(), rel=1e-5)


def test_vae_elbo_is_below_the_exact_log_likelihood():
    """A 1-d code: p(x) by numerical integration over z on a fine grid."""
    torch.manual_seed(0)
    model = VAE((1, 2, 2), latent_dim=1, network=MLP([6])).double()
    x = (torch.rand(4, 1, 2, 2) > 0.5).double()
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    log_prior = Normal(0.0, 1.0).log_prob(z[:, 0])
    logits = model.decoder(z).detach()
    for image in x:
        log_joint = Bernoulli(logits=logits).log_prob(image).sum((1, 2, 3)) + log_prior
        log_px = float(torch.logsumexp(log_joint, 0) + torch.log(z[1, 0] - z[0, 0]))
        elbo = torch.stack([model.loss(image[None])["elbo_nats"] for _ in range(3000)]).mean()
        assert log_px - 5 < elbo.item() < log_px


def test_with_the_true_posterior_every_weight_is_the_exact_likelihood():
    model, x, log_px = linear_gaussian(exact=True)
    log_w = model.log_weights(x, torch.zeros(6), 7)
    torch.testing.assert_close(log_w, log_px.expand(7, 6))


def test_elbo_is_below_the_iwae_bound_is_below_the_exact_likelihood():
    model, x, log_px = linear_gaussian(exact=False)
    samples = torch.stack([model.log_weights(x, torch.zeros(6), 20) for _ in range(2000)])
    bounds = [samples.mean((0, 1))]  # E log w: the ELBO
    for k in (5, 20):
        parts = samples.flatten(0, 1).unflatten(0, (-1, k)).movedim(1, 0)
        bounds.append(iwae_bound(parts).mean(0))
    elbo, five, twenty = bounds
    assert (elbo + 0.01 < five).all()
    assert (five < twenty).all()
    assert (twenty < log_px).all()
    mu, logvar = model.posterior(x)
    q = Normal(mu, (0.5 * logvar).exp())
    decoder = model.decoder[0].weight
    error = (x - model.decoder(mu)).flatten(1).square().sum(1)
    variance = (logvar.exp() @ decoder.square().sum(0)[:, None]).squeeze(1)
    nll = (error + variance) / (2 * SCALE**2) + 2 * math.log(2 * math.pi * SCALE**2)
    closed = -nll - kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(elbo, closed, atol=0.1, rtol=0.02)


@pytest.mark.parametrize(
    "make", [VAE, partial(VAE, network=Conv()), IWAE], ids=["VAE", "ConvVAE", "IWAE"]
)
def test_one_weight_is_the_one_sample_elbo_of_torch_distributions(make):
    model = make((1, 8, 8), latent_dim=3).eval()
    x = binarized(torch.rand(5, 1, 8, 8), 0)
    torch.manual_seed(1)
    got = model.log_weights(x, torch.zeros(5), 1)[0]
    torch.manual_seed(1)
    mu, logvar = model.posterior(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = mu + q.stddev * torch.randn(1, *mu.shape)[0]
    nll = -Bernoulli(model.decode(z)).log_prob(x).sum((1, 2, 3))
    expected = Normal(0.0, 1.0).log_prob(z).sum(1) - q.log_prob(z).sum(1) - nll
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-4)


def test_dynamic_binarization_samples_the_pixels_again_at_each_use():
    model = VAE((1, 8, 8), latent_dim=2, network=MLP([8]), binarize="dynamic")
    observed = []
    model.likelihood.nll = lambda logits, x: observed.append(x) or logits.flatten(1).sum(1)
    x = torch.rand(4, 1, 8, 8)
    model.loss(x), model.loss(x)
    assert all(set(s.unique().tolist()) == {0.0, 1.0} for s in observed)
    assert not torch.equal(*observed)


def test_the_code_of_an_image_is_the_posterior_mean():
    """The first half of the encoder's outputs; an image is the mean of p(x|z)."""
    model, x = VAE((1, 8, 8), latent_dim=3), torch.rand(4, 1, 8, 8)
    mu = model.encoder(x)[:, :3]
    assert torch.equal(model.encode(x), mu)
    assert torch.equal(model.features(x), mu)
    torch.testing.assert_close(model.decode(mu), model.decoder(mu).sigmoid())


def test_vae_learns_one_scale_or_keeps_the_given_one():
    learned = VAE((1, 8, 8), likelihood="gaussian")
    fixed = VAE((1, 8, 8), likelihood="gaussian", scale=0.2)
    assert learned.likelihood.log_scale.requires_grad
    assert not fixed.likelihood.log_scale.requires_grad
    assert fixed.likelihood.log_scale.exp().item() == pytest.approx(0.2)
    with pytest.raises(ValueError, match=r"scale is -1: .* > 0"):
        VAE((1, 8, 8), likelihood="gaussian", scale=-1)


def test_gaussian_vae_scale_moves_to_the_root_mean_squared_error():
    """For fixed means the likelihood is greatest at σ² = the mean squared error (Rybkin 2021)."""
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=2, network=MLP([8]), likelihood="gaussian")
    x, logits = torch.rand(16, 1, 8, 8), torch.zeros(16, 1, 8, 8)
    optimizer = torch.optim.LBFGS([model.likelihood.log_scale], line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = model.likelihood.nll(logits, x).mean()
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    rmse = float((x - 0.5).square().mean().sqrt())
    assert float(model.likelihood.log_scale.exp().detach()) == pytest.approx(rmse, rel=1e-3)


@pytest.mark.parametrize("network", [MLP([12]), Conv(width=4)], ids=["MLP", "Conv"])
@pytest.mark.parametrize(
    "likelihood", ["bernoulli", "gaussian", "discretized_gaussian", "categorical"]
)
def test_every_network_decodes_every_likelihood(network, likelihood):
    torch.manual_seed(0)
    model = VAE((3, 8, 8), latent_dim=4, network=network, likelihood=likelihood).eval()
    x = torch.rand(5, 3, 8, 8)
    assert model.encode(x).shape == model.features(x).shape == (5, 4)
    images = model.decode(model.encode(x))
    assert images.shape == x.shape
    assert ((images >= 0) & (images <= 1)).all()
    assert model.log_weights(x, torch.zeros(5), 3).shape == (3, 5)
    assert model.loss(x)["loss"].isfinite()


def test_a_negative_beta_is_an_error():
    with pytest.raises(ValueError, match=r"beta is -1\.0"):
        VAE((1, 8, 8), beta=-1.0)


def test_conv_needs_images_that_can_be_halved():
    with pytest.raises(ValueError, match="square images of"):
        VAE((1, 9, 9), network=Conv())
