"""Bounds against exact likelihoods; who is trained by what; symbols and classes in codes."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence
from torch.optim import SGD

from latentlab.losses.pixels import PixelLikelihood
from latentlab.losses.variational import draw_weighted, iwae_bound
from latentlab.metrics import importance
from latentlab.metrics.importance import binarized, log_likelihood
from latentlab.models.adversarial_ae import AdversarialAE
from latentlab.models.conditional_vae import ConditionalVAE
from latentlab.models.conv_vae import ConvVAE
from latentlab.models.iwae import IWAE
from latentlab.models.vae import VAE
from latentlab.models.vae_gan import VAEGAN
from latentlab.models.vq_vae import VQVAE
from latentlab.priors import Conditional, StandardNormal

SCALE = 0.5


class Affine(PixelLikelihood):
    """A Gaussian decoder without the sigmoid: with linear networks, log p(x) is known."""

    def mean(self, outputs):
        return outputs


def linear_gaussian(*, exact: bool):
    """A linear-Gaussian VAE of 4 pixels and 2 codes, images, and their exact log p(x).

    x = W z + b + σ eps, so p(x) = N(b, W Wᵀ + σ² I). The columns of W are orthogonal: the true
    posterior N(M⁻¹ Wᵀ (x − b) / σ², M⁻¹), M = I + WᵀW / σ², is diagonal, and `exact` gives it.
    """
    torch.manual_seed(1)
    model = VAE((1, 2, 2), latent_dim=2, hidden=[]).double()
    model.pixels = Affine("gaussian", scale=SCALE).double()
    weight = torch.linalg.qr(torch.randn(4, 2, dtype=torch.float64)).Q * torch.tensor([1.0, 0.6])
    model.decoder[0].weight.data = weight
    bias = model.decoder[0].bias.data
    covariance = weight @ weight.T + SCALE**2 * torch.eye(4)
    px = MultivariateNormal(bias, covariance)
    x = px.sample((6,))
    if exact:
        posterior = 1 / (1 + weight.square().sum(0) / SCALE**2)  # (D,), variances
        to_mu = posterior[:, None] * weight.T / SCALE**2
        layer = model.encoder[0]
        layer.weight.data = torch.cat([to_mu, torch.zeros(2, 4)])
        layer.bias.data = torch.cat([-to_mu @ bias, posterior.log()])
    return model, x.view(6, 1, 2, 2), px.log_prob(x)


def test_with_the_true_posterior_every_weight_is_the_exact_likelihood():
    model, x, log_px = linear_gaussian(exact=True)
    log_w = model.log_weights(x, torch.zeros(6), 7)
    torch.testing.assert_close(log_w, log_px.expand(7, 6))


def test_elbo_is_below_the_iwae_bound_is_below_the_exact_likelihood():
    model, x, log_px = linear_gaussian(exact=False)
    draws = torch.stack([model.log_weights(x, torch.zeros(6), 20) for _ in range(2000)])
    bounds = [draws.mean((0, 1))]  # E log w: the ELBO
    for k in (5, 20):
        parts = draws.flatten(0, 1).unflatten(0, (-1, k)).movedim(1, 0)
        bounds.append(iwae_bound(parts).mean(0))
    elbo, five, twenty = bounds
    assert (elbo + 0.01 < five).all()
    assert (five < twenty).all()
    assert (twenty < log_px).all()
    mu, logvar = model.posterior(x)
    q = Normal(mu, (0.5 * logvar).exp())
    decoder = model.decoder[0].weight
    error = (x.flatten(1) - model.decoder(mu)).square().sum(1)
    spread = (logvar.exp() @ decoder.square().sum(0)[:, None]).squeeze(1)
    nll = (error + spread) / (2 * SCALE**2) + 2 * math.log(2 * math.pi * SCALE**2)
    closed = -nll - kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(elbo, closed, atol=0.1, rtol=0.02)


def test_importance_sampling_converges_to_the_exact_likelihood(monkeypatch):
    model, x, log_px = linear_gaussian(exact=False)
    found, elbo = log_likelihood(model, x, torch.zeros(6), samples=40_000, seed=0)
    torch.testing.assert_close(found, log_px, atol=0.05, rtol=0)
    assert (elbo < found).all()
    widest, inner = [], model.log_weights
    monkeypatch.setattr(importance, "LARGEST", 400)
    model.log_weights = lambda x, y, s: widest.append(len(x) * s * 4) or inner(x, y, s)
    again, _ = log_likelihood(model, x, torch.zeros(6), samples=3000, seed=1)
    torch.testing.assert_close(again, log_px, atol=0.3, rtol=0)
    assert max(widest) <= 400


def test_memory_of_importance_sampling_counts_what_the_decoder_puts_out():
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=2, hidden=[8], likelihood="categorical").eval()
    sizes = []
    model.decoder.register_forward_hook(lambda _, inputs, made: sizes.append(made.numel()))
    log_likelihood(model, torch.rand(6, 1, 8, 8), torch.zeros(6), samples=2000, seed=0)
    assert sum(sizes) == 6 * 2000 * 64 * 8
    assert max(sizes) <= 2**21


def test_weights_of_drawn_codes_are_prior_over_posterior():
    mu, logvar = torch.randn(5, 3), torch.randn(5, 3)
    z, log_ratio = draw_weighted(mu, logvar, 4)
    prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    posterior = Normal(mu, (0.5 * logvar).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(log_ratio, prior - posterior, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [VAE, ConvVAE, IWAE])
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


def test_iwae_of_one_code_has_the_elbo_as_loss_and_more_codes_a_smaller_one():
    torch.manual_seed(0)
    model = IWAE((1, 2, 2), samples=1, latent_dim=2, hidden=[6]).double()
    x = binarized(torch.rand(400, 1, 2, 2, dtype=torch.float64), 0)
    mu, logvar = model.posterior(x)
    kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1).mean()
    with torch.no_grad():
        one = model.loss((x, x))
    assert float(one["loss"]) == -float(one["elbo_nats"]) == -float(one["iwae_nats"])
    z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
    nll = -Bernoulli(model.decode(z)).log_prob(x).sum((1, 2, 3)).mean()
    assert float(one["elbo_nats"]) == pytest.approx(float((-nll - kl).detach()), abs=0.1)
    model.samples = 50
    with torch.no_grad():
        assert float(model.loss((x, x))["loss"]) < float(one["loss"])


def test_dynamic_binarization_draws_the_pixels_anew_at_each_use():
    model = VAE((1, 8, 8), latent_dim=2, hidden=[8], binarize="dynamic")
    seen = []
    model.pixels.nll = lambda logits, x: seen.append(x) or logits.flatten(1).sum(1)
    x = torch.rand(4, 1, 8, 8)
    model.loss(x), model.loss(x)
    assert all(set(s.unique().tolist()) == {0.0, 1.0} for s in seen)
    assert not torch.equal(*seen)


def test_conditional_vae_weights_give_the_likelihood_of_the_image_given_its_class():
    torch.manual_seed(0)
    model = ConditionalVAE((1, 2, 2), 3, noise_dim=1, hidden=[6]).double()
    x, y = binarized(torch.rand(6, 1, 2, 2, dtype=torch.float64), 0), torch.arange(6) % 3
    grid = torch.linspace(-8, 8, 2001, dtype=torch.float64)[:, None]
    found, elbo = log_likelihood(model, x, y, samples=4000, seed=0)
    for i in range(6):
        codes = torch.cat([grid, F.one_hot(y[i], 3).expand(2001, 3)], 1)
        log_joint = Bernoulli(model.decode(codes)).log_prob(x[i]).sum((1, 2, 3))
        log_joint = log_joint + Normal(0.0, 1.0).log_prob(grid[:, 0])
        log_px = float(torch.logsumexp(log_joint.detach(), 0) + math.log(16 / 2000))
        assert float(found[i]) == pytest.approx(log_px, abs=0.02)
        assert float(elbo[i]) < log_px


def test_conditional_vae_gives_an_image_the_class_of_the_best_bound():
    torch.manual_seed(0)
    model = ConditionalVAE((1, 8, 8), 4, noise_dim=3, hidden=[16])
    x = torch.rand(5, 1, 8, 8)
    z = model.encode(x)
    assert z.shape == (5, 7)
    bounds = torch.empty(5, 4)
    for label in range(4):
        y = torch.full((5,), label)
        mu, logvar = model.posterior_given(x, y)
        logits = model.decode_logits(torch.cat([mu, F.one_hot(y, 4).float()], 1))
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
        kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
        bounds[:, label] = -nll - kl
    assert torch.equal(z[:, 3:].argmax(1), bounds.argmax(1))
    assert torch.equal(z[:, 3:].sum(1), torch.ones(5))
    assert model.features(x).shape == (5, 3)


@pytest.mark.parametrize("classes", [0, 1])
def test_a_conditional_vae_without_labels_is_refused(classes):
    with pytest.raises(ValueError, match="needs labels of 2 classes or more"):
        ConditionalVAE((1, 8, 8), classes)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: VAE((1, 8, 8), beta=-1.0), "beta is -1.0"),
        (lambda: ConvVAE((1, 8, 8), beta=-1.0), "beta is -1.0"),
        (lambda: IWAE((1, 8, 8), samples=0), "samples is 0"),
        (lambda: VQVAE((1, 8, 8), symbols=1), "must be ≥ 2"),
        (lambda: VAEGAN((1, 8, 8), game_weight=-1), "must be ≥ 0"),
        (
            lambda: AdversarialAE((1, 8, 8), prior=StandardNormal(), adversarial_weight=0),
            "must be > 0",
        ),
        (lambda: ConvVAE((1, 9, 9)), "square images of"),
    ],
)
def test_impossible_settings_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def descend(model, *groups):
    """Plain gradient descent with rate 1 as the model's optimizers: a step is −gradient."""
    model.optimizers = lambda: [SGD(group, lr=1.0) for group in groups]
    model.manual_backward = lambda loss: loss.backward()
    model._trainer = SimpleNamespace(lr_scheduler_configs=[])
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def moved(model, before, part):
    return [before[n] - p.detach() for n, p in model.named_parameters() if n.startswith(part)]


