"""Settings and data that a task does not accept."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.contracts import Split
from latentlab.tasks.common.requirements import (
    labels_of,
    require_at_least,
    require_classes,
    require_encoder,
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
