# ruff: noqa: E501
"""Unknown keys, at every level of the YAML files: the error names the nearest or all allowed."""

import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
from torch import nn

from latentlab.config import load_experiment, load_project, load_task
from latentlab.config.keys import check_arguments, nearest, require_known
from latentlab.utils.errors import LatentlabError

DATA_SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}
MODEL = "model__init_args__"
MLP = "latentlab.networks.mlp.MLP"


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("params", {"evaluaton": {}}, r"params.yaml has no key 'evaluaton'; did you mean 'evaluation'"),
        ("params", {"zzz": {}}, r"params.yaml has no key 'zzz'; allowed: allow, seed, more_seeds, goal, on_unsuitable, data, trainer"),
        ("params", {"data__sise": 3}, r": data has no key 'sise'; did you mean 'size'"),
        ("params", {"trainer__xyz": 3}, r": trainer has no key 'xyz'; allowed: batch_size, total_im"),
        ("params", {"trainer__images": 3}, r": trainer has no key 'images'; did you mean 'total_ima"),
        ("params", {"evaluation__probe_l1": 3}, r": evaluation has no key 'probe_l1'; did you .*_l2"),
        ("params", {"hardware__device": 3}, r": hardware has no key 'device'; did you mean 'devices"),
        ("vae", {"trainr": {}}, r"vae.yaml has no key 'trainr'; did you mean 'trainer'"),
        ("vae", {"trainer__select": 3}, r"vae.yaml: trainer has no key 'select'; allowed: batch"),
        ("vae", {"model__init_arg": {}}, r"vae.yaml: model has no key 'init_arg'; did .*'init_args'"),
        ("vae", {f"{MODEL}bta": 1.0}, r"init_args \(latentlab.models.vae.VAE\).* 'bta'; .*'beta'"),
        ("vae", {f"{MODEL}zzz": 1.0}, r"VAE\) has no key 'zzz'; allowed: latent_dim, network, like"),
        ("vae", {f"{MODEL}network": {"hiden": [3]}}, r"network \(.*MLP\).*'hiden'; did .*'hidden'"),
        ("vae", {f"{MODEL}network": {"class_path": MLP, "init_arg": {}}}, r"network has no.*init_args"),
        (
            "vae",
            {f"{MODEL}network": {"class_path": MLP, "init_args": {"hiden": [3]}}},
            r"model.init_args.network.init_args \(latentlab.networks.mlp.MLP\).*did you mean 'hidden'",
        ),
        ("vae_mixture", {"sampler__init_args__component": 3}, r"sampler.init_args.*Mixture.*'components'"),
        ("dcgan", {f"{MODEL}optim__generator_lrs": 1}, r"optim \(.*Optim\).*did .* 'generator_lr'"),
        ("dcgan", {f"{MODEL}optim__steps": 1}, r"optim.* has no key 'steps'; .*discriminator_steps"),
        ("dcgan", {f"{MODEL}regularization__r1": 1}, r"regularization \(.*Regularization\).*'r1'"),
        ("tasks/gan_1d", {"modl": "vae"}, r"tasks/gan_1d.yaml has no key 'modl'; did you mean 'model'"),
        ("tasks/gan_1d", {"task__init_args__step": 1}, r"task.init_args.*GAN1D.*'step'; .*'steps'"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_an_error_at_every_level(project, name, edit, message):
    project.edit("params.yaml" if name == "params" else f"configs/{name}.yaml", **edit)
    load = {
        "params": load_project,
        "tasks/gan_1d": lambda root: load_task("gan_1d", root),
    }.get(name, lambda root: load_experiment(name, DATA_SPEC, root))
    with pytest.raises(LatentlabError, match=message) as caught:
        load(project.root)
    assert "\n" not in str(caught.value)


def test_the_first_unknown_key_is_named_and_long_ones_are_cut():
    require_known(["a"], ["a", "b"], "x")
    with pytest.raises(LatentlabError, match=r"^x has no key 'c'; allowed: a, b$"):
        require_known(["d", "c", "a"], ["a", "b"], "x")
    with pytest.raises(LatentlabError, match="allowed: none") as caught:
        require_known(["c\n" * 1000], [], "x")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_the_nearest_name_is_similar_or_none():
    assert nearest("latnt_dim", ["latent_dim", "beta"]) == "latent_dim"
    assert nearest("xyz", ["latent_dim", "beta"]) is None
    assert nearest("beta", []) is None


@dataclass
class Block:
    size: int = 1


@dataclass
class Other:
    width: int = 1


class Plain(nn.Module):
    """No arguments of its own; torch.nn.Module declares *args and **kwargs."""


class Holder:
    def __init__(
        self,
        block: Block | None = None,
        either: Block | Other = Block(),  # noqa: B008
        many: list = (),  # type: ignore[type-arg]
        unknown: "Absent" = None,  # type: ignore[name-defined]  # noqa: F821
    ):
        pass


class Typed:
    def __init__(self, block: Block | None = None, either: Block | Other = Other()):  # noqa: B008
        pass


class Open:
    def __init__(self, **kwargs):
        pass


@pytest.fixture
def classes(monkeypatch):
    module = ModuleType("own_classes")
    for cls in (Block, Plain, Holder, Typed, Open):
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "own_classes", module)
    return lambda name, **init_args: {"class_path": f"own_classes.{name}", "init_args": init_args}


