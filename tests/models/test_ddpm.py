"""Diffusion: exact results for Gaussian data, and the noise schedule."""

import itertools
import math

import pytest
import torch
from scipy import stats

from latentlab.models.ddpm import DDPM
from models.fixed_randomness import noise_of
from models.steps import large_weights

SHAPE = (1, 8, 8)
DATA_STD = 0.3  # of images in [−1, 1]


class GaussianData(DDPM):
    """The exact prediction of the noise, E[eps | x_t], for pixels of N(0, DATA_STD²)."""

    def noise(self, x_t, t):
        keep, add = self.signal(t)
        return add * x_t / (keep**2 * DATA_STD**2 + add**2)


def exact(sampling_steps):
    return GaussianData(SHAPE, sampling_steps=sampling_steps, width=8)


def test_the_schedule_is_that_of_nichol_and_dhariwal():
    """Their β of 1,000 steps, clipped, and ᾱ as the product of 1 − β; not the closed form."""
    s, steps, alpha_bar, expected = 0.008, 1000, 1.0, [1.0]
    f = [math.cos((n / steps + s) / (1 + s) * math.pi / 2) ** 2 for n in range(steps + 1)]
    for before, after in itertools.pairwise(f):
        alpha_bar *= 1 - min(1 - (after / f[0]) / (before / f[0]), 0.999)
        expected.append(alpha_bar)
    keep, add = DDPM.signal(torch.arange(steps + 1, dtype=torch.float64) / steps)
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(keep.flatten() ** 2, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(keep**2 + add**2, torch.ones_like(keep))
    assert (float(keep[0]), float(add[0])) == (1, 0), "an image of time 0 has no noise"


def test_an_image_that_is_predicted_exactly_is_decoded_exactly():
    """No noise is left at time 0: 1.6 grey levels were, without the division by f(0)."""
    x = torch.rand(3, *SHAPE)

    class Knows(DDPM):
        def noise(self, x_t, t):
            keep, add = self.signal(t)
            return (x_t - keep * (2 * x - 1)) / add

    decoded = Knows(SHAPE, sampling_steps=5, width=8).decode(torch.randn(3, 64))
    assert float((decoded - x).abs().max()) < 1e-4


def test_predictions_are_clipped_and_so_are_decoded_images():
    targets = torch.tensor([-7.0, -1.01, -0.9, 0.0, 0.6, 1.01, 8.0, 1.0]).double()
    expected = torch.tensor([-1.0, -1.0, -0.9, 0.0, 0.6, 1.0, 1.0, 1.0]).double()

    class Predicts(DDPM):
        def noise(self, x_t, t):
            keep, add = self.signal(t)
            return (x_t - keep * targets.expand_as(x_t)) / add

    model = Predicts(SHAPE, sampling_steps=3, width=8).double()
    for t in model.times[1:]:
        x_0 = model.predict(torch.randn(2, *SHAPE, dtype=torch.float64), t)
        torch.testing.assert_close(x_0, expected.expand_as(x_0))
    decoded = model.decode(torch.randn(2, 64, dtype=torch.float64))
    torch.testing.assert_close(decoded, (expected.expand(2, *SHAPE) + 1) / 2)


def test_decoding_normal_codes_gives_the_distribution_of_the_data():
    torch.manual_seed(0)
    x = 2 * exact(200).decode(torch.randn(200, 64)) - 1
    assert float(x.std()) == pytest.approx(DATA_STD, rel=0.02)
    assert stats.kstest(x.flatten()[::7].numpy() / float(x.std()), "norm").pvalue > 1e-3


def decoded_std(sampling_steps):
    """The deviation of the pixels that codes of N(0, 1) are decoded to: decoding is linear here."""
    one = torch.ones(1, 64, dtype=torch.float64)
    return float((2 * exact(sampling_steps).double().decode(one) - 1).mean())


def algorithm_2(sampling_steps):
    """`decoded_std` by algorithm 2 of Lu et al. 2022, for one number; the last step is DDIM's."""
    start = math.cos(0.008 / 1.008 * math.pi / 2)
    times = [0.9946 * (1 - i / sampling_steps) for i in range(sampling_steps + 1)]
    alpha = [math.cos((t + 0.008) / 1.008 * math.pi / 2) / start for t in times]
    sigma = [math.sqrt(max(0, 1 - a**2)) for a in alpha]
    shrink = [
        a * DATA_STD**2 / (a**2 * DATA_STD**2 + s**2) for a, s in zip(alpha, sigma, strict=True)
    ]
    lam = [math.log(a / s) for a, s in zip(alpha[:-1], sigma[:-1], strict=True)]
    x, x_0 = 1.0, []
    for i in range(1, sampling_steps):
        x_0.append(shrink[i - 1] * x)  # E[x | x_t]
        h, d = lam[i] - lam[i - 1], x_0[-1]
        if i > 1:
            r = (lam[i - 1] - lam[i - 2]) / h
            d = (1 + 1 / (2 * r)) * x_0[-1] - 1 / (2 * r) * x_0[-2]
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * (math.exp(-h) - 1) * d
    return shrink[-2] * x


@pytest.mark.parametrize(("steps", "error"), [(5, 0.4), (12, 0.1), (20, 0.03), (50, 1e-3)])
def test_the_sampler_is_dpm_solver_2m(steps, error):
    """Of first order, DDIM, the errors are 0.39, 0.18, 0.11 and 0.05."""
    assert decoded_std(steps) == pytest.approx(algorithm_2(steps), rel=1e-6)
    assert decoded_std(steps) == pytest.approx(DATA_STD, rel=error)


def test_codes_of_images_have_the_deviation_of_the_prior():
    half = torch.full((1, *SHAPE), 0.5 + DATA_STD / 4, dtype=torch.float64)  # half a deviation
    for steps, error in [(12, 0.06), (20, 0.02), (50, 1e-3)]:
        code = float(exact(steps).double().encode(half).mean())
        assert code == pytest.approx(0.5, rel=error)


def test_decoding_inverts_encoding():
    model = exact(400)
    x = ((DATA_STD * torch.randn(20, *SHAPE) + 1) / 2).clamp(0, 1)
    codes = model.encode(x)
    assert float(codes.std()) == pytest.approx(1, rel=0.05)
    assert float((model.decode(codes) - x).abs().max()) < 0.02


def test_the_initial_loss_is_the_number_of_pixels():
    """eps_θ is 0 at initialization, and E Σ eps² is the number of pixels."""
    model = DDPM(SHAPE, width=8)
    loss = model.loss(torch.rand(2000, *SHAPE))["loss"].item()
    assert loss == pytest.approx(64, abs=5 * math.sqrt(2 * 64 / 2000))


def noisy(x, t, eps):
    """√ᾱ x + √(1 − ᾱ) eps, with ᾱ of Nichol & Dhariwal 2021, eq. 17: cos² a(t) / cos² a(0)."""
    angle = (t + 0.008) / 1.008 * math.pi / 2
    alpha_bar = (angle.cos() / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    alpha_bar = alpha_bar[:, None, None, None]
    return alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * eps


def test_the_loss_is_the_squared_error_of_the_noise_in_images_in_minus_1_to_1(monkeypatch):
    """Ho et al. 2020, eq. 14, summed over pixels. Here the noise is a function of the image."""
    monkeypatch.setattr(torch, "randn_like", noise_of)
    model, inputs = DDPM(SHAPE, width=8).double(), []
    x = torch.rand(6, *SHAPE, dtype=torch.float64)

    def predict(x_t, t):
        inputs.append((x_t, t))
        return 0.5 * x_t + t[:, None, None, None]

    model.denoiser.forward = predict
    loss = model.training_step((x, None), 0)["loss"]
    ((x_t, t),) = inputs
    eps = noise_of(2 * x - 1)
    torch.testing.assert_close(x_t, noisy(2 * x - 1, t.double(), eps), atol=1e-6, rtol=0)
    error = eps - 0.5 * x_t - t[:, None, None, None]
    assert loss.item() == pytest.approx(error.square().sum().item() / 6, rel=1e-5)


def test_the_exact_prediction_for_gaussian_images_is_the_minimum_of_the_loss():
    """x ~ N(m, s²): E[eps|x_t] = √(1 − ᾱ) (x_t − √ᾱ m) / (ᾱ s² + 1 − ᾱ), by Bayes' rule."""
    mean, std, model = 0.2, 0.3, DDPM(SHAPE, width=8)
    factor, offset = torch.ones((), requires_grad=True), torch.zeros((), requires_grad=True)

    def predict(x_t, t):
        keep, add = model.signal(t)
        exact = add * (x_t - keep * mean) / (keep**2 * std**2 + add**2)
        return factor * exact + offset

    model.denoiser.forward = predict
    torch.manual_seed(0)
    x = mean + std * torch.randn(1000, *SHAPE)
    loss = model.training_step(((x + 1) / 2, None), 0)["loss"]
    loss.backward()
    assert abs(factor.grad.item()) < 0.03 * 64
    assert abs(offset.grad.item()) < 0.03 * 64
    keep, add = model.signal((torch.arange(1000) + 0.5) / 1000)
    least = keep**2 * std**2 / (keep**2 * std**2 + add**2)  # the variance of eps given x_t
    assert loss.item() == pytest.approx(64 * least.mean().item(), rel=0.03)


def test_each_training_batch_has_all_noise_levels():
    times = []

    class Recorder(DDPM):
        def noise(self, x_t, t):
            times.append(t)
            return x_t

    for _ in range(2):
        Recorder(SHAPE, width=8).loss(torch.rand(16, *SHAPE))
    for each in times:
        assert 0 <= float(each.min()) < 1 / 16 <= 15 / 16 <= float(each.max()) <= 1
        gaps = each.sort().values.diff()
        torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / 16), atol=1e-6, rtol=0)
    assert abs(float(times[0].min() - times[1].min())) > 1e-3, "the offset is random"