def test_adversarial_ae_moves_each_player_along_its_own_objective():
    torch.manual_seed(0)
    prior = StandardNormal()
    model = AdversarialAE((1, 2, 2), prior=prior, latent_dim=2, hidden=[5], critic=[4]).double()
    prior.sample = lambda shape: torch.ones(shape, dtype=torch.float64)
    x = torch.rand(6, 1, 2, 2, dtype=torch.float64)
    autoencoder = [*model.encoder.parameters(), *model.decoder.parameters()]
    critic = list(model.discriminator.parameters())
    z = model.encode(x)
    d_real = model.discriminator(torch.ones(6, 2, dtype=torch.float64)).sigmoid()
    d_loss = -d_real.log().mean() - (1 - model.discriminator(z).sigmoid()).log().mean()
    of_critic = torch.autograd.grad(d_loss, critic)
    before = descend(model, autoencoder, critic)
    model.training_step((x, None), 0)
    for step, gradient in zip(moved(model, before, "disc"), of_critic, strict=True):
        torch.testing.assert_close(step, gradient)
    after = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model.load_state_dict(before | {n: p for n, p in after.items() if n.startswith("disc")})
    z = model.encode(x)
    bce = F.binary_cross_entropy(model.decode(z), x, reduction="none").sum((1, 2, 3)).mean()
    game = -10.0 * model.discriminator(z).sigmoid().log().mean()
    expected = torch.autograd.grad(bce + game, autoencoder)
    steps = [before[n] - after[n] for n in before if n.startswith(("encoder", "decoder"))]
    for step, gradient in zip(steps, expected, strict=True):
        torch.testing.assert_close(step, gradient)


