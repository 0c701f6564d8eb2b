"""Fitted densities: moments, EM against scikit-learn, states that are loaded from a file."""

import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from latentlab.samplers import FittedGaussian, FittedMixture
from latentlab.samplers import fitted as fitted_module
from latentlab.samplers.projection import typical_radius


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def blobs():
    """Three well separated Gaussians in 4-d."""
    g = seeded(3)
    centres = 6 * torch.randn(3, 4, generator=g)
    parts = [
        torch.randn(n, 4, generator=g) + c for n, c in zip((300, 200, 100), centres, strict=True)
    ]
    return torch.cat(parts)


def test_fitted_gaussian_has_the_codes_moments(blobs):
    prior = FittedGaussian()
    assert prior.learns
    prior.fit(blobs)
    z = prior.sample((60_000, 4), seeded()).double()
    torch.testing.assert_close(z.mean(0), blobs.double().mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), torch.cov(blobs.double().T), atol=0.8, rtol=0.03)


def test_mixture_reaches_the_likelihood_of_scikit_learn(blobs):
    prior = FittedMixture(3, regularization=0.0)
    prior.fit(blobs)
    assert prior.log_prob(blobs).dtype == torch.float64
    reference = GaussianMixture(3, n_init=5, random_state=0).fit(blobs.numpy())
    ours, theirs = float(prior.log_prob(blobs).mean()), reference.score(blobs.numpy())
    assert ours == pytest.approx(theirs, abs=2e-3)
    assert sorted(prior.weights.tolist()) == pytest.approx(sorted(reference.weights_), abs=1e-3)


def test_mixture_log_prob_is_its_density(blobs):
    prior = FittedMixture(3)
    prior.fit(blobs)
    density = sum(
        float(w) * multivariate_normal(m.numpy(), (f @ f.T).numpy()).pdf(blobs[:5].numpy())
        for w, m, f in zip(prior.weights, prior.means, prior.factors, strict=True)
    )
    torch.testing.assert_close(prior.log_prob(blobs[:5]).exp(), torch.from_numpy(density))


def test_mixture_samples_have_the_weights_of_the_components(blobs):
    prior = FittedMixture(3)
    prior.fit(blobs)
    z = prior.sample((6000, 4), seeded()).double()
    nearest = torch.cdist(z, prior.means).argmin(1)
    fraction = torch.bincount(nearest, minlength=3) / 6000
    torch.testing.assert_close(fraction.double(), prior.weights, atol=0.02, rtol=0)


def test_mixture_is_finite_for_dead_units_and_identical_codes():
    codes = torch.zeros(50, 6)
    codes[:, 0] = torch.arange(50) % 2
    prior = FittedMixture(4)
    prior.fit(codes)
    assert prior.sample((20, 6), seeded()).isfinite().all()
    prior.fit(torch.ones(50, 6))
    torch.testing.assert_close(
        prior.sample((20, 6), seeded()), torch.ones(20, 6), atol=1e-2, rtol=0
    )


def test_too_few_codes_and_wrong_dimensions_are_errors():
    with pytest.raises(ValueError, match="3 codes are too few for a mixture of 10 components"):
        FittedMixture(10).fit(torch.randn(3, 2))
    with pytest.raises(ValueError, match="from a FittedMixture that is not fitted"):
        FittedMixture(2).sample((4, 3))
    prior = FittedGaussian()
    prior.fit(torch.randn(9, 2))
    with pytest.raises(
        ValueError, match="asked for codes of 3 values from a FittedGaussian that is fitted to 2"
    ):
        prior.sample((4, 3))


def test_a_fitted_state_is_loaded_from_a_file(tmp_path, blobs):
    prior = FittedMixture(3)
    prior.fit(blobs)
    torch.save(prior.state_dict(), tmp_path / "sampler.pt")
    again = FittedMixture(3)
    again.load_state_dict(torch.load(tmp_path / "sampler.pt", weights_only=True))
    assert torch.equal(prior.sample((9, 4), seeded(1)), again.sample((9, 4), seeded(1)))


