"""Numbers that are not possible are refused before a model is built, by one sentence."""

import dataclasses
import importlib
import inspect
import math
import pkgutil

import pytest
import yaml

import latentlab
from latentlab.config.model_contract import require_outputs
from latentlab.config.parser import assemble, assemble_task
from latentlab.config.ranges import check_ranges, range_of
from latentlab.models.linear_ae import LinearAE
from latentlab.samplers import StandardNormal
from latentlab.utils.errors import LatentlabError

SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}
CHECKED_BY_THE_CLASS = {"scale"}  # a number or a word, or a factor of the image's size


def with_value(repo, name, path, value):
    """The sections of a config that are built, with one value set."""
    content = yaml.safe_load((repo / "configs" / f"{name}.yaml").read_text())
    place = content = {key: content[key] for key in ("model", "sampler") if key in content}
    *parents, last = path.split(".")
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("vae", "model.init_args.lr", -0.1, "is -0.1; it must be > 0"),
        ("vae", "model.init_args.lr", 0.0, "is 0; it must be > 0"),
        ("vae", "model.init_args.lr", math.inf, "is inf; it must be > 0 and finite"),
        ("vae", "model.init_args.beta", -1.0, "is -1; it must be ≥ 0"),
        ("vae", "model.init_args.latent_dim", 0, "is 0; it must be ≥ 1"),
        ("vae", "model.init_args.network.init_args.hidden", [400, 0], "is 0; it must be ≥ 1"),
        ("conv_vae", "model.init_args.network.init_args.width", 0, "is 0; it must be ≥ 1"),
        ("dcgan", "model.init_args.optim.betas", [0.5, 1.0], "is 1; it must be in [0, 1)"),
        ("dcgan", "model.init_args.optim.generator_lr", -1e-4, "is -0.0001; it must be > 0"),
        ("style_gan", "model.init_args.style_mixing_prob", 1.5, "is 1.5; it must be in [0, 1]"),
        ("began", "model.init_args.gamma", math.nan, "is nan; it must be in (0, 1] and finite"),
        ("iwae", "model.init_args.num_samples", 0, "is 0; it must be ≥ 1"),
        ("vae_mixture", "sampler.init_args.components", 0, "is 0; it must be ≥ 1"),
    ],
)
def test_the_message_has_key_value_and_range(repo, name, path, value, message):
    with pytest.raises(LatentlabError) as raised:
        assemble(name, with_value(repo, name, path, value), SPEC, files="vae.yaml")
    assert str(raised.value) == f"vae.yaml: {path} {message}"


def test_settings_of_tasks_are_checked(repo):
    spec = yaml.safe_load((repo / "configs" / "tasks" / "gan_1d.yaml").read_text())["task"]
    for key, value, message in [
        ("steps", 0, r"task\.init_args\.steps is 0; it must be ≥ 1"),
        ("steps", "many", r"steps is 'many'; it must be of type int"),
        ("std", -0.5, r"task\.init_args\.std is -0\.5; it must be > 0"),
    ]:
        with pytest.raises(LatentlabError, match=message):
            assemble_task({**spec, "init_args": {key: value}}, files="gan_1d.yaml")


def test_keys_of_other_packages_keep_their_meaning():
    """`width` may be anything there, but a learning rate and a code size are what they are."""
    own = {"class_path": "my_models.Net", "init_args": {"width": -1.0, "lr": 1e-3}}
    check_ranges({"model": own}, "own.yaml")
    own["init_args"]["lr"] = 0.0
    with pytest.raises(LatentlabError, match=r"own\.yaml: model\.init_args\.lr is 0; .* > 0"):
        check_ranges({"model": own}, "own.yaml")


def classes_of_configs():
    """Classes that a configuration can name, and dataclasses of settings."""
    for package in ("models", "networks", "samplers", "optim", "tasks"):
        folder = importlib.import_module(f"latentlab.{package}")
        for found in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            module = importlib.import_module(found.name)
            for cls in vars(module).values():
                if not isinstance(cls, type) or cls.__module__ != module.__name__:
                    continue
                frozen = dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
                if frozen or package == "models" or hasattr(cls, "fit"):
                    yield cls


def test_every_number_of_a_configuration_has_a_range():
    lacking = {}
    for cls in classes_of_configs():
        for parameter in inspect.signature(cls).parameters.values():
            types = str(parameter.annotation).replace("ImageShape", "")
            number = "int" in types or "float" in types
            given = parameter.default is not inspect.Parameter.empty  # others are set in code
            if number and given and range_of(parameter.name) is None:
                lacking.setdefault(parameter.name, cls.__qualname__)
    assert lacking.keys() <= CHECKED_BY_THE_CLASS, lacking
    assert len(list(classes_of_configs())) > 50
    assert latentlab.__name__ == "latentlab"


def test_defaults_and_shipped_values_are_in_their_ranges(repo):
    for cls in classes_of_configs():
        for parameter in inspect.signature(cls).parameters.values():
            values = parameter.default
            limits = range_of(parameter.name)
            for value in values if isinstance(values, tuple) else [values]:
                if isinstance(value, int | float) and limits is not None:
                    assert value in limits or value == 0 == limits.low, (cls, parameter.name)


def test_a_linear_code_is_no_longer_than_the_image():
    model = LinearAE((1, 8, 8), latent_dim=65)
    with pytest.raises(LatentlabError, match=r"latent_dim is 65, but an image has 64 values"):
        require_outputs(model, StandardNormal(), (1, 8, 8))
    require_outputs(LinearAE((1, 8, 8), latent_dim=64), StandardNormal(), (1, 8, 8))
