"""InfoGAN: which part of the code is which, and which network each step updates."""

import math

import pytest
import torch

from latentlab.models.infogan import (
    CodeRecognitionLoss,
    InfoGAN,
    InfoGANCodes,
    InfoGANNetworks,
)
from latentlab.samplers import ClassConditional, InfoGANPrior
from latentlab.transforms.augmentation import random_affine
from models.lightning_stub import with_trainer

SHAPE = (1, 8, 8)


def infogan(num_categories=3, affine_strength=0.0, noise_scale=1.0):
    torch.manual_seed(0)
    codes = InfoGANCodes(
        num_categories=num_categories, num_continuous=2, noise_dim=4, noise_scale=noise_scale
    )
    return InfoGAN(
        SHAPE,
        prior=InfoGANPrior(),
        codes=codes,
        networks=InfoGANNetworks(width=4),
        recognition=CodeRecognitionLoss(affine_strength=affine_strength),
    )


def test_mutual_information_reads_each_code_at_its_place():
    model = infogan()
    z = model.prior.sample((40, model.latent_dim), torch.Generator().manual_seed(0))
    sigma = 0.25
    logvar = torch.full((40, 2), 2 * math.log(sigma))
    mi_y, mi_c = model.mutual_information(torch.cat([50 * z[:, -3:], z[:, 4:6], logvar], 1), z)
    assert float(mi_y) == pytest.approx(math.log(3), rel=1e-5)
    log_density = -math.log(sigma * (2 * math.pi) ** 0.5)  # of each normal density at its mean c
    assert float(mi_c) == pytest.approx(2 * (math.log(2) + log_density), rel=1e-5)


def test_each_step_updates_its_own_network():
    model = with_trainer(infogan(num_categories=10))
    for group in model.optimizers()[1].param_groups:
        group["lr"] = 0.0
    before = {name: value.clone() for name, value in model.named_parameters()}
    terms = model.training_step((torch.rand(16, *SHAPE), None), 0)
    changed = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert changed
    assert all(name.startswith("generator") for name in changed)
    assert terms["mi_categorical_nats"].item() < math.log(10)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_q_reads_the_category_from_the_mapped_image_and_the_continuous_codes_from_the_image():
    model = infogan(affine_strength=0.3).eval()
    x = 2 * torch.rand(5, *SHAPE) - 1
    logits, q = model.heads(x)
    torch.manual_seed(1)
    training_logits, training_q = model.training_heads(x)
    torch.manual_seed(1)
    mapped_q = model.heads(random_affine(x, 0.3))[1]
    torch.testing.assert_close(training_logits, logits)
    torch.testing.assert_close(training_q, torch.cat([mapped_q[:, :3], q[:, 3:]], 1))
    assert not torch.equal(mapped_q[:, :3], q[:, :3])
    plain = infogan(affine_strength=0.0).eval()
    torch.testing.assert_close(plain.training_heads(x)[1], plain.heads(x)[1])


def test_noise_scale_multiplies_the_noise_only():
    plain, scaled = infogan().eval(), infogan(noise_scale=0.25).eval()
    scaled.load_state_dict(plain.state_dict())
    z = plain.prior.sample((6, plain.latent_dim))
    expected = plain.decode(torch.cat([0.25 * z[:, :4], z[:, 4:]], 1))
    torch.testing.assert_close(scaled.decode(z), expected)


@pytest.mark.parametrize(
    "settings", [{"affine_strength": -0.1}, {"affine_strength": 1.0}, {"noise_scale": 0.0}]
)
def test_invalid_strengths_and_scales_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is .* must be"):
        infogan(**settings)


def test_one_category_and_a_sampler_without_categories_are_refused():
    with pytest.raises(ValueError, match="at least 2 categories"):
        infogan(num_categories=1)
    with pytest.raises(ValueError, match=r"class_path to latentlab\.samplers\.InfoGANPrior"):
        InfoGAN(SHAPE, prior=ClassConditional())