def test_codes_that_are_far_from_a_gaussian_do_not_change_it(monkeypatch) -> None:
    """The M-step leaves out rows that float64 cannot add. With all rows, the fit is the same."""
    torch.manual_seed(0)
    codes = torch.randn(600, 5) + 30 * torch.randn(4, 5)[torch.randint(4, (600,))]
    short, full = FittedMixture(4), FittedMixture(4)
    short.fit(codes)
    monkeypatch.setattr("latentlab.samplers.fitted.NEGLIGIBLE", -1.0)
    full.fit(codes)
    torch.testing.assert_close(short.factors, full.factors, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(short.means, full.means, rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def wide():
    """Codes of 12 values: two clusters in a plane that is turned, and small noise elsewhere."""
    g = seeded(5)
    plane = torch.randn(4000, 2, generator=g) + torch.tensor([[8.0, 0.0]]) * (
        torch.arange(4000)[:, None] % 2
    )
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=g)).Q
    spread = torch.linspace(0.3, 0.1, 10)
    return torch.cat([plane, spread * torch.randn(4000, 10, generator=g)], 1) @ rotation.T + 50


def test_mixture_in_a_subspace_has_the_moments_of_the_codes(wide):
    sampler = FittedMixture(2, max_dim=3, regularization=0.0)
    sampler.fit(wide)
    assert sampler.means.shape == (2, 3)
    z = sampler.sample((200_000, 12), seeded()).double()
    torch.testing.assert_close(z.mean(0), wide.double().mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), torch.cov(wide.double().T), atol=0.06, rtol=0.02)
    outside = (wide.double() @ sampler.axes)[:, 3:].var(0)
    torch.testing.assert_close((z @ sampler.axes)[:, 3:].var(0), outside, atol=0, rtol=0.02)


def test_density_of_a_mixture_in_a_subspace_is_that_of_its_gaussians(wide):
    sampler = FittedMixture(2, max_dim=3)
    sampler.fit(wide)
    axes, residual = sampler.axes, sampler.residual_std.square().diag()
    expected = 0.0
    for w, m, f in zip(sampler.weights, sampler.means, sampler.factors, strict=True):
        mean = sampler.center + axes[:, :3] @ m
        covariance = axes @ torch.block_diag(f @ f.T, residual) @ axes.T
        gaussian = multivariate_normal(mean.numpy(), covariance.numpy())
        expected = expected + float(w) * gaussian.pdf(wide[:20].double().numpy())
    torch.testing.assert_close(sampler.log_prob(wide[:20]).exp(), torch.from_numpy(expected))


def test_all_components_as_a_subspace_give_the_mixture_of_the_codes(wide):
    whole, turned = FittedMixture(2), FittedMixture(2, max_dim=11)
    for sampler in (whole, turned):
        sampler.fit(wide)
    # the last component is independent of the others in these codes, up to chance
    difference = whole.log_prob(wide) - turned.log_prob(wide)
    assert abs(float(difference.mean())) < 5e-3
    torch.testing.assert_close(whole.project(wide * 2), turned.project(wide * 2), atol=0.5, rtol=0)


def test_a_mixture_in_a_subspace_is_loaded_from_its_state(wide):
    sampler, loaded = FittedMixture(2, max_dim=3), FittedMixture(2, max_dim=3)
    sampler.fit(wide)
    loaded.load_state_dict(sampler.state_dict())
    assert torch.equal(loaded.sample((9, 12), seeded()), sampler.sample((9, 12), seeded()))
    with pytest.raises(ValueError, match="fitted to 12"):
        loaded.sample((9, 3))


def test_weights_without_axes_are_loaded(blobs):
    sampler, loaded = FittedMixture(3), FittedMixture(3)
    sampler.fit(blobs)
    old = {k: v for k, v in sampler.state_dict().items() if k in ("weights", "means", "factors")}
    loaded.load_state_dict(old)
    assert torch.equal(loaded.sample((9, 4), seeded()), sampler.sample((9, 4), seeded()))


