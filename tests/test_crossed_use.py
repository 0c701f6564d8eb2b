"""Every trained model × every use: what must not change does not change."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from crossed import QUIET, REPO, Trained, base, every_model, images, prepared
from latentlab.config import load_experiment
from latentlab.contracts import DiscreteCodes, Encoder
from latentlab.data.prepared import read_meta
from latentlab.inference.blocks import sample_blocks

__all__ = ["base", "images", "prepared"]  # fixtures
pytestmark = QUIET


def codes_of(trained: Trained, images: Tensor) -> Tensor:
    with torch.inference_mode():
        if isinstance(trained.model, Encoder):
            return trained.model.encode(images)
        generator = torch.Generator().manual_seed(0)
        return trained.sampler.sample((len(images), trained.model.latent_dim), generator)


@every_model
def test_one_image_gives_what_it_gives_among_many(base, images, name):
    trained = base(name)
    z = codes_of(trained, images)
    with torch.inference_mode():
        for function, values in ((trained.model.features, images), (trained.model.decode, z)):
            many = function(values)
            one = torch.cat([function(value[None]) for value in values[:5]])
            torch.testing.assert_close(many[:5], one, rtol=1e-3, atol=1e-4)


@every_model
def test_images_are_finite_and_in_range_for_any_code(base, images, name):
    trained = base(name)
    z = codes_of(trained, images)
    scales = (1.0,) if isinstance(trained.model, DiscreteCodes) else (0.0, 1.0, 30.0)
    with torch.inference_mode():
        for scale in scales:
            decoded = trained.model.decode(z * scale)
            assert decoded.isfinite().all(), scale
            assert 0 <= float(decoded.min()) <= float(decoded.max()) <= 1, scale


@every_model
def test_use_changes_no_state_and_no_global_generator(base, images, name):
    trained = base(name)
    state = torch.get_rng_state()
    with torch.inference_mode():
        z = codes_of(trained, images)
        trained.model.decode(z)
        trained.model.features(images)
    if trained.sampler is not None:
        trained.sampler.sample((7, trained.model.latent_dim), torch.Generator().manual_seed(1))
    for key, value in trained.model.state_dict().items():
        assert torch.equal(value, trained.weights[key]), key
    assert torch.equal(state, torch.get_rng_state())


@every_model
def test_fewer_codes_are_the_first_of_more(base, name):
    sampler, dim = base(name).sampler, base(name).model.latent_dim
    if sampler is None:
        pytest.skip("no sampler")
    many = sample_blocks(sampler, 120, dim, torch.Generator().manual_seed(3))
    for count in (1, 3, 15, 16, 17, 100):
        few = sample_blocks(sampler, count, dim, torch.Generator().manual_seed(3))
        assert torch.equal(few, many[:count]), count


@every_model
def test_a_copy_gives_the_same(base, images, name):
    trained = base(name)
    copied = copy.deepcopy(trained.model)
    with torch.inference_mode():
        assert torch.equal(copied.features(images), trained.model.features(images))


@every_model
def test_the_smallest_batch_of_validation_is_one_image(base, images, name):
    trained = base(name)
    values = trained.model.validation_step((images[:1], torch.zeros(1, dtype=torch.int64)), 0)
    assert all(value.isfinite() for value in values.values())


@every_model
def test_images_do_not_see_each_other(base, images, name):
    """Another order, and a part of the images, give the same features and images."""
    trained = base(name)
    z = codes_of(trained, images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:20]
    with torch.inference_mode():
        for function, values in ((trained.model.features, images), (trained.model.decode, z)):
            many = function(values)
            torch.testing.assert_close(function(values[order]), many[order], rtol=1e-3, atol=1e-4)


@every_model
def test_no_image_gives_no_image(base, images, name):
    trained = base(name)
    z = codes_of(trained, images)
    with torch.inference_mode():
        assert trained.model.decode(z[:0]).shape == (0, *images.shape[1:])
        assert trained.model.features(images[:0]).shape[0] == 0


@every_model
def test_the_strides_of_images_do_not_matter(base, images, name):
    trained = base(name)
    wide = torch.zeros(*images.shape[:3], 2 * images.shape[3])
    wide[..., ::2] = images
    with torch.inference_mode():
        expected = trained.model.features(images)
        for same in (images.to(memory_format=torch.channels_last), wide[..., ::2]):
            torch.testing.assert_close(trained.model.features(same), expected, rtol=1e-3, atol=1e-4)


@every_model
def test_the_decoder_has_a_gradient(base, images, name):
    """Latent inversion, and goals of one's own, need it."""
    trained = base(name)
    if isinstance(trained.model, DiscreteCodes):
        pytest.skip("codes are indices")
    z = codes_of(trained, images)[:4].clone().requires_grad_()
    trained.model.decode(z).square().sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert (z.grad.abs().sum(1) > 0).all()


@every_model
def test_gradients_and_repetition_change_no_value(base, images, name):
    trained = base(name)
    z = codes_of(trained, images)
    with torch.inference_mode():
        expected = trained.model.decode(z), trained.model.features(images)
        again = trained.model.decode(z), trained.model.features(images)
    with torch.enable_grad():
        kept = trained.model.decode(z.clone()), trained.model.features(images.clone())
    for value, other, with_grad in zip(expected, again, kept, strict=True):
        assert torch.equal(value, other)
        assert torch.equal(value, with_grad.detach())


@every_model
def test_a_seed_decides_the_samples(base, name):
    sampler, dim = base(name).sampler, base(name).model.latent_dim
    first, second, other = (
        sampler.sample((20, dim), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@every_model
def test_weights_in_a_new_model_give_the_same(base, prepared, images, name):
    trained = base(name)
    fresh = load_experiment(name, read_meta(prepared["plain"]).data_spec, REPO).model.eval()
    fresh.load_state_dict(trained.model.state_dict(), strict=True)
    z = codes_of(trained, images)
    with torch.inference_mode():
        torch.testing.assert_close(fresh.decode(z), trained.model.decode(z), rtol=1e-4, atol=1e-5)


@every_model
def test_float32_is_precise_enough(base, images, name):
    """The same model in float64 gives the same images: no step loses many digits."""
    trained = base(name)
    atol = 1e-2 if getattr(trained.model, "bf16", False) else 1e-4  # a network in bfloat16
    z = codes_of(trained, images)
    double = copy.deepcopy(trained.model).double()
    codes = z if isinstance(trained.model, DiscreteCodes) else z.double()
    with torch.inference_mode():
        decoded = double.decode(codes).float()
        torch.testing.assert_close(decoded, trained.model.decode(z), rtol=1e-3, atol=atol)
