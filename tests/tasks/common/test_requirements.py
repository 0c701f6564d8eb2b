"""Settings and data that a task does not accept."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from latentlab.contracts import Split
from latentlab.models.classifier import Classifier
from latentlab.models.conditional_gan import ConditionalGAN
from latentlab.models.semi_supervised_gan import SemiSupervisedGAN
from latentlab.models.vq_vae import VQVAE
from latentlab.samplers import ClassConditional, StandardNormal
from latentlab.tasks.common.requirements import (
    labels_of,
    require_at_least,
    require_classes,
    require_differentiable_features,
    require_encoder,
    require_learned_without_labels,
)
from latentlab.utils.errors import LatentlabError


def test_the_first_field_below_the_minimum_is_named():
    settings = SimpleNamespace(steps=3, hidden=1)
    require_at_least(1, settings, "steps", "hidden")
    with pytest.raises(LatentlabError, match="hidden is 1: it must be ≥ 2"):
        require_at_least(2, settings, "steps", "hidden")


def test_images_need_labels(context, unlabelled):
    require_classes(context)
    with pytest.raises(LatentlabError, match="the images have no labels: this task needs labels"):
        require_classes(unlabelled)
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert labels_of(Split(images, torch.arange(3))).tolist() == [0, 1, 2]
    with pytest.raises(LatentlabError, match="no labels: select data with labels"):
        labels_of(Split(images))


def test_the_model_needs_an_encoder(context, decoder_only):
    require_encoder(context)
    with pytest.raises(LatentlabError, match=r"pca has no encoder.*`model` in params\.yaml"):
        require_encoder(decoder_only)


def with_model(context, module, name="model"):
    trained = replace(context.trained, module=module, name=name)
    return replace(context, trained=trained)


def test_models_that_were_given_labels_are_not_unsupervised(context):
    prior = ClassConditional()
    conditional = ConditionalGAN((1, 8, 8), prior=prior, num_classes=3, noise_dim=5, width=4)
    partly = SemiSupervisedGAN((1, 8, 8), prior=StandardNormal(), num_classes=3)
    require_learned_without_labels(context)
    for module in (conditional, partly):
        with pytest.raises(LatentlabError, match=r"model was trained with labels.*`model` in"):
            require_learned_without_labels(with_model(context, module))
    with pytest.raises(LatentlabError, match=r"classifier was trained with labels"):
        require_learned_without_labels(
            with_model(context, Classifier((1, 8, 8), num_classes=3), "classifier")
        )


def test_discrete_codes_pass_no_gradient_to_the_encoder(context):
    vq_vae = VQVAE((1, 8, 8), codebook_size=4, embedding_dim=2, width=4)
    vq_vae.features(torch.rand(2, 1, 8, 8)).sum().backward()
    assert all(weight.grad is None for weight in vq_vae.encoder.parameters())
    require_differentiable_features(context)
    with pytest.raises(LatentlabError, match="no gradient reaches its encoder"):
        require_differentiable_features(with_model(context, vq_vae))
