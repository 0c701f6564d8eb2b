"""Studies of the VAE family: arcs, directions, samplers and likelihoods on what is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import MultivariateNormal

from latentlab.contracts import Split, to_float
from latentlab.models.vae import VAE
from latentlab.models.vq_vae import VQVAE
from latentlab.studies import arithmetic, interpolation, likelihood, samplers


def test_an_arc_turns_evenly_and_keeps_the_length():
    a, b = torch.randn(2, 6, 5, dtype=torch.float64)
    a, b = (3 * v / v.norm(dim=1, keepdim=True) for v in (a, b))
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    arc = interpolation.slerp(a, b, t)
    torch.testing.assert_close(arc.norm(dim=2), torch.full((6, 9), 3.0, dtype=torch.float64))
    torch.testing.assert_close(arc[:, 0], a)
    torch.testing.assert_close(arc[:, -1], b)
    angle = (a * b).sum(1).div(9).arccos()
    turned = (arc * a[:, None]).sum(2).div(9).clamp(-1, 1).arccos()
    torch.testing.assert_close(turned, angle[:, None] * t, atol=1e-6, rtol=0)


def test_an_arc_between_parallel_codes_is_the_straight_line():
    a = torch.randn(3, 4)
    t = torch.linspace(0, 1, 5)
    torch.testing.assert_close(interpolation.slerp(a, 2 * a, t), interpolation.linear(a, 2 * a, t))
    torch.testing.assert_close(interpolation.linear(a, -a, t)[:, 2], torch.zeros(3, 4))


def test_bold_minus_thin_is_the_difference_of_the_outer_thirds():
    x = torch.linspace(0, 1, 9)[torch.randperm(9)].view(9, 1, 1, 1).expand(9, 1, 2, 2)
    codes = torch.stack([10 * x[:, 0, 0, 0], torch.ones(9)], 1)
    torch.testing.assert_close(arithmetic.bold_minus_thin(x, codes), torch.tensor([7.5, 0.0]))


def test_exchanging_class_means_moves_the_mean_of_a_class_onto_the_others():
    labels = torch.tensor([2, 2, 5, 5, 5, 9])
    z = torch.randn(6, 3, dtype=torch.float64)
    means, present = arithmetic.class_means(z, labels)
    assert present.tolist() == [2, 5, 9]
    moved = arithmetic.moved_to(z, labels, means, present)
    for k in range(3):
        torch.testing.assert_close(moved[k, 2:5].mean(0), z[labels == present[k]].mean(0))
    torch.testing.assert_close(moved[1, 2:5], z[2:5])


class Identity:
    """A model whose code is the image: 2×2 pixels, four numbers."""

    family, codes_are_normal, latent_dim = "VAE", True, 4

    def encode(self, x):
        return x.flatten(1)


def stand_in(module):
    return SimpleNamespace(
        module=module,
        encode=module.encode,
        decode=lambda z: z.clamp(0, 1).unflatten(1, (1, 2, 2)),
        reconstruct=lambda x: x,
    )


def yard_of(images):
    split = Split(images)
    settings = SimpleNamespace(seed=0)
    return SimpleNamespace(
        train=split, test=split, eyes=lambda x: x.flatten(1), judge=None, settings=settings
    )


def two_heaps(count=400):
    heap = torch.randint(2, (count, 1)) * 140 + 50
    noise = torch.randint(-20, 20, (count, 4))
    return (heap + noise).to(torch.uint8).view(count, 1, 2, 2)


def test_samplers_are_ranked_by_how_well_they_know_the_codes(monkeypatch):
    known = {name: make for name, make in samplers.samplers().items() if name != "second VAE"}
    monkeypatch.setattr(samplers, "samplers", lambda: known)
    monkeypatch.setattr(samplers, "FittedMixture", None)
    found = samplers.study(stand_in(Identity()), yard_of(two_heaps()))
    fid = {name: row["FID"] for name, row in found.table.items()}
    assert fid["reconstructions"] == pytest.approx(0, abs=1e-6)
    assert fid["one Gaussian"] < 0.05 * fid["prior N(0, I)"]
    assert fid["mixture of 20"] < 0.05 * fid["prior N(0, I)"]
    assert found.numbers["fid_prior_n_0_i"] == fid["prior N(0, I)"]


def test_studies_apply_to_what_they_ask_about():
    vae, vq = VAE((1, 8, 8), latent_dim=2, hidden=[4]), VQVAE((1, 8, 8), width=2)
    for study in (interpolation, arithmetic, samplers, likelihood):
        assert study.applies(vae)
        assert not study.applies(vq)


def test_likelihood_of_the_split_is_its_elbo_and_the_gap_of_some(monkeypatch):
    """A linear-Gaussian model, whose log p(x) is known."""
    torch.manual_seed(0)
    model = VAE((1, 2, 2), latent_dim=2, hidden=[], likelihood="gaussian", scale=0.3)
    model.pixels.mean = lambda outputs: outputs
    images = two_heaps(300)
    weight = model.decoder[0].weight.detach()
    covariance = weight @ weight.T + 0.09 * torch.eye(4)
    x = to_float(images).flatten(1)
    exact = MultivariateNormal(model.decoder[0].bias.detach(), covariance).log_prob(x).mean()
    monkeypatch.setattr(likelihood, "BUDGET", 1000 * 4 * 150)
    found = likelihood.study(stand_in(model), yard_of(images)).numbers
    assert found["num_gap_images"] == 150
    assert found["elbo_nats"] < found["log_px_nats"]
    error = 4 * found["gap_standard_error_nats"] + 0.1
    assert found["log_px_nats"] == pytest.approx(float(exact), abs=error)
    assert math.isclose(found["gap_nats"], found["log_px_nats"] - found["elbo_nats"], rel_tol=1e-5)


def test_arithmetic_moves_ink_where_the_code_is_the_image():
    model = Identity()
    model.posterior = lambda x: (x.flatten(1), x.flatten(1))
    assert arithmetic.applies(model)
    numbers = arithmetic.study(stand_in(model), yard_of(two_heaps())).numbers
    assert numbers["ink_at_-2"] < numbers["ink_at_-1"] < numbers["ink_at_1"]