def test_vae_gan_encoder_does_not_see_the_game_and_the_decoder_does():
    torch.manual_seed(0)
    model = VAEGAN((1, 8, 8), latent_dim=2, width=2, game_weight=3.0).double().eval()
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    vae = [*model.encoder.parameters(), *model.generator.parameters()]
    before = descend(model, vae, list(model.discriminator.parameters()))
    torch.manual_seed(5)
    model.training_step((x, None), 0)
    after = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    judge = {n: p for n, p in after.items() if n.startswith("disc")}
    model.load_state_dict(before | judge, strict=False)
    torch.manual_seed(5)
    mu, logvar = model.posterior(x)
    z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
    x_hat, x_prior = model.decode(z), model.decode(torch.randn_like(z))
    kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1).mean()
    seen = [model.discriminator.trunk(images).flatten(1) for images in (x, x_hat)]
    real, made = ((s - s.mean(1, True)) / (s.var(1, False, True) + 1e-5).sqrt() for s in seen)
    like = 0.5 * (real.detach() - made).square().sum(1).mean()
    fooled = torch.cat([model.discriminator(x_hat), model.discriminator(x_prior)]).sigmoid()
    encoder, generator = model.encoder.parameters(), model.generator.parameters()
    of_encoder = torch.autograd.grad(kl + like, encoder, retain_graph=True)
    of_decoder = torch.autograd.grad(like - 3.0 * fooled.log().mean(), generator)
    for part, expected in (("encoder", of_encoder), ("generator", of_decoder)):
        steps = [before[n] - after[n] for n in before if n.startswith(part)]
        for step, gradient in zip(steps, expected, strict=True):
            torch.testing.assert_close(step, gradient)


