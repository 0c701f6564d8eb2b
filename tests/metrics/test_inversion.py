"""Latent inversion, compared with least squares for a linear decoder."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from latentlab.contracts import Split
from latentlab.metrics.inversion import (
    fraction_outside,
    halving_rounds,
    invert,
    num_decodings,
)
from latentlab.samplers import (
    ClassConditional,
    IndependentCategorical,
    InfoGANPrior,
    StandardNormal,
    Uniform,
)
from latentlab.utils.errors import LatentlabError

SHAPE = (1, 4, 5)


@pytest.fixture
def decoder():
    """x̂ = W z + b with well-conditioned W, as images (B, 1, 4, 5)."""
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(3, 20)
    with torch.no_grad():
        linear.weight.copy_(torch.linalg.qr(torch.randn(20, 3, generator=generator)).Q)
        linear.bias.copy_(torch.rand(20, generator=generator))
    return nn.Sequential(linear, nn.Unflatten(1, SHAPE))


@pytest.fixture
def images():
    return torch.rand(9, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def samples():
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(2))


def test_linear_decoder_gives_least_squares(decoder, images, samples):
    found = invert(decoder, images, prior_samples=samples, steps=500, lr=0.02)
    weight, bias = (p.detach().double().numpy() for p in decoder[0].parameters())
    target = images.flatten(1).double().numpy() - bias
    expected = np.linalg.lstsq(weight, target.T, rcond=None)[0].T
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("batch_size", [4, 500])  # samples and images in several blocks, or in one
def test_without_steps_each_image_gets_its_nearest_sample(decoder, images, samples, batch_size):
    found = invert(decoder, images, prior_samples=samples, steps=0, lr=0.1, batch_size=batch_size)
    with torch.no_grad():
        pixels = decoder(samples).flatten(1).double().numpy()
    distance = ((images.flatten(1).double().numpy()[:, None] - pixels[None]) ** 2).sum(2)
    assert torch.equal(found, samples[distance.argmin(1)])
    assert len(set(distance.argmin(1))) > 3  # images start at different samples


def test_images_are_independent(decoder, images, samples):
    budget = {"prior_samples": samples, "steps": 20, "lr": 0.1}
    together = invert(decoder, images, **budget)
    alone = torch.cat([invert(decoder, image[None], **budget) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        together, invert(decoder, images, batch_size=4, **budget), rtol=1e-4, atol=1e-5
    )


def test_the_best_code_is_kept_for_any_step_size(decoder, images, samples):
    def sse(codes):
        with torch.no_grad():
            return (decoder(codes) - images).square().flatten(1).sum(1)

    start = invert(decoder, images, prior_samples=samples, steps=0, lr=1.0)
    # Every step of Adam moves each coordinate by about lr = 100: always worse than the start.
    assert torch.equal(invert(decoder, images, prior_samples=samples, steps=3, lr=100.0), start)
    gentle = invert(decoder, images, prior_samples=samples, steps=5, lr=0.05)
    assert (sse(gentle) < sse(start)).all()


def test_one_step_of_adam_moves_each_coordinate_by_lr(decoder, images, samples):
    start = invert(decoder, images, prior_samples=samples, steps=0, lr=0.001)
    moved = invert(decoder, images, prior_samples=samples, steps=1, lr=0.001)
    torch.testing.assert_close(
        (moved - start).abs(), torch.full_like(start, 0.001), rtol=1e-2, atol=0
    )


def test_the_model_and_the_grad_mode_do_not_change(decoder, images, samples):
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    expected = invert(decoder, images, prior_samples=samples, steps=3, lr=0.1)
    with torch.no_grad():
        assert torch.equal(
            invert(decoder, images, prior_samples=samples, steps=3, lr=0.1), expected
        )
    with torch.inference_mode():
        same = invert(decoder, images.clone(), prior_samples=samples.clone(), steps=3, lr=0.1)
    assert torch.equal(same, expected)
    assert all(p.grad is None and p.requires_grad for p in decoder.parameters())
    assert all(torch.equal(before[name], value) for name, value in decoder.state_dict().items())


def test_a_split_and_float_images_give_equal_codes(decoder, samples):
    levels = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    from_bytes = invert(decoder, Split(levels), prior_samples=samples, steps=2, lr=0.1)
    from_floats = invert(decoder, levels / 255, prior_samples=samples, steps=2, lr=0.1)
    assert torch.equal(from_bytes, from_floats)


def test_errors(decoder, images, samples):
    with pytest.raises(LatentlabError, match=r"Prior samples have shape \(0, 3\)"):
        invert(decoder, images, prior_samples=samples[:0], steps=1, lr=0.1)
    with pytest.raises(LatentlabError, match="steps=-1"):
        invert(decoder, images, prior_samples=samples, steps=-1, lr=0.1)
    with pytest.raises(LatentlabError, match="lr=nan"):
        invert(decoder, images, prior_samples=samples, steps=1, lr=float("nan"))
    with pytest.raises(LatentlabError, match=r"\(1, 4, 4\) but the decoder returns \(1, 4, 5\)"):
        invert(decoder, images[..., :4], prior_samples=samples, steps=1, lr=0.1)
    with pytest.raises(LatentlabError, match="not finite"):
        invert(lambda z: decoder(z) * torch.nan, images, prior_samples=samples, steps=1, lr=0.1)


# --- inside the prior ---

RADIUS_3 = 3.3682  # sqrt of the 99 % quantile of chi² with 3 degrees of freedom, 11.345


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def class_prior(num_classes):
    prior = ClassConditional()
    prior.num_classes = num_classes
    return prior


def infogan_prior():
    """Codes of 3 Gaussian values, 2 uniform ones and one of 4 categories."""
    prior = InfoGANPrior()
    prior.num_classes, prior.num_continuous = 4, 2
    return prior


def orthonormal(columns, seed=0, pixels=20):
    """x̂ = W z with orthonormal columns: the nearest code of a convex set is a projection."""
    weight = torch.linalg.qr(torch.randn(pixels, columns, generator=seeded(seed))).Q
    return lambda z: (z @ weight.T).unflatten(1, (1, 4, pixels // 4))


@pytest.mark.parametrize("prior", [StandardNormal(), Uniform()])
def test_an_optimum_outside_ends_on_the_border(prior):
    """The optimum of images W z with orthonormal W is z; inside, it is the nearest code to z."""
    decode = orthonormal(3)
    z = 9 * torch.randn(6, 3, generator=seeded(1))
    budget = {"prior_samples": prior.sample((50, 3), seeded()), "steps": 400, "lr": 0.05}
    inside = invert(decode, decode(z), sampler=prior, **budget)
    if isinstance(prior, Uniform):
        nearest = z.clamp(-1, 1)
    else:
        norm = z.norm(dim=1, keepdim=True)
        nearest = torch.where(norm > RADIUS_3, z / norm * RADIUS_3, z)
    torch.testing.assert_close(inside, nearest, atol=5e-3, rtol=0)
    assert not torch.allclose(nearest, z)
    assert fraction_outside(inside, prior) == 0
    free = invert(decode, decode(z), **{**budget, "steps": 1500})
    torch.testing.assert_close(free, z, atol=5e-3, rtol=0)
    assert fraction_outside(free, prior) > 0.8


def test_prior_samples_beyond_the_border_are_no_result():
    decode, far = orthonormal(3), torch.full((1, 3), 5.0)
    found = invert(decode, decode(far), prior_samples=far, sampler=StandardNormal(), steps=0, lr=1)
    torch.testing.assert_close(found.norm(), torch.tensor(RADIUS_3), atol=1e-4, rtol=0)


def test_the_best_category_is_that_of_brute_force():
    """Each category has its own offset; the best noise of each is a least squares solution."""
    prior, noise, classes = class_prior(3), 2, 3
    weight = torch.randn(20, noise + classes, generator=seeded(4), dtype=torch.float64) / 3
    images = torch.randn(40, 20, generator=seeded(5), dtype=torch.float64) / 3
    error, codes = np.empty((40, classes)), np.empty((40, classes, noise))
    for k in range(classes):
        rest = (images - weight[:, noise + k]).T.numpy()
        codes[:, k] = np.linalg.lstsq(weight[:, :noise].numpy(), rest, rcond=None)[0].T
        error[:, k] = ((weight[:, :noise].numpy() @ codes[:, k].T - rest) ** 2).sum(0)
    assert np.linalg.norm(codes, axis=2).max() < 3.03, "all solutions are inside the 99 % norm"
    found = invert(
        lambda z: (z @ weight.float().T).unflatten(1, (1, 4, 5)),
        images.float().view(-1, 1, 4, 5),
        prior_samples=prior.sample((60, 5), seeded()),
        steps=1200,
        lr=0.05,
        sampler=prior,
    )
    best = error.argmin(1)
    chosen = found[:, noise:].argmax(1).numpy()
    assert torch.equal(found[:, noise:], torch.eye(3)[chosen]), "one-hot parts stay exact"
    margin = error[np.arange(40), chosen] - error.min(1)
    assert len(set(best)) == classes
    assert (margin < 0.02).all(), "halving may confuse categories that are equally good"
    assert (chosen == best).mean() > 0.9
    np.testing.assert_allclose(found[:, :noise], codes[np.arange(40), chosen], atol=0.01)


def test_a_search_cannot_leave_its_category():
    """All prior samples are of category 0, and the images are of category 1."""
    prior, decode = class_prior(2), orthonormal(4)
    images = decode(torch.tensor([[0.5, 0.5, 0.0, 1.0]]).expand(3, -1))
    samples = prior.sample((20, 4), seeded())
    samples[:, 2:] = torch.tensor([1.0, 0.0])
    found = invert(decode, images, prior_samples=samples, steps=40, lr=0.9, sampler=prior)
    assert torch.equal(found[:, 2:], samples[:3, 2:])


def test_without_steps_the_nearest_sample_of_all_categories_is_the_result():
    prior, decode = class_prior(7), orthonormal(9)
    samples = prior.sample((64, 9), seeded())
    samples = samples[samples[:, :2].norm(dim=1) < 3]
    images = torch.rand(9, 1, 4, 5, generator=seeded(1))
    found = invert(decode, images, prior_samples=samples, steps=0, lr=0.1, sampler=prior)
    distance = (decode(samples)[None] - images[:, None]).square().flatten(2).sum(2)
    assert torch.equal(found, samples[distance.argmin(1)])


def test_three_kinds_of_parts_stay_inside_at_once():
    prior, decode = infogan_prior(), orthonormal(9)
    images = decode(4 * torch.randn(30, 9, generator=seeded(2)))
    budget = {"prior_samples": prior.sample((80, 9), seeded()), "steps": 60, "lr": 0.2}
    found = invert(decode, images, sampler=prior, **budget)
    noise, uniform, category = found.split([3, 2, 4], dim=1)
    assert float(noise.norm(dim=1).max()) == pytest.approx(RADIUS_3, abs=1e-3)
    assert float(uniform.abs().max()) == 1
    assert torch.equal(category, torch.eye(4)[category.argmax(1)])
    assert fraction_outside(found, prior) == 0
    assert fraction_outside(invert(decode, images, **budget), prior) == 1


def test_a_free_search_is_adam(decoder, images, samples):
    start = invert(decoder, images, prior_samples=samples, steps=0, lr=0.1)
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        (decoder(z) - images).square().sum().backward()
        optimizer.step()
    found = invert(decoder, images, prior_samples=samples, steps=30, lr=0.1)
    with torch.no_grad():
        last, best = ((decoder(c) - images).square().flatten(1).sum(1) for c in (z, found))
    assert (best <= last + 1e-5).all()
    decreasing = torch.isclose(best, last, atol=1e-5)
    assert decreasing.any()
    torch.testing.assert_close(found[decreasing], z.detach()[decreasing], atol=1e-4, rtol=1e-3)


class CountingDecoder:
    """Counts rows that are decoded, and rows through which a gradient is propagated."""

    def __init__(self, decode):
        self.decode, self.count, self.sizes = decode, 0, []

    def __call__(self, z):
        self.count += len(z)
        self.sizes.append(len(z))
        images = self.decode(z)
        if z.requires_grad:
            images.register_hook(self.backward)
        return images

    def backward(self, gradient):
        self.count += len(gradient)


@pytest.mark.parametrize("steps", [0, 1, 5, 30])
@pytest.mark.parametrize("prior", [None, StandardNormal(), infogan_prior(), class_prior(8)])
def test_the_budget_does_not_depend_on_the_sampler(prior, steps):
    decode = CountingDecoder(orthonormal(9))
    samples = (prior or StandardNormal()).sample((64, 9), seeded())
    images = torch.rand(7, 1, 4, 5, generator=seeded(1))
    invert(decode, images, prior_samples=samples, steps=steps, lr=0.1, sampler=prior)
    assert decode.count == num_decodings(num_images=7, num_starts=64, steps=steps)


def test_a_search_starts_in_the_three_nearest_categories():
    decode, prior = CountingDecoder(orthonormal(9)), class_prior(8)
    images = torch.rand(7, 1, 4, 5, generator=seeded(1))
    invert(
        decode, images, prior_samples=prior.sample((64, 9), seeded()), steps=30, lr=0.1,
        sampler=prior,
    )  # fmt: skip
    descent = decode.sizes[-20:]
    assert sum(decode.sizes[:8]) == 64
    assert descent[-1] == 7
    assert max(decode.sizes[8:]) == 3 * 7


@pytest.mark.parametrize(("size", "largest"), [(1, 3), (6, 6), (500, 21)])
def test_a_batch_of_codes_has_the_size_that_is_set(size, largest):
    """Of one image at least, with all its three starts."""
    decode, prior = CountingDecoder(orthonormal(9)), class_prior(3)
    samples = prior.sample((40, 9), seeded())
    images = torch.rand(7, 1, 4, 5, generator=seeded(1))
    budget = {"prior_samples": samples, "steps": 9, "lr": 0.1, "sampler": prior}
    found = invert(decode, images, batch_size=size, **budget)
    assert max(decode.sizes) == largest
    torch.testing.assert_close(found, invert(decode, images, **budget), atol=1e-5, rtol=1e-4)


def test_the_fraction_outside_counts_codes():
    codes = torch.tensor([[0.0, 0.5], [0.0, 1.5], [-2.0, 3.0], [1.0, -1.0]])
    found = fraction_outside(codes, Uniform())
    assert (type(found), found) == (float, 0.5)


@pytest.mark.parametrize(("starts", "steps"), [(1, 100), (3, 100), (3, 5), (3, 2), (10, 7), (8, 0)])
def test_rounds_halve_the_starts_and_use_all_steps(starts, steps):
    rounds = list(halving_rounds(starts, steps))
    sizes = [size for size, _ in rounds]
    assert sum(size * count for size, count in rounds) == steps
    assert sizes[-1] == 1
    assert all(b <= (a + 1) // 2 for a, b in pairwise(sizes))
    assert all(count > 0 for _, count in rounds[:-1])


def test_equal_shares_of_the_steps_for_each_round():
    assert list(halving_rounds(3, 100)) == [(3, 11), (2, 16), (1, 35)]


def test_codes_of_indices_get_the_nearest_sample():
    prior = IndependentCategorical()
    prior.fit(torch.randint(5, (90, 3), generator=seeded()).float())
    samples = prior.sample((30, 3), seeded())
    decode = orthonormal(3)
    images = torch.rand(6, 1, 4, 5, generator=seeded(1))
    found = invert(decode, images, prior_samples=samples, steps=20, lr=0.1, sampler=prior)
    distance = (decode(samples)[None] - images[:, None]).square().flatten(2).sum(2)
    assert torch.equal(found, samples[distance.argmin(1)])
