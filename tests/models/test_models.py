"""What each model promises, and the mathematics that is its own."""

import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import Bernoulli, Normal, kl_divergence

from latentlab.contracts import Autoencoder, LinearDecoder, Model
from latentlab.models.dcgan import DCGAN
from latentlab.models.judge import Judge, shift
from latentlab.models.linear_ae import LinearAE
from latentlab.models.stacked_ae import StackedAE
from latentlab.models.vae import VAE
from latentlab.priors import StandardNormal, Uniform

SHAPES = [(1, 8, 8), (3, 28, 28), (1, 32, 32)]


def build(kind, shape):
    torch.manual_seed(0)
    made = {
        "linear_ae": lambda: LinearAE(shape, latent_dim=5),
        "stacked_ae": lambda: StackedAE(shape, widths=[12, 5]),
        "vae": lambda: VAE(shape, latent_dim=5, hidden=[16]),
        "dcgan": lambda: DCGAN(shape, prior=StandardNormal(), latent_dim=5, width=4),
    }
    return made[kind]().eval()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["linear_ae", "stacked_ae", "vae", "dcgan"])
def test_every_model_keeps_the_contract(kind, shape):
    model = build(kind, shape)
    assert isinstance(model, Model)
    z, x = 3 * torch.randn(4, model.latent_dim), torch.rand(4, *shape)
    images = model.decode(z)
    assert images.shape == (4, *shape)
    assert images.min() >= 0
    assert images.max() <= 1
    features = model.features(x)
    assert features.ndim == 2
    assert len(features) == 4
    assert isinstance(model, Autoencoder) == (kind != "dcgan")
    if kind != "dcgan":
        assert model.encode(x).shape == (4, model.latent_dim)


def test_linear_ae_trained_to_its_optimum_finds_the_pca_subspace():
    """Baldi & Hornik 1989: no local minima, so plain optimization must arrive at PCA."""
    g = torch.Generator().manual_seed(0)
    spread = torch.tensor([3.0, 2, 1.5, 0.3, 0.2, 0.1, 0.1, 0.1] + [0.05] * 8)
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=g)).Q
    x = (torch.randn(400, 16, generator=g) * spread) @ rotation.T / 12 + 0.5
    x = x.view(-1, 1, 4, 4).double()
    torch.manual_seed(0)
    model = LinearAE((1, 4, 4), latent_dim=3).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=700,
        history_size=50,
        tolerance_grad=1e-12,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = model.training_step((x, None), 0)["loss"]
        loss.backward()
        return loss

    optimizer.step(closure)
    pca = PCA(3).fit(x.flatten(1).numpy())
    residual = x.flatten(1).numpy() - pca.inverse_transform(pca.transform(x.flatten(1).numpy()))
    assert closure().item() == pytest.approx(float((residual**2).sum(1).mean()), rel=1e-3)
    assert isinstance(model, LinearDecoder)
    basis = torch.linalg.qr(model.decoder_basis()[0].detach()).Q
    overlap = torch.linalg.svdvals(torch.from_numpy(pca.components_) @ basis)
    assert float(overlap.min()) > 0.999


def test_stacked_ae_scales_the_classic_widths_to_the_image():
    assert [m.out_features for m in StackedAE((1, 28, 28)).encoder[::2]] == [300, 150]
    assert [m.out_features for m in StackedAE((1, 28, 28)).decoder[::2]] == [300, 784]
    assert StackedAE((1, 8, 8)).latent_dim == 12