def test_em_goes_on_until_the_likelihood_stays():
    """Two wide Gaussians that overlap: k-means, the start, cuts them into two halves."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(2000, 2, generator=generator) * torch.tensor([1.0, 3.0])
    codes[1000:] = codes[1000:] * 2 + torch.tensor([1.0, 0.0])
    likelihoods = {}
    for steps in (1, 60, 1000):
        mixture = FittedMixture(2, max_iterations=steps)
        mixture.fit(codes)
        likelihoods[steps] = float(mixture.log_prob(codes).mean())
    assert likelihoods[60] > likelihoods[1] + 0.02
    assert likelihoods[1000] == pytest.approx(likelihoods[60], abs=2e-2)


def test_a_mixture_is_fitted_to_at_most_max_codes(monkeypatch):
    fitted, kmeans = [], fitted_module._kmeans
    monkeypatch.setattr(
        fitted_module,
        "_kmeans",
        lambda codes, *rest: fitted.append(len(codes)) or kmeans(codes, *rest),
    )
    for max_codes in (50, 200, 10_000):
        FittedMixture(2, max_codes=max_codes).fit(torch.randn(200, 3))
    assert fitted == [50, 200, 200]


@pytest.mark.parametrize("make", [FittedGaussian, lambda: FittedMixture(1)])
def test_codes_outside_of_the_99_percent_ellipsoid_move_to_its_border(make):
    sampler = make()
    codes = torch.randn(5000, 3) * torch.tensor([1.0, 2.0, 0.5]) + 4
    sampler.fit(codes)
    far = torch.tensor([[4.0, 4.0, 40.0], [4.0, 4.5, 4.0]])
    moved = sampler.project(far)
    mean, covariance = codes.double().mean(0), codes.double().T.cov()

    def norm(z):
        gap = z.double() - mean
        return float((gap @ torch.linalg.solve(covariance, gap)).sqrt())

    assert norm(moved[0]) == pytest.approx(typical_radius(3), rel=1e-2)
    gap, original = moved[0] - mean, far[0] - mean
    assert float(torch.cosine_similarity(gap, original, dim=0)) == pytest.approx(1, abs=1e-6)
    assert torch.equal(moved[1], far[1])


def test_the_buffers_of_a_mixture_that_is_not_fitted_have_their_dimensions():
    dims = {name: value.ndim for name, value in FittedMixture().named_buffers()}
    fitted = FittedMixture(2, max_dim=2)
    fitted.fit(torch.randn(100, 4))
    assert dims == {name: value.ndim for name, value in fitted.named_buffers()}


def covariance(sampler, k=0):
    return sampler.factors[k] @ sampler.factors[k].T


def test_a_fraction_of_the_mean_variance_is_added_to_the_covariances():
    """Also a negligible one if none is asked for: a dead unit keeps a variance."""
    codes = torch.randn(40, 3, generator=seeded(), dtype=torch.float64)
    codes = codes * torch.tensor([1.0, 3.0, 0.0])
    variance = float(codes.var(0).mean())
    gaussian, mixture = FittedGaussian(), FittedMixture(1, regularization=0.25)
    given = codes.clone()
    gaussian.fit(codes)
    mixture.fit(codes)
    assert torch.equal(codes, given)
    eye, biased = torch.eye(3, dtype=torch.float64), torch.cov(codes.T, correction=0)
    exact = {"rtol": 1e-9, "atol": 1e-13}
    floor = 1e-6 * variance * eye
    torch.testing.assert_close(covariance(gaussian), torch.cov(codes.T) + floor, **exact)
    torch.testing.assert_close(covariance(mixture), biased + 0.25 * variance * eye, **exact)
    unregularized = FittedMixture(1, regularization=0.0)
    unregularized.fit(codes)
    torch.testing.assert_close(covariance(unregularized), biased + floor, **exact)
    gaussian.fit(torch.ones(40, 3))
    torch.testing.assert_close(covariance(gaussian), 1e-12 * eye, **exact)


def test_the_rest_has_the_variances_of_the_principal_components(wide):
    sampler = FittedMixture(2, max_dim=3, regularization=0.5)
    sampler.fit(wide)
    variances = torch.linalg.eigvalsh(torch.cov(wide.double().T)).flip(0)
    ridge = 0.5 * wide.double().var(0).mean()
    torch.testing.assert_close(sampler.residual_std, (variances[3:] + ridge).sqrt())


def test_a_projection_in_a_subspace_ends_on_the_ellipsoid(wide):
    sampler = FittedMixture(1, max_dim=3)
    sampler.fit(wide)
    far = wide.double().mean(0) + 50 * torch.randn(9, 12, generator=seeded(), dtype=torch.float64)
    moved = sampler.project(far)
    whole = torch.block_diag(covariance(sampler), sampler.residual_std.square().diag())
    gap = (moved - sampler.center) @ sampler.axes
    gap = gap - torch.cat([sampler.means[0], torch.zeros(9, dtype=torch.float64)])
    norm = (gap @ torch.linalg.inv(whole) * gap).sum(1).sqrt()
    torch.testing.assert_close(norm, torch.full_like(norm, typical_radius(12)))


def test_as_many_codes_as_dimensions_or_components_are_enough(wide):
    whole, cut = FittedMixture(2, max_dim=12), FittedMixture(2, max_dim=11)
    for sampler in (whole, cut):
        sampler.fit(wide)
    assert (len(whole.residual_std), len(cut.residual_std)) == (0, 1)
    assert (whole.axes.numel(), whole.center.numel()) == (0, 0)
    assert whole.project(wide).shape == wide.shape
    few = FittedMixture(3)
    few.fit(torch.randn(3, 2))
    assert few.means.shape == (3, 2)


def em_steps(monkeypatch, codes, **settings):
    """How often EM maximizes."""
    calls, maximize = [], FittedMixture._maximize
    count = lambda self, *rest: calls.append(1) or maximize(self, *rest)  # noqa: E731
    monkeypatch.setattr(FittedMixture, "_maximize", count)
    sampler = FittedMixture(2, **settings)
    sampler.fit(codes)
    return len(calls)


def test_em_ends_when_the_likelihood_gains_less_than_a_ten_thousandth(monkeypatch, blobs):
    overlapping = torch.randn(2000, 2, generator=seeded()) * torch.tensor([1.0, 3.0])
    overlapping[1000:] = overlapping[1000:] * 2 + torch.tensor([1.0, 0.0])
    # at step n the gain is measured; one more step maximizes with the last responsibilities
    assert em_steps(monkeypatch, blobs[:500]) == 3
    assert 10 < em_steps(monkeypatch, overlapping, max_iterations=1000) < 500
    assert em_steps(monkeypatch, overlapping, max_iterations=4) == 5


def test_the_seed_chooses_the_start():
    codes = torch.rand(200, 2, generator=seeded())
    fitted = [FittedMixture(5, seed=seed) for seed in (1, 1, 2)]
    for sampler in fitted:
        sampler.fit(codes)
    assert torch.equal(fitted[0].means, fitted[1].means)
    assert not torch.allclose(fitted[0].means, fitted[2].means)


@pytest.mark.parametrize("seed", range(10))
def test_k_means_starts_from_codes_far_from_each_other(seed):
    """A code equal to a centre has probability 0: each of four groups gets one centre."""
    places = 0.01 * torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [5.0, 5.0]])
    groups = torch.arange(4).repeat_interleave(torch.tensor([50, 1, 9, 2]))
    member = fitted_module._kmeans(places[groups].double(), 4, seeded(seed))
    together = groups[:, None] == groups
    assert torch.equal(member @ member.T, together.double())


@pytest.mark.parametrize("seed", range(5))
def test_k_means_ends_where_each_code_is_nearest_to_the_mean_of_its_cluster(seed):
    codes = torch.rand(40, 2, generator=seeded(seed), dtype=torch.float64)
    member = fitted_module._kmeans(codes, 3, seeded(seed))
    means = (member.T @ codes) / member.sum(0)[:, None]
    assert torch.equal(torch.cdist(codes, means).argmin(1), member.argmax(1))
    assert len(member.unique(dim=0)) == 3


def test_a_cluster_without_codes_keeps_its_centre():
    codes = torch.tensor([[0.0], [0.0], [0.0], [9.0], [9.0]], dtype=torch.float64)
    member = fitted_module._kmeans(codes, 3, seeded())
    assert member.isfinite().all()
    assert member[:3].unique(dim=0).shape == member[3:].unique(dim=0).shape == (1, 3)
    assert not torch.equal(member[0], member[3])
