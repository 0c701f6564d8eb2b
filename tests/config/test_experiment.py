# ruff: noqa: E501
"""Two YAML files → one experiment. An error names the key before anything runs."""

import pytest
import torch
import yaml

from latentlab.config import build, find_root, load_experiment, load_project
from latentlab.utils.errors import LatentlabError

DATA_SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}


def test_an_experiment_has_the_values_of_its_files_and_the_defaults(project):
    experiment = load_experiment("vae", DATA_SPEC, project.root)
    assert type(experiment.model).__name__ == "VAE"
    assert experiment.model.latent_dim == 20
    assert experiment.model.decode(torch.zeros(2, 20)).shape == (2, 1, 8, 8)
    assert type(experiment.sampler).__name__ == "StandardNormal"
    assert experiment.trainer.batch_size == 128
    network = experiment.resolved["model"]["init_args"]["network"]["init_args"]
    assert network["hidden"] == [400]
    assert network["activation"] == "relu", "a default"


def test_the_prior_of_a_gan_is_the_sampler_of_its_config(project):
    project.edit("configs/dcgan.yaml", sampler__class_path="latentlab.samplers.Uniform")
    experiment = load_experiment("dcgan", DATA_SPEC, project.root)
    assert experiment.model.prior is experiment.sampler
    assert type(experiment.sampler).__name__ == "Uniform"


def test_the_seed_sets_the_initial_weights(project):
    def weights():
        return load_experiment("vae", DATA_SPEC, project.root).model.decoder[0].weight

    first = weights()
    torch.manual_seed(99)
    assert torch.equal(first, weights())
    project.edit("params.yaml", seed=1)
    assert not torch.equal(first, weights())


