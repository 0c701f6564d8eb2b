"""BEGAN: the control of k, and the reconstruction error."""

import pytest
import torch

from latentlab.models.began import BEGAN
from latentlab.samplers import Uniform
from models.lightning_stub import with_trainer

SHAPE = (1, 8, 8)


def test_k_follows_proportional_control():
    torch.manual_seed(0)
    settings = {"latent_dim": 3, "width": 4, "gamma": 0.5, "lambda_k": 0.2}
    model = with_trainer(BEGAN(SHAPE, prior=Uniform(), **settings))
    k = 0.0
    for step in range(5):
        terms = model.training_step((torch.rand(8, *SHAPE), None), step)
        balance = 0.5 * terms["real_recon_l1"].item() - terms["g_loss"].item()
        k = min(max(k + 0.2 * balance, 0.0), 1.0)
        assert terms["began_k"].item() == pytest.approx(k, abs=1e-6)
        measure = terms["real_recon_l1"].item() + abs(balance)
        assert terms["began_convergence"].item() == pytest.approx(measure, rel=1e-5)
    assert "k" in model.state_dict(), "a resumed training continues with this k"


def test_the_error_is_a_mean_over_pixels_of_absolute_differences():
    model = BEGAN(SHAPE, prior=Uniform(), latent_dim=3, width=4).eval()
    x = torch.rand(5, *SHAPE)
    x_hat = model.discriminator(x).sigmoid()
    assert model.errors(x).mean().item() == pytest.approx(
        ((x - x_hat).abs().sum() / (5 * 64)).item(), rel=1e-5
    )


@pytest.mark.parametrize("settings", [{"gamma": 1.5}, {"gamma": 0.0}, {"lambda_k": 0.0}])
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"gamma must be in \(0, 1\], and lambda_k must be > 0"):
        BEGAN(SHAPE, prior=Uniform(), **settings)