def test_vq_vae_names_the_nearest_vector_and_decodes_from_it():
    torch.manual_seed(0)
    model = VQVAE((1, 8, 8), symbols=7, depth=3, width=4).eval()
    maps = torch.randn(5, 3, 4, 4)
    distance = torch.cdist(maps.movedim(1, 3).reshape(-1, 3), model.book)
    symbols = model.quantize(maps)
    assert torch.equal(symbols.flatten(), distance.argmin(1))
    vectors = model.look_up(symbols)
    assert torch.equal(vectors[2, :, 1, 3], model.book[symbols[2, 1 * 4 + 3]])
    x = torch.rand(2, 1, 8, 8)
    codes = model.encode(x)
    assert torch.equal(model.decode(codes), model.decode(codes + 0.3))
    assert model.features(x).shape == (2, 16 * 3)


def test_between_two_codes_vq_vae_takes_the_symbols_nearest_to_the_line_of_their_vectors():
    model = VQVAE((1, 8, 8), symbols=3, depth=2, width=4)
    with torch.no_grad():
        model.book.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [4.0, 1.0]]))
    a, b = torch.zeros(1, model.latent_dim), torch.ones(1, model.latent_dim)
    way = [float(model.mix(a, b, share).unique()) for share in (0, 0.1, 0.4, 0.6, 0.9, 1)]
    assert way == [0, 0, 2, 2, 1, 1]  # over the third, which no number between 0 and 1 names


def test_vq_vae_passes_the_decoders_gradient_straight_through():
    torch.manual_seed(0)
    model = VQVAE((1, 8, 8), symbols=5, depth=3, width=4, commitment=0.5).double().eval()
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    z_e = model.encoder(x).detach().requires_grad_(True)
    del model.encoder
    model.encoder = lambda images: z_e
    loss = model.loss(x)
    got, of_book = torch.autograd.grad(loss["loss"], [z_e, model.book])
    e_s = model.look_up(model.quantize(z_e)).detach().requires_grad_(True)
    x_hat = model.decoder(e_s).sigmoid()
    nll = F.binary_cross_entropy(x_hat, x, reduction="none").sum((1, 2, 3)).mean()
    expected = torch.autograd.grad(nll, e_s)[0] + 0.5 * 2 * (z_e - e_s) / 4
    torch.testing.assert_close(got, expected.detach())
    pull = torch.zeros_like(of_book)
    places = (2 * (e_s - z_e) / 4).movedim(1, 3).reshape(-1, 3).detach()
    torch.testing.assert_close(of_book, pull.index_add(0, model.quantize(z_e).flatten(), places))


def test_vq_vae_perplexity_counts_symbols_in_even_use():
    model = VQVAE((1, 8, 8), symbols=6, depth=2, width=4).eval()
    maps = torch.zeros(3, 2, 4, 4)
    del model.encoder
    model.encoder = lambda images: maps
    assert float(model.loss(torch.rand(3, 1, 8, 8))["perplexity"].detach()) == pytest.approx(1)
    model.book.data = torch.tensor([[float(k), 0.0] for k in range(6)])
    maps = maps.flatten(1).copy_((torch.arange(32) % 16 % 4).float()).view(3, 2, 4, 4)
    maps[:, 1] = 0
    assert float(model.loss(torch.rand(3, 1, 8, 8))["perplexity"].detach()) == pytest.approx(4)


def test_a_conditional_vae_tells_its_sampler_the_classes_and_refuses_one_without():
    prior = Conditional()
    model = ConditionalVAE((1, 8, 8), 3, prior=prior, noise_dim=4)
    z = prior.sample((50, model.latent_dim))
    assert torch.equal(z[:, 4:].sum(1), torch.ones(50))
    with pytest.raises(ValueError, match="StandardNormal, which draws no classes"):
        ConditionalVAE((1, 8, 8), 3, prior=StandardNormal())