def test_stacked_ae_losses_are_named_by_their_formula():
    x = torch.rand(6, 1, 8, 8)
    torch.manual_seed(0)
    mse = StackedAE((1, 8, 8), widths=[9, 4])
    bce = StackedAE((1, 8, 8), widths=[9, 4], reconstruction="bce")
    bce.load_state_dict(mse.state_dict())
    x_hat = mse.decode(mse.encode(x))
    assert mse.loss(x)["loss"].item() == pytest.approx(
        ((x_hat - x).square().sum() / 6).item(), rel=1e-5
    )
    cross_entropy = -(x * x_hat.log() + (1 - x) * (1 - x_hat).log()).sum() / 6
    assert bce.loss(x)["loss"].item() == pytest.approx(cross_entropy.item(), rel=1e-5)
    assert bce.loss(x)["sse"].item() == pytest.approx(mse.loss(x)["loss"].item(), rel=1e-5)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_vae_loss_is_the_elbo_of_torch_distributions(beta):
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=3, hidden=[10], beta=beta)
    x = (torch.rand(5, 1, 8, 8) > 0.5).float()
    torch.manual_seed(1)
    got = model.loss(x)
    torch.manual_seed(1)
    mu, logvar = model.posterior(x)
    q = Normal(mu, (0.5 * logvar).exp())
    z = mu + q.stddev * torch.randn_like(mu)
    nll = -Bernoulli(logits=model.decode_logits(z)).log_prob(x).sum((1, 2, 3)).mean()
    kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()
    assert got["loss"].item() == pytest.approx((nll + beta * kl).item(), rel=1e-5)
    assert got["elbo_nats"].item() == pytest.approx((-nll - kl).item(), rel=1e-5)


def test_vae_elbo_is_below_the_exact_log_likelihood():
    """A 1-d code: p(x) by numerical integration over z on a fine grid."""
    torch.manual_seed(0)
    model = VAE((1, 2, 2), latent_dim=1, hidden=[6]).double()
    x = (torch.rand(4, 1, 2, 2) > 0.5).double()
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    log_prior = Normal(0.0, 1.0).log_prob(z[:, 0])
    logits = model.decode_logits(z).detach()
    for image in x:
        log_joint = Bernoulli(logits=logits).log_prob(image).sum((1, 2, 3)) + log_prior
        log_px = float(torch.logsumexp(log_joint, 0) + torch.log(z[1, 0] - z[0, 0]))
        elbo = torch.stack([model.loss(image[None])["elbo_nats"] for _ in range(3000)]).mean()
        assert log_px - 5 < elbo.item() < log_px


def test_vae_learns_one_scale_or_keeps_the_given_one():
    learned = VAE((1, 8, 8), likelihood="gaussian")
    fixed = VAE((1, 8, 8), likelihood="gaussian", scale=0.2)
    assert learned.pixels.log_scale.requires_grad
    assert not fixed.pixels.log_scale.requires_grad
    assert fixed.pixels.log_scale.exp().item() == pytest.approx(0.2)
    with pytest.raises(ValueError, match="must be > 0, got -1"):
        VAE((1, 8, 8), likelihood="gaussian", scale=-1)


def test_gaussian_vae_scale_moves_to_the_root_mean_squared_error():
    """For fixed means the likelihood is greatest at σ² = the mean squared error (Rybkin 2021)."""
    torch.manual_seed(0)
    model = VAE((1, 8, 8), latent_dim=2, hidden=[8], likelihood="gaussian")
    x, logits = torch.rand(16, 1, 8, 8), torch.zeros(16, 1, 8, 8)
    optimizer = torch.optim.LBFGS([model.pixels.log_scale], line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = model.pixels.nll(logits, x).mean()
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    rmse = float((x - 0.5).square().mean().sqrt())
    assert float(model.pixels.log_scale.exp().detach()) == pytest.approx(rmse, rel=1e-3)


def test_dcgan_draws_codes_from_the_prior_it_is_given():
    model = DCGAN((1, 8, 8), prior=Uniform(), latent_dim=50, width=4)
    z = model.sample_prior(torch.zeros(200, 1, 8, 8))
    assert z.shape == (200, 50)
    assert -1 <= float(z.min()) < -0.9
    assert 0.9 < float(z.max()) <= 1


def test_judge_learns_from_shifted_images_and_has_128_features():
    model = Judge((1, 28, 28), num_classes=7).eval()
    x = torch.rand(3, 1, 28, 28)
    assert model.features(x).shape == (3, 128)
    assert model(x).shape == (3, 7)


def test_shift_moves_each_image_whole_and_brings_in_zeros():
    x = torch.zeros(64, 1, 9, 9)
    x[:, 0, 4, 4] = 1
    torch.manual_seed(0)
    moved = shift(x, 2)
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(64))
    row, column = moved[:, 0].flatten(1).argmax(1) // 9, moved[:, 0].flatten(1).argmax(1) % 9
    assert set(row.tolist()) == set(column.tolist()) == {2, 3, 4, 5, 6}
    assert torch.equal(shift(x, 0), x)