def test_a_resolved_experiment_can_be_built_again(project):
    first = load_experiment("dcgan", DATA_SPEC, project.root)
    again = build("dcgan", first.resolved, DATA_SPEC, root=project.root, files="x")
    assert again.resolved == first.resolved
    assert torch.equal(first.model.generator.project.weight, again.model.generator.project.weight)


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("params.yaml", {"data__nmae": "mnist"}, r"params.yaml.*: data has no key 'nmae'; did you mean 'name'\?"),
        ("params.yaml", {"data__val_fraction": "x"}, r"data.val_fraction is 'x'; it must be of type float"),
        ("params.yaml", {"data__name": "celeb"}, r"data.name is 'celeb'.*digits, mnist"),
        ("params.yaml", {"trainer__log_every_n_steps": 0}, r"trainer.log_every_n_steps is 0; it must be ≥ 1"),
        ("params.yaml", {"trainer__batch_size": 4}, r"trainer.batch_size is set in params.yaml and in configs/vae.yaml"),
        ("params.yaml", {"traner": {}}, r"params.yaml has no key 'traner'; did you mean 'trainer'\?"),
        ("params.yaml", {"seed": None}, r"required: seed"),
        ("params.yaml", {"seed": 2**32}, r"seed is 4294967296; it must be >= 0 and < 2\^32"),
        ("params.yaml", {"seed": -1}, r"seed is -1"),
        ("params.yaml", {"data": "mnist"}, r"params.yaml: data is 'mnist'; it must be a mapping"),
        ("params.yaml", {"models": {"a b": "configs/vae.yaml"}}, r"a model cannot have the name 'a b': use letters"),
        ("params.yaml", {"models": {"classifier": "classifier"}}, r"cannot have the name 'classifier'.*classifier, data, reference"),
        ("params.yaml", {"evaluation__inversion_lr": float("inf")}, r"inversion_lr is inf; it must be > 0"),
        ("params.yaml", {"evaluation__inversion_lr": float("nan")}, r"line \d+: NaN is not allowed"),
        ("params.yaml", {"evaluation__probe_l2": -1.0}, r"probe_l2 is -1.0; it must be > 0"),
        ("params.yaml", {"evaluation__probe_l2": 0.0}, r"probe_l2 is 0.0; it must be > 0"),
        ("params.yaml", {"evaluation__num_samples": 5}, r"num_samples is 5; it must be ≥ 6"),
        ("params.yaml", {"evaluation__inversion_num_starts": 0}, r"inversion_num_starts is 0; it must be ≥ 1"),
        ("configs/vae.yaml", {"model__init_args__latnt_dim": 3}, r"configs/vae.yaml: model.init_args \(latentlab.models.vae.VAE\) has no key 'latnt_dim'; did you mean 'latent_dim'\?"),
        ("configs/vae.yaml", {"model__init_args__latent_dim": "many"}, r"latent_dim of .*VAE is 'many'; .* type int"),
        ("configs/vae.yaml", {"model__init_args__likelihood": "laplace"}, r"likelihood of .*VAE is 'laplace'; allowed: bernoulli, gaussian"),
        ("configs/vae.yaml", {"model__init_args__image_shape": [1, 9, 9]}, r"VAE\) has no key 'image_shape'; allowed: latent_dim, "),
        ("configs/vae.yaml", {"model__class_path": "latentlab.models.vae.VEA"}, r"has no 'VEA': did you mean '.*VAE'"),
        ("configs/vae.yaml", {"model__init_args__network__init_args__activation": "relo"}, r"vae cannot be built.*relo"),
        ("configs/vae.yaml", {"sampler__init_args": {"x": 1}}, r"sampler.init_args \(.*StandardNormal\) has no key 'x'; allowed: none"),
        ("configs/vae.yaml", {"model": None}, r"there is no section `model`; write one"),
        ("configs/vae.yaml", {"model": "latentlab.models.vae.VAE"}, r"vae.yaml: model is 'latentlab.*'; it must be a mapping"),
        ("configs/vae.yaml", {"model__init_args__network__init_args__hidden": [-3]}, r"network\.init_args\.hidden is -3; it must be ≥ 1"),
        ("configs/vae.yaml", {"model__init_args__network__init_args__hidden": [10**30]}, r"hidden.0 is an integer of more than 64 bits"),
        ("configs/vae.yaml", {"model__init_args__network__init_args__hidden": [2**62]}, r"vae cannot be built.*a size has more than 64 bits"),
        ("configs/vae.yaml", {"sampler__class_path": "torch.nn.ReLU"}, r"ReLU is no sampler: it needs learns, fit and sample"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_and_the_class(project, file, edit, message):
    project.edit(file, **edit)
    with pytest.raises(LatentlabError, match=message) as caught:
        load_experiment("vae", DATA_SPEC, project.root)
    assert "\n" not in str(caught.value)


def test_a_model_without_config_is_an_error(project):
    with pytest.raises(
        LatentlabError,
        match=r"unknown model 'vea': did you mean 'vae'\? configs/ has .*dcgan, .*classifier",
    ):
        load_experiment("vea", DATA_SPEC, project.root)
    project.edit("params.yaml", models__vea="configs/vea.yaml")
    with pytest.raises(
        LatentlabError, match=r"lists the model 'vea', but there is no configs/vea.yaml"
    ):
        load_experiment("vea", DATA_SPEC, project.root)


def test_invalid_yaml_and_images_of_the_wrong_size_are_errors(project):
    with pytest.raises(LatentlabError, match=r"dcgan cannot be built.*27×27 pixels do not fit"):
        load_experiment("dcgan", {"image_shape": (1, 27, 27), "num_classes": 0}, project.root)
    (project.root / "configs" / "vae.yaml").write_text("model: [")
    with pytest.raises(LatentlabError, match=r"vae.yaml is not valid YAML"):
        load_experiment("vae", DATA_SPEC, project.root)


def test_the_project_is_found_in_the_folders_above(project, tmp_path_factory):
    below = project.root / "a" / "b"
    below.mkdir(parents=True)
    assert find_root(below) == project.root.resolve()
    assert load_project(project.root).models["vae"].endswith("models/vae.py")
    with pytest.raises(LatentlabError, match=r"no params.yaml in .* or above"):
        find_root(tmp_path_factory.mktemp("empty"))


def test_the_error_of_an_unknown_activation_lists_the_activations(project):
    project.edit("configs/stacked_ae.yaml", model__init_args__network__init_args__activation="relo")
    with pytest.raises(LatentlabError, match=r"relo.*gelu.*relu"):
        load_experiment("stacked_ae", DATA_SPEC, project.root)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("evaluation__probe_l2", "float"),
        ("data__val_fraction", "float"),
        ("trainer__total_images", "int"),
    ],
)
def test_null_for_a_value_that_is_required_is_an_error(project, key, expected):
    section, name = key.split("__")
    content = yaml.safe_load((project.root / "params.yaml").read_text())
    content.setdefault(section, {})[name] = None
    (project.root / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(LatentlabError, match=rf"{section}\.{name} is null; it must be {expected}"):
        load_project(project.root)


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        ("wgan_gp", {}),
        ("style_gan", {}),
        ("dcgan", {"model__init_args__regularization": {"r1_gamma": 1.0}}),
    ],
)
def test_a_gradient_penalty_cannot_be_compiled(project, name, edits):
    project.edit("params.yaml", trainer__compile=True)
    project.edit(f"configs/{name}.yaml", **edits)
    spec = {"image_shape": (1, 28, 28), "num_classes": 10}
    with pytest.raises(LatentlabError, match=r"trainer.compile is true, .* set trainer.compile to"):
        load_experiment(name, spec, project.root)


@pytest.mark.parametrize("name", ["wgan", "dcgan", "vae_gan", "vae"])
def test_other_models_can_be_compiled(project, name):
    project.edit("params.yaml", trainer__compile=True)
    load_experiment(name, {"image_shape": (1, 28, 28), "num_classes": 10}, project.root)
