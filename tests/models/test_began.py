"""BEGAN: each step against the gradient of its losses, and the control of k."""

import pytest
import torch

from latentlab.models.began import BEGAN, UNSUPPORTED
from latentlab.samplers import Uniform
from models.lightning_stub import with_trainer
from models.options import every_option
from models.steps import assert_steps

SHAPE = (1, 8, 8)
TWO_LEVELS = (1, 16, 16)
GAMMA, LAMBDA_K = 0.6, 0.2


def berthelot(step):
    """Berthelot et al. 2017, section 3.4: L is the mean absolute error per pixel."""
    G, D = step.nets.generator, step.nets.discriminator
    x_fake, k = G(step.codes()).sigmoid(), step.nets.k

    def L(x):
        return (x - D(x).sigmoid()).abs().sum() / x.numel()

    x, fake = step.view_unit((step.x + 1) / 2), step.view_unit(x_fake)
    real_error = L(x).detach()
    yield D, L(x) - k * L(fake.detach())
    of_generator = L(fake)
    yield G, of_generator
    k += LAMBDA_K * (GAMMA * real_error - of_generator.detach())
    k.clamp_(0, 1)


@every_option(UNSUPPORTED)
def test_each_step_follows_the_gradient_of_its_own_objective(settings):
    torch.manual_seed(0)
    sizes = {"latent_dim": 3, "width": 4, "gamma": GAMMA, "lambda_k": LAMBDA_K}
    model = BEGAN(TWO_LEVELS, prior=Uniform(), **sizes, **settings)
    model.k.fill_(0.4)
    reference = assert_steps(model, TWO_LEVELS, berthelot)
    torch.testing.assert_close(model.k, reference.nets.k)


@pytest.mark.parametrize(("gamma", "rises"), [(0.5, True), (0.01, False)])
def test_k_follows_proportional_control(gamma, rises):
    torch.manual_seed(0)
    settings = {"latent_dim": 3, "width": 4, "gamma": gamma, "lambda_k": 0.2}
    model = with_trainer(BEGAN(SHAPE, prior=Uniform(), **settings))
    model.k.fill_(0.001)
    curves = [model.training_step((torch.rand(8, *SHAPE), None), step) for step in range(5)]
    k = 0.001
    for terms in curves:
        balance = gamma * terms["real_recon_l1"].item() - terms["g_loss"].item()
        assert (balance > 0) is rises
        k = min(max(k + 0.2 * balance, 0.0), 1.0)
        assert terms["began_k"].item() == pytest.approx(k, abs=1e-6)
        measure = terms["real_recon_l1"].item() + abs(balance)
        assert terms["began_convergence"].item() == pytest.approx(measure, rel=1e-5)
    assert "k" in model.state_dict(), "a resumed training continues with this k"


def test_the_error_is_a_mean_over_pixels_of_absolute_differences():
    model = BEGAN(SHAPE, prior=Uniform(), latent_dim=3, width=4).eval()
    x = torch.rand(5, *SHAPE)
    x_hat = model.discriminator(x).sigmoid()
    expected = torch.stack([(x[i] - x_hat[i]).abs().sum() / 64 for i in range(5)])
    torch.testing.assert_close(model.errors(x), expected)


def test_k_stays_between_0_and_1():
    settings = {"latent_dim": 3, "width": 4, "gamma": 0.5, "lambda_k": 2.0}
    model = with_trainer(BEGAN(SHAPE, prior=Uniform(), **settings))
    for real, fake, balance, k in [(1.0, 0.3, 0.2, 0.4), (2.0, 0.5, 0.5, 1.0), (1.0, 2.0, -1.5, 0)]:
        found = model.update_k(torch.tensor(real), torch.tensor(fake))
        assert found.item() == pytest.approx(balance)
        assert model.k.item() == pytest.approx(k)


def test_the_losses_of_both_players_are_those_of_the_errors():
    model = BEGAN(SHAPE, prior=Uniform(), latent_dim=3, width=4).eval()
    model.k.fill_(0.4)
    x, z = torch.rand(5, *SHAPE), model.prior.sample((5, 3))
    d_loss, g_loss = model.adversarial_losses(x, None, z)
    model.discriminator.train()
    x_fake = model.decode(z)
    error, of_fake = ((each - model.discriminator(each).sigmoid()).abs() for each in (x, x_fake))
    assert g_loss.item() == pytest.approx(of_fake.mean().item(), rel=1e-5)
    assert d_loss.item() == pytest.approx((error.mean() - 0.4 * of_fake.mean()).item(), rel=1e-5)


def test_the_curve_of_the_loss_is_the_sum_of_both_errors():
    model = with_trainer(BEGAN(SHAPE, prior=Uniform(), latent_dim=3, width=4))
    terms = model.training_step((torch.rand(8, *SHAPE), None), 0)
    assert terms["loss"].item() == pytest.approx(
        terms["real_recon_l1"].item() + terms["g_loss"].item()
    )


@pytest.mark.parametrize(
    "settings",
    [{"gamma": 1.5}, {"gamma": 0.0}, {"gamma": -0.5}, {"lambda_k": 0.0}, {"lambda_k": -0.1}],
)
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"gamma must be in \(0, 1\], and lambda_k must be > 0"):
        BEGAN(SHAPE, prior=Uniform(), **settings)


def test_a_gamma_of_1_is_allowed():
    assert BEGAN(SHAPE, prior=Uniform(), width=4, gamma=1.0).gamma == 1.0


@pytest.mark.parametrize("scale", [0.0, 1.0])  # the balance is negative, or positive
def test_the_validation_measures_convergence_as_the_training_does(scale):
    torch.manual_seed(0)
    model = BEGAN(SHAPE, prior=Uniform(), latent_dim=3, width=4).eval()
    x = scale * torch.randint(0, 2, (50, *SHAPE)).float() + (1 - scale) / 2
    torch.manual_seed(1)
    with torch.no_grad():
        terms = {name: float(value) for name, value in model.validation_step((x, None), 0).items()}
    real, fake = terms["real_recon_l1"], terms["fake_recon_l1"]
    assert (0.75 * real > fake) is bool(scale)
    assert terms["began_convergence"] == pytest.approx(real + abs(0.75 * real - fake), rel=1e-5)