def test_features_are_those_of_the_clean_image_at_time_0_1():
    """Max-pooled to 4×4 from the coarser resolution; images are in [−1, 1] inside."""
    torch.manual_seed(0)
    model, x = large_weights(DDPM(SHAPE, width=8)), torch.rand(3, *SHAPE).double()
    network, t = model.denoiser, torch.full((3,), 0.1, dtype=torch.float64)
    with torch.no_grad():
        _, coarse = network.contract(2 * x - 1, network.embed(t))
        expected = torch.nn.functional.adaptive_max_pool2d(coarse, 4).flatten(1)
        torch.testing.assert_close(model.features(x), expected, rtol=1e-4, atol=1e-5)


def test_a_model_with_another_number_of_sampling_steps_reads_the_weights():
    shape = (1, 16, 16)
    stored, model = DDPM(shape, width=8), DDPM(shape, width=8, sampling_steps=3)
    model.load_state_dict(stored.state_dict())
    assert model.times.tolist() == pytest.approx([0, 0.9946 / 3, 2 * 0.9946 / 3, 0.9946])


def test_invalid_settings_are_errors():
    with pytest.raises(ValueError, match=r"multiples of 4: set data\.size"):
        DDPM((1, 30, 30))
    with pytest.raises(ValueError, match="sampling_steps is 0: it must be ≥ 1"):
        DDPM(SHAPE, sampling_steps=0)
    with pytest.raises(ValueError, match="width is 12: it must be a multiple of 8"):
        DDPM(SHAPE, width=12)
