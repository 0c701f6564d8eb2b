"""Adversarial losses against their formulas and an integrated gradient."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

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
    real, fake = torch.tensor([1.0, 5.0]), torch.tensor([0.0, -2.0])
    assert float(adversarial.least_squares_discriminator(real, fake)) == pytest.approx((8 + 2) / 2)
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


@pytest.mark.parametrize("name", ["hinge", "wasserstein"])
def test_the_generator_of_a_critic_raises_its_scores(name):
    scores = torch.tensor([-3.0, 0.5, 4.0], requires_grad=True)
    _, g_loss = adversarial.make_adversarial_losses(name)
    loss = g_loss(scores)
    assert loss.item() == pytest.approx(-0.5)
    loss.backward()
    torch.testing.assert_close(scores.grad, -torch.ones(3) / 3)


def test_the_critic_parts_the_means_of_its_scores():
    real, fake = torch.tensor([3.0, 5.0, 1.0]), torch.tensor([-3.0, 0.5])
    assert adversarial.wasserstein_critic(real, fake).tolist() == pytest.approx(-1.25 - 3)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(norm):
    direction = torch.randn(64)
    direction *= norm / direction.norm()
    real, fake = torch.rand(5, *SHAPE), torch.rand(5, *SHAPE)
    got = adversarial.gradient_penalty(linear_critic(direction), real, fake)
    assert float(got) == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_the_penalties_are_means_over_images_of_a_critic_whose_slope_varies():
    """D = ‖x‖²/2 has the slope x. With equal pairs every x̂ is x, of norms 0.5, 1, 3."""
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    norms = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    x = x / x.flatten(1).norm(dim=1)[:, None, None, None] * norms[:, None, None, None]

    def critic(x):
        return x.square().flatten(1).sum(1) / 2

    penalty = adversarial.gradient_penalty(critic, x, x)
    assert penalty.item() == pytest.approx((0.5**2 + 0 + 2**2) / 3)
    x = x.requires_grad_()
    r1 = adversarial.r1_penalty(critic(x), x)
    assert r1.item() == pytest.approx((0.25 + 1 + 9) / 3 / 2)


def test_gradient_penalty_is_the_mean_of_squares_over_images():
    """D(x) = ‖x‖²/2 has the gradient x, which is different for each image."""
    x = torch.rand(5, *SHAPE, dtype=torch.float64) * torch.arange(5).view(5, 1, 1, 1)
    norms = x.square().sum((1, 2, 3)).sqrt()
    got = adversarial.gradient_penalty(lambda x: x.square().sum((1, 2, 3)) / 2, x, x)
    assert got.item() == pytest.approx(((norms - 1) ** 2).mean().item())


def test_the_gradient_of_the_gradient_penalty_reaches_the_weights_of_the_critic():
    """D = w‖x‖²/2 has slope w x: the derivative of (w‖x‖ − 1)² in w is 2 (w‖x‖ − 1) ‖x‖."""
    w, x = torch.tensor(0.3, requires_grad=True), torch.rand(1, *SHAPE)
    real, fake = (x.clone().requires_grad_() for _ in range(2))
    critic = lambda x: w * x.square().sum((1, 2, 3)) / 2  # noqa: E731
    adversarial.gradient_penalty(critic, real, fake).backward()
    norm = x.norm().item()
    assert w.grad.item() == pytest.approx(2 * (0.3 * norm - 1) * norm, rel=1e-5)
    assert real.grad is None
    assert fake.grad is None


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


LABELS = [
    ("minimax", {}),
    ("non_saturating", {"real_label": 0.9}),
    ("maximum_likelihood", {"real_label": 0.8, "fake_label": 0.1}),
    ("least_squares", {}),
    ("least_squares", {"real_label": 0.9, "fake_label": 0.2}),
]


def optimal_output(loss, labels, p):
    """The output that minimizes the loss of images that are real with probability p, by search."""
    d_loss, _ = adversarial.make_adversarial_losses(loss, **labels)

    def expected(output):
        """p times the part of real images, 1 − p times that of generated ones, up to a constant."""
        out, zero = torch.tensor([output, 0.0], dtype=torch.float64).split(1)
        return float(p * d_loss(out, zero) + (1 - p) * d_loss(zero, out))

    return float(minimize_scalar(expected, bounds=(-8, 8), options={"xatol": 1e-9}).x)


@pytest.mark.parametrize(("loss", "labels"), LABELS)
@pytest.mark.parametrize("p", [0.05, 0.5, 0.8])
def test_probabilities_are_those_of_the_optimal_discriminator(loss, labels, p):
    output = optimal_output(loss, labels, p)
    got = adversarial.real_probability(torch.tensor([output]), loss, **labels)
    assert float(got) == pytest.approx(p, abs=1e-4)


@pytest.mark.parametrize(("loss", "labels"), LABELS)
def test_the_decision_threshold_is_the_optimal_output_for_equal_odds(loss, labels):
    expected = optimal_output(loss, labels, 0.5)
    assert adversarial.decision_threshold(loss, **labels) == pytest.approx(expected, abs=1e-4)


def test_hinge_separates_at_0_and_is_certain_at_its_margins():
    got = adversarial.real_probability(torch.tensor([-3.0, -1, 0, 0.5, 1, 2]), "hinge")
    assert got.tolist() == [0, 0, 0.5, 0.75, 1, 1]
    assert adversarial.decision_threshold("hinge") == 0
    assert optimal_output("hinge", {}, 0.6) == pytest.approx(1, abs=1e-3)
    assert optimal_output("hinge", {}, 0.4) == pytest.approx(-1, abs=1e-3)
    assert adversarial.decision_threshold("wasserstein") is None


def test_outputs_beyond_the_labels_are_certain():
    got = adversarial.real_probability(torch.tensor([-9.0, 9]), "minimax", real_label=0.9)
    assert got.tolist() == pytest.approx([1.37e-4, 1], abs=1e-5)
    got = adversarial.real_probability(torch.tensor([-0.5, 1.5]), "least_squares")
    assert got.tolist() == [0, 1]


def test_the_two_tables_of_losses_have_the_same_names():
    assert set(adversarial.DISCRIMINATOR_LOSSES) == set(adversarial.GENERATOR_LOSSES)
