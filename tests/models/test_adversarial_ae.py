"""The two training phases of an adversarial autoencoder against gradients in plain PyTorch."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD

from latentlab.models.adversarial_ae import AdversarialAE
from latentlab.optim.adversarial import AdversarialOptim
from latentlab.samplers import StandardNormal


def use_gradient_descent(model, *groups):
    """Make every step equal to −gradient. Return a copy of the weights."""
    model.optimizers = lambda: [SGD(group, lr=1.0) for group in groups]
    model.manual_backward = lambda loss: loss.backward()
    model._trainer = SimpleNamespace(
        lr_scheduler_configs=[], fit_loop=SimpleNamespace(total_batch_idx=0)
    )
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_each_step_follows_the_gradient_of_its_own_objective():
    torch.manual_seed(0)
    prior = StandardNormal()
    model = AdversarialAE(
        (1, 2, 2), prior=prior, latent_dim=2, hidden=[5], discriminator_hidden=[4]
    ).double()
    prior.sample = lambda shape: torch.ones(shape, dtype=torch.float64)
    x = torch.rand(6, 1, 2, 2, dtype=torch.float64)
    autoencoder = [*model.encoder.parameters(), *model.decoder.parameters()]
    discriminator = list(model.discriminator.parameters())
    z = model.encode(x)
    p_real = model.discriminator(torch.ones(6, 2, dtype=torch.float64)).sigmoid()
    d_loss = -p_real.log().mean() - (1 - model.discriminator(z).sigmoid()).log().mean()
    d_gradients = torch.autograd.grad(d_loss, discriminator)
    before = use_gradient_descent(model, autoencoder, discriminator)
    model.training_step((x, None), 0)
    after = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    steps = [before[n] - after[n] for n in before if n.startswith("discriminator")]
    for step, gradient in zip(steps, d_gradients, strict=True):
        torch.testing.assert_close(step, gradient)
    model.load_state_dict(before | {n: p for n, p in after.items() if n.startswith("disc")})
    z = model.encode(x)
    bce = F.binary_cross_entropy(model.decode(z), x, reduction="none").sum((1, 2, 3)).mean()
    adversarial = -10.0 * model.discriminator(z).sigmoid().log().mean()
    expected = torch.autograd.grad(bce + adversarial, autoencoder)
    steps = [before[n] - after[n] for n in before if n.startswith(("encoder", "decoder"))]
    for step, gradient in zip(steps, expected, strict=True):
        torch.testing.assert_close(step, gradient)


def test_only_the_discriminator_has_the_betas_of_the_optim_block():
    optim = AdversarialOptim(generator_lr=2e-3, discriminator_lr=5e-4, betas=(0.3, 0.99))
    model = AdversarialAE((1, 2, 2), prior=StandardNormal(), optim=optim)
    model._trainer = SimpleNamespace(estimated_stepping_batches=10)
    (opt_ae, opt_d), schedulers = model.configure_optimizers()
    settings = [(group["lr"], group["betas"]) for o in (opt_ae, opt_d) for group in o.param_groups]
    assert settings == [(2e-3, (0.9, 0.999)), (5e-4, (0.3, 0.99))]
    assert schedulers == []


def test_a_weight_of_zero_is_refused():
    with pytest.raises(ValueError, match="adversarial_weight is 0: it must be > 0"):
        AdversarialAE((1, 8, 8), prior=StandardNormal(), adversarial_weight=0)
