"""The gradients of a VAE-GAN's encoder and decoder against plain PyTorch."""

from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.optim import SGD

from latentlab.models.vae_gan import VAEGAN


def use_gradient_descent(model, *groups):
    """Make every step equal to −gradient. Return a copy of the weights."""
    model.optimizers = lambda: [SGD(group, lr=1.0) for group in groups]
    model.manual_backward = lambda loss: loss.backward()
    model._trainer = SimpleNamespace(
        lr_scheduler_configs=[], fit_loop=SimpleNamespace(total_batch_idx=0)
    )
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_the_adversarial_loss_reaches_the_decoder_but_not_the_encoder():
    torch.manual_seed(0)
    model = VAEGAN((1, 8, 8), latent_dim=2, width=2, adversarial_weight=3.0).double().eval()
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    vae = [*model.encoder.parameters(), *model.generator.parameters()]
    before = use_gradient_descent(model, vae, list(model.discriminator.parameters()))
    torch.manual_seed(5)
    model.training_step((x, None), 0)
    after = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    discriminator = {n: p for n, p in after.items() if n.startswith("discriminator")}
    model.load_state_dict(before | discriminator, strict=False)
    torch.manual_seed(5)
    mu, logvar = model.posterior(x)
    z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
    x_hat, x_prior = model.decode(z), model.decode(torch.randn_like(z))
    kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1).mean()
    layers = [model.discriminator.trunk(images).flatten(1) for images in (x, x_hat)]
    real, fake = ((h - h.mean(1, True)) / (h.var(1, False, True) + 1e-5).sqrt() for h in layers)
    feature_loss = 0.5 * (real.detach() - fake).square().sum(1).mean()
    p_fake = torch.cat([model.discriminator(x_hat), model.discriminator(x_prior)]).sigmoid()
    encoder, generator = model.encoder.parameters(), model.generator.parameters()
    of_encoder = torch.autograd.grad(kl + feature_loss, encoder, retain_graph=True)
    of_decoder = torch.autograd.grad(feature_loss - 3.0 * p_fake.log().mean(), generator)
    for part, expected in (("encoder", of_encoder), ("generator", of_decoder)):
        steps = [before[n] - after[n] for n in before if n.startswith(part)]
        for step, gradient in zip(steps, expected, strict=True):
            torch.testing.assert_close(step, gradient)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="adversarial_weight is -1: it must be ≥ 0"):
        VAEGAN((1, 8, 8), adversarial_weight=-1)
