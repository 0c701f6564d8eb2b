"""Wrong types in configurations: one sentence with the key, the value and what is allowed."""

from pathlib import Path

import pytest
import yaml

from latentlab.config.parser import assemble
from latentlab.config.project import parse_project
from latentlab.utils.errors import LatentlabError

SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}
MLP = "latentlab.networks.mlp.MLP"


def refused(repo, name, path, value):
    content = yaml.safe_load((repo / "configs" / f"{name}.yaml").read_text())
    place = content = {key: content[key] for key in ("model", "sampler") if key in content}
    *parents, last = path.split(".")
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    with pytest.raises(LatentlabError) as raised:
        assemble(name, content, SPEC, files="F")
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("vae", "beta", "high", "beta of latentlab.models.vae.VAE is 'high'; of type float"),
        ("wgan", "clip", "x", "clip of latentlab.models.wgan.WGAN is 'x'; of type float or null"),
        (
            "tied_ae",
            "decoder_hidden",
            [3.5],
            "decoder_hidden of latentlab.models.tied_ae.TiedAE is '[3.5]'; of type Sequence[int]"
            " or null",
        ),
        (
            "gaussian_ae",
            "scale",
            "wide",
            "scale of latentlab.models.stochastic_ae.StochasticAE is 'wide'; of type float,"
            " 'pixel' or null",
        ),
        (
            "vae",
            "network",
            {"class_path": MLP, "init_args": {"hidden": [4, "x"]}},
            f"hidden of {MLP} is 'x'; of type int",
        ),
        (
            "dcgan",
            "optim",
            {"betas": [0.5]},
            "optim.betas of latentlab.models.dcgan.DCGAN is '[0.5]'; of type tuple with 2 elements",
        ),
    ],
)
def test_the_innermost_key_is_named(repo, name, key, value, message):
    found = refused(repo, name, f"model.init_args.{key}", value)
    assert found == "F: " + message.replace("of type", "it must be of type")


@pytest.mark.parametrize("value", [3, None, [1]])
def test_a_block_of_settings_is_a_mapping(repo, value):
    assert refused(repo, "dcgan", "model.init_args.optim", value) == (
        f"F: model.init_args.optim is {value!r}; it must be a mapping of the settings of"
        " AdversarialOptim"
    )


def test_a_class_of_another_kind_is_named(repo):
    assert refused(repo, "vae", "model", {"class_path": "latentlab.samplers.StandardNormal"}) == (
        "F: model has the class_path 'latentlab.samplers.StandardNormal'; it must be a subclass of"
        " LightningModule"
    )


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("trainer", "max_epochs", "x", "trainer.max_epochs is 'x'; of type int or null"),
        ("trainer", "ema_decay", "x", "trainer.ema_decay is 'x'; of type float or null"),
        ("hardware", "devices", [0], "hardware.devices is '[0]'; of type int or str"),
        ("data", "size", 2.5, "data.size is '2.5'; of type int or null"),
    ],
)
def test_settings_of_params_yaml(section, key, value, message):
    with pytest.raises(LatentlabError) as raised:
        parse_project(Path(), {"seed": 0, section: {key: value}}, "F")
    assert str(raised.value) == "F: " + message.replace("of type", "it must be of type")
    with pytest.raises(LatentlabError, match=r"F: hardware.cluster is 'x'; it must be a mapping"):
        parse_project(Path(), {"seed": 0, "hardware": {"cluster": "x"}}, "F")
