"""Adversarial losses against their formulas and an integrated gradient."""

import math

import pytest
import torch
from scipy.integrate import quad

from latentlab.losses import adversarial


def test_discriminator_loss_is_two_log_two_if_all_logits_are_equal():
    logits = torch.zeros(7)
    assert float(adversarial.discriminator_loss(logits, logits)) == pytest.approx(2 * math.log(2))


def test_generator_losses_are_goodfellows_three():
    logits = torch.linspace(-4, 4, 9, dtype=torch.float64)
    d = logits.sigmoid()
    assert float(adversarial.minimax(logits)) == pytest.approx(float((1 - d).log().mean()))
    assert float(adversarial.non_saturating(logits)) == pytest.approx(float(-d.log().mean()))
    likelihood = adversarial.maximum_likelihood(logits)
    assert float(likelihood) == pytest.approx(float(-(d / (1 - d)).mean()))


def test_only_minimax_has_a_vanishing_gradient_for_confident_discriminators():
    def slope(loss):
        logit = torch.tensor([-8.0], requires_grad=True)
        loss(logit).backward()
        return abs(float(logit.grad))

    probability = torch.sigmoid(torch.tensor(-8.0)).item()
    assert slope(adversarial.minimax) == pytest.approx(probability, rel=1e-4)
    assert slope(adversarial.non_saturating) == pytest.approx(1 - probability, rel=1e-4)


def test_maximum_likelihood_loss_has_the_gradient_of_the_forward_kl():
    """With p_g = N(θ, 1), p_data = N(0, 1) and the optimal D, the expected gradient in θ equals
    d/dθ KL(p_data ‖ p_g) = θ. The reference integrates; the loss's slope comes from autograd."""
    theta = 0.6

    def integrand(x):
        logit = torch.tensor([(x - theta) ** 2 / 2 - x**2 / 2], dtype=torch.float64)
        density = math.exp(-((x - theta) ** 2) / 2) / math.sqrt(2 * math.pi)
        value = float(adversarial.maximum_likelihood(logit))
        return density * value * (x - theta)  # score-function form: f · ∂ log p_g / ∂θ

    gradient, _ = quad(integrand, -8, 8)
    assert gradient == pytest.approx(theta, abs=1e-4)


def test_real_logit_is_that_of_a_softmax_with_one_more_class():
    logits = 3 * torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    softmax = torch.cat([logits, torch.zeros(8, 1)], 1).softmax(1)
    torch.testing.assert_close(adversarial.real_logit(logits).sigmoid(), 1 - softmax[:, -1])


def test_feature_matching_compares_only_means():
    g = torch.Generator().manual_seed(0)
    real = torch.randn(6, 3, generator=g)
    assert float(adversarial.feature_matching(real, real.flip(0).repeat(2, 1))) == pytest.approx(
        0, abs=1e-10
    )
    shift = torch.tensor([1.0, -2.0, 0.5])
    assert float(adversarial.feature_matching(real, real + shift)) == pytest.approx(5.25, rel=1e-5)


SHAPE = (1, 8, 8)


def linear_critic(direction):
    return lambda x: x.flatten(1) @ direction


def test_least_squares_is_minimal_at_the_labels():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -2.0])
    assert float(adversarial.least_squares_discriminator(real, fake)) == pytest.approx((2 + 2) / 2)
    logit = torch.tensor([-1.0, 1.0, 3.0], requires_grad=True)
    adversarial.least_squares(logit).backward()
    torch.testing.assert_close(logit.grad, torch.tensor([-2.0, 0.0, 2.0]) / 3)


