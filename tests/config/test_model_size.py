"""The memory of a model is compared with the memory of the machine before it is allocated."""

import pytest
import torch

from latentlab.config import load_experiment, model_size, parser
from latentlab.utils.errors import LatentlabError

DATA_SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}


def load(project):
    return load_experiment("vae", DATA_SPEC, project.root)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("vae", "network__init_args__hidden", [320_000_000]),
        ("stacked_ae", "network__init_args__hidden", [10**6] * 3),
        ("classifier", "width", 10**5),
    ],
)
def test_a_model_larger_than_memory_is_an_error(project, name, key, value):
    project.edit(f"configs/{name}.yaml", **{f"model__init_args__{key}": value})
    message = rf"{name} cannot be built .* values need .* GiB to train .*; the machine has"
    with pytest.raises(LatentlabError, match=message):
        load_experiment(name, DATA_SPEC, project.root)


def test_the_memory_is_four_times_that_of_the_weights(project, monkeypatch):
    model = load(project).model
    needed = 4 * sum(4 * p.numel() for p in model.parameters())
    monkeypatch.setattr(model_size, "memory_limit", lambda: needed)
    load(project)
    monkeypatch.setattr(model_size, "memory_limit", lambda: needed - 1)
    with pytest.raises(LatentlabError, match=f"its {needed // 16:,} values need"):
        load(project)


def test_the_check_changes_no_weight(project, monkeypatch):
    measured = load(project).model.state_dict()
    monkeypatch.setattr(parser, "check_size", lambda *_: None)
    plain = load(project).model.state_dict()
    assert all(torch.equal(measured[key], plain[key]) for key in plain)
