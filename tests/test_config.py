# ruff: noqa: E501
"""Two YAML files → one experiment; every mistake is named before anything runs."""

import pytest
import torch
import yaml

from latentlab.config import build, find_root, load_experiment, load_project
from latentlab.contracts import LatentlabError

FACTS = {"image_shape": (1, 8, 8), "num_classes": 10}


def test_an_experiment_is_what_its_files_say(project):
    experiment = load_experiment("vae", FACTS, project.root)
    assert type(experiment.model).__name__ == "VAE"
    assert experiment.model.latent_dim == 20
    assert experiment.model.decode(torch.zeros(2, 20)).shape == (2, 1, 8, 8)
    assert type(experiment.sampler).__name__ == "StandardNormal"
    assert experiment.trainer.batch_size == 128
    assert experiment.resolved["model"]["init_args"]["hidden"] == [400]
    assert experiment.resolved["model"]["init_args"]["activation"] == "relu"  # a default, resolved


def test_the_gan_trains_with_the_sampler_of_its_yaml(project):
    project.edit("configs/dcgan.yaml", sampler__class_path="latentlab.priors.Uniform")
    experiment = load_experiment("dcgan", FACTS, project.root)
    assert experiment.model.prior is experiment.sampler
    assert type(experiment.sampler).__name__ == "Uniform"


def test_the_seed_decides_the_weights(project):
    def weights():
        return load_experiment("vae", FACTS, project.root).model.decoder[0].weight

    first = weights()
    torch.manual_seed(99)
    assert torch.equal(first, weights())
    project.edit("params.yaml", seed=1)
    assert not torch.equal(first, weights())