def test_optimal_least_squares_discriminator_is_the_fraction_of_the_data():
    """Mao et al. 2017, eq. 11: with labels 1 and 0, D* = p_data / (p_data + p_g)."""
    p_data, p_g = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.7])
    d = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([0] * 7 + [1] * 2 + [2]), torch.tensor([0] + [1] * 2 + [2] * 7)
    optimizer = torch.optim.LBFGS([d], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = adversarial.least_squares_discriminator(d[rows[0]], d[rows[1]])
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = (p_data / (p_data + p_g)).double()
    torch.testing.assert_close(d.detach(), expected, atol=1e-5, rtol=0)


def test_hinge_is_flat_beyond_the_margins():
    real = torch.tensor([2.0, 0.5, -1.0], requires_grad=True)
    fake = torch.tensor([-2.0, -0.5, 1.0], requires_grad=True)
    loss = adversarial.hinge_discriminator(real, fake)
    assert loss.item() == pytest.approx((0 + 0.5 + 2) / 3 * 2)
    loss.backward()
    torch.testing.assert_close(real.grad, torch.tensor([0.0, -1, -1]) / 3)
    torch.testing.assert_close(fake.grad, torch.tensor([0.0, 1, 1]) / 3)


def test_wasserstein_loss_of_the_best_critic_of_two_points_is_their_distance():
    """The best 1-Lipschitz critic of two points a and b has E D(a) − E D(b) = ‖a − b‖."""
    a, b = torch.rand(1, 6), torch.rand(1, 6)
    critic = linear_critic((a - b)[0] / (a - b).norm())
    got = -adversarial.wasserstein_critic(critic(a), critic(b))
    assert float(got) == pytest.approx(float((a - b).norm()), rel=1e-5)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(norm):
    direction = torch.randn(64)
    direction *= norm / direction.norm()
    real, fake = torch.rand(5, *SHAPE), torch.rand(5, *SHAPE)
    got = adversarial.gradient_penalty(linear_critic(direction), real, fake)
    assert float(got) == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_gradient_penalty_accepts_generated_images_in_half_precision():
    """Under autocast, generated images are bfloat16 and real images float32; 0.5 is exact."""
    real, fake = torch.rand(5, *SHAPE), torch.full((5, *SHAPE), 0.5, dtype=torch.bfloat16)
    penalties = []
    for made in (fake, fake.float()):
        torch.manual_seed(0)
        bowl = adversarial.gradient_penalty(lambda x: x.square().sum((1, 2, 3)), real, made)
        penalties.append(bowl)
    assert penalties[0].dtype == torch.float32
    assert torch.equal(*penalties)


def test_gradient_penalty_is_taken_uniformly_between_the_pairs():
    inputs = []
    real, fake = torch.zeros(2000, 1, 1, 1), torch.ones(2000, 1, 1, 1)
    adversarial.gradient_penalty(lambda x: inputs.append(x) or x.sum((1, 2, 3)), real, fake)
    points = inputs[0].flatten().detach()
    assert 0 <= float(points.min()) <= float(points.max()) <= 1
    assert float(points.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(points.var()) == pytest.approx(1 / 12, abs=0.01)


@pytest.mark.parametrize(("real_label", "fake_label"), [(0.9, 0.0), (0.8, 0.3)])
def test_smoothed_labels_change_the_optimum(real_label, fake_label):
    """Goodfellow 2016 (tutorial), 4.2: D* = (α p_data + β p_g) / (p_data + p_g)."""
    fraction = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)  # p_data / (p_data + p_g)
    d = real_label * fraction + fake_label * (1 - fraction)
    logits = (d / (1 - d)).log().requires_grad_()
    loss = 0.0
    for i, part in enumerate(fraction):  # weight `part` for a real image, the rest for a fake
        one = logits[i : i + 1]
        both = {"real_label": real_label, "fake_label": fake_label}
        smoothed, _ = adversarial.make_adversarial_losses("non_saturating", **both)
        real = smoothed(one, torch.zeros(1)) - smoothed(torch.zeros(1), torch.zeros(1)) / 2
        fake = smoothed(torch.zeros(1), one) - smoothed(torch.zeros(1), torch.zeros(1)) / 2
        loss = loss + part * real + (1 - part) * fake
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.zeros(3).double(), atol=1e-7, rtol=0)


def test_unknown_losses_and_smoothed_labels_of_hinge_are_refused():
    with pytest.raises(ValueError, match="unknown loss 'hing': choose one of minimax"):
        adversarial.make_adversarial_losses("hing")
    with pytest.raises(ValueError, match="the hinge loss has no labels"):
        adversarial.make_adversarial_losses("hinge", real_label=0.9)


def test_the_r1_penalty_of_a_paraboloid_has_the_right_gradient():
    """D = w‖x‖²/2 has slope w x: the penalty is w²‖x‖²/2, its derivative in w is w‖x‖²."""
    w = torch.tensor(1.7, requires_grad=True)
    x = torch.rand(3, *SHAPE, requires_grad=True)
    adversarial.r1_penalty(w * x.square().flatten(1).sum(1) / 2, x).backward()
    expected = 1.7 * x.detach().square().flatten(1).sum(1).mean()
    torch.testing.assert_close(w.grad, expected)


def consistency_example():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=g, dtype=torch.float64)
    p = logits.softmax(1)
    q = p**2 / (p**2).sum(1, keepdim=True)
    augmented = torch.randn(5, 3, generator=g, dtype=torch.float64, requires_grad=True)
    return logits, q, augmented


def test_consistency_loss_is_the_cross_entropy_with_the_sharpened_prediction():
    """It is minimal, with gradient 0, where p(y|x′) = p(y|x)² / Σ p²."""
    logits, q, augmented = consistency_example()
    loss = adversarial.consistency_loss(logits, augmented)
    assert loss.item() == pytest.approx(-(q * augmented.log_softmax(1)).sum(1).mean().item())
    optimum = q.log().requires_grad_()
    logits.requires_grad_()
    adversarial.consistency_loss(logits, optimum).backward()
    assert optimum.grad.abs().max() < 1e-12
    assert logits.grad is None
    entropy = -(q * q.log()).sum(1).mean()
    got = adversarial.consistency_loss(logits, optimum).item()
    assert got == pytest.approx(entropy.item())


def test_every_loss_has_a_decision_threshold():
    names = set(adversarial.DISCRIMINATOR_LOSSES)
    assert names == set(adversarial.GENERATOR_LOSSES) == set(adversarial.DECISION_THRESHOLDS)