def test_blocks_may_have_the_keys_of_any_dataclass_of_the_type(classes):
    check_arguments(classes("Typed", block={"size": 2}, either={"width": 2}), "x")
    check_arguments(classes("Typed", either={"size": 2}), "x")
    with pytest.raises(LatentlabError, match=r"x.init_args.block \(.*Block\) has no key 'width'"):
        check_arguments(classes("Typed", block={"width": 2}), "x")
    with pytest.raises(
        LatentlabError, match=r"either \(.*Block or .*Other\).*'xyz'; .* size, width"
    ):
        check_arguments(classes("Typed", either={"xyz": 2}), "x")


def test_classes_in_lists_are_checked(classes):
    check_arguments(classes("Holder", many=[classes("Block", size=1), 3]), "x")
    with pytest.raises(LatentlabError, match=r"x.init_args.many.1.init_args \(.*Block\).*'sise'"):
        check_arguments(classes("Holder", many=[classes("Block"), classes("Block", sise=1)]), "x")


def test_a_module_without_init_takes_no_arguments(classes):
    check_arguments(classes("Plain"), "x")
    with pytest.raises(LatentlabError, match=r"Plain\) has no key 'a'; allowed: none"):
        check_arguments(classes("Plain", a=1), "x")


def test_what_the_schema_does_not_say_is_left_to_the_parser(classes):
    check_arguments(classes("Open", anything=1), "x")
    check_arguments(classes("Holder", block={"any": 1}), "x")  # a type hint cannot be resolved
    check_arguments({"class_path": 3}, "x")
    check_arguments({"class_path": "own_classes.Typed", "init_args": [1]}, "x")


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("own_classes.Typd", r"own_classes has no 'Typd': did you mean 'own_classes.Typed'\?"),
        ("own_classes.Absent", r"own_classes has no 'Absent': write the name of a class in it"),
        ("latentlab.models.vea.VAE", r"no module 'latentlab.models.vea': did you mean '.*\.vae'"),
        ("latentlab.models.mine.Mine", r"no module '.*\.mine': write latentlab/models/mine.py"),
        ("nowhere.mine.Mine", r"no module 'nowhere': write nowhere.py"),
    ],
)
def test_an_absent_class_is_answered_with_a_similar_one(classes, class_path, message):
    with pytest.raises(LatentlabError, match=rf"^x.class_path is '{class_path}', but.*{message}"):
        check_arguments({"class_path": class_path, "init_args": {"a": 1}}, "x")


def test_arguments_that_the_data_set_are_not_allowed_in_yaml(classes):
    with pytest.raises(LatentlabError, match=r"has no key 'block'; allowed: either"):
        check_arguments(classes("Typed", block={}), "x", reserved={"block"})