def test_a_resolved_experiment_builds_itself_again(project):
    first = load_experiment("dcgan", FACTS, project.root)
    again = build("dcgan", first.resolved, FACTS, root=project.root, files="x")
    assert again.resolved == first.resolved
    assert torch.equal(first.model.generator.project.weight, again.model.generator.project.weight)


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("params.yaml", {"data__nmae": "mnist"}, r"params.yaml.*'data' does not accept option 'nmae'"),
        ("params.yaml", {"data__val_fraction": "x"}, r"data.val_fraction.*float.*Got value: x"),
        ("params.yaml", {"data__name": "celeb"}, r"data.name is 'celeb'.*digits, mnist"),
        ("params.yaml", {"trainer__log_every": 0}, r"trainer.log_every is 0: it must be ≥ 1"),
        ("params.yaml", {"trainer__batch_size": 4}, r"trainer.batch_size is set in params.yaml and in configs/vae.yaml"),
        ("params.yaml", {"traner": {}}, r"unknown section 'traner'; allowed: seed, data"),
        ("params.yaml", {"seed": None}, r"required: seed"),
        ("params.yaml", {"seed": 2**32}, r"seed is 4294967296: it must be ≥ 0 and < 2\^32"),
        ("params.yaml", {"seed": -1}, r"seed is -1"),
        ("params.yaml", {"data": "mnist"}, r"params.yaml: data must be a mapping, got 'mnist'"),
        ("params.yaml", {"models": {"a b": "vae"}}, r"a model cannot be called 'a b': use letters"),
        ("params.yaml", {"models": {"judge": "judge"}}, r"cannot be called 'judge'.*judge, reference"),
        ("params.yaml", {"evaluation__inversion_lr": float("nan")}, r"inversion_lr is nan: it must be > 0"),
        ("params.yaml", {"evaluation__probe_l2": -1.0}, r"probe_l2 is -1.0: it must be > 0"),
        ("params.yaml", {"evaluation__probe_l2": 0.0}, r"probe_l2 is 0.0: it must be > 0"),
        ("params.yaml", {"evaluation__num_samples": 5}, r"num_samples is 5: it must be ≥ 6"),
        ("params.yaml", {"evaluation__inversion_draws": 0}, r"inversion_draws is 0: it must be ≥ 1"),
        ("configs/vae.yaml", {"model__init_args__latnt_dim": 3}, r"configs/vae.yaml.*latentlab.models.vae.VAE.*'latnt_dim' is not accepted"),
        ("configs/vae.yaml", {"model__init_args__latent_dim": "many"}, r"VAE.*latent_dim.*int.*Got value: many"),
        ("configs/vae.yaml", {"model__init_args__likelihood": "laplace"}, r"likelihood.*bernoulli.*gaussian.*laplace"),
        ("configs/vae.yaml", {"model__init_args__image_shape": [1, 9, 9]}, r"'image_shape' is not accepted"),
        ("configs/vae.yaml", {"model__class_path": "latentlab.models.vae.VEA"}, r"no attribute 'VEA'"),
        ("configs/vae.yaml", {"model__init_args__activation": "relo"}, r"vae cannot be built.*relo"),
        ("configs/vae.yaml", {"sampler__init_args": {"x": 1}}, r"StandardNormal.*'x' is not accepted"),
        ("configs/vae.yaml", {"model": None}, r"required: model"),
        ("configs/vae.yaml", {"model": "latentlab.models.vae.VAE"}, r"vae.yaml: model must be a mapping, got 'latentlab"),
        ("configs/vae.yaml", {"model__init_args__hidden": [-3]}, r"vae cannot be built.*negative dimension -3"),
        ("configs/vae.yaml", {"model__init_args__hidden": [10**30]}, r"model.init_args.hidden.0 is a number of more than 64 bits"),
        ("configs/vae.yaml", {"model__init_args__hidden": [2**62]}, r"vae cannot be built.*a size is beyond 64 bits"),
        ("configs/vae.yaml", {"sampler__class_path": "torch.nn.ReLU"}, r"ReLU is no sampler: it needs fit and sample"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_and_class(project, file, edit, message):
    project.edit(file, **edit)
    with pytest.raises(LatentlabError, match=message) as caught:
        load_experiment("vae", FACTS, project.root)
    assert "\n" not in str(caught.value)


def test_unknown_and_unlisted_models_are_told_apart(project):
    with pytest.raises(LatentlabError, match=r"unknown model 'vea': configs/ has .*dcgan, .*judge"):
        load_experiment("vea", FACTS, project.root)
    project.edit("params.yaml", models__vea="vae")
    with pytest.raises(
        LatentlabError, match=r"lists the model 'vea', but configs/vea.yaml is absent"
    ):
        load_experiment("vea", FACTS, project.root)


def test_broken_yaml_and_images_that_do_not_fit(project):
    with pytest.raises(LatentlabError, match=r"dcgan cannot be built.*27×27 pixels do not fit"):
        load_experiment("dcgan", {"image_shape": (1, 27, 27), "num_classes": 0}, project.root)
    (project.root / "configs" / "vae.yaml").write_text("model: [")
    with pytest.raises(LatentlabError, match=r"vae.yaml is not valid YAML"):
        load_experiment("vae", FACTS, project.root)


def test_the_project_is_found_from_below_and_missed_outside(project, tmp_path_factory):
    below = project.root / "a" / "b"
    below.mkdir(parents=True)
    assert find_root(below) == project.root.resolve()
    assert load_project(project.root).models["vae"] == "vae"
    with pytest.raises(LatentlabError, match=r"no params.yaml in .* or above"):
        find_root(tmp_path_factory.mktemp("empty"))


def test_activations_error_lists_what_exists(project):
    project.edit("configs/stacked_ae.yaml", model__init_args__activation="relo")
    with pytest.raises(LatentlabError, match=r"relo.*gelu.*relu"):
        load_experiment("stacked_ae", FACTS, project.root)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("evaluation__probe_l2", "float"),
        ("data__val_fraction", "float"),
        ("trainer__images", "int"),
    ],
)
def test_a_null_where_a_value_must_be_is_named(project, key, told):
    section, name = key.split("__")
    content = yaml.safe_load((project.root / "params.yaml").read_text())
    content.setdefault(section, {})[name] = None
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(LatentlabError, match=rf"{section}\.{name} is null: it must be {told}"):
        load_project(project.root)
