"""A model that lacks a member of contracts.Model is refused, with the member and the fix."""

import pytest
import torch
from lightning import LightningModule

from latentlab.config import load_experiment
from latentlab.config.model_contract import (
    FAMILIES,
    MEMBERS,
    STEPS,
    require_model,
    require_outputs,
)
from latentlab.contracts import Model
from latentlab.models.linear_ae import LinearAE
from latentlab.models.vq_vae import VQVAE
from latentlab.samplers import (
    AutoregressivePrior,
    FittedGaussian,
    FittedMixture,
    IndependentCategorical,
    StandardNormal,
)
from latentlab.utils.errors import LatentlabError

DATA_SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}
METHODS = ("decode", "features", *STEPS)


def model(*without, family="AE", latent_dim=2):
    """A model class without some members, instantiated."""
    members = {name: lambda self, *_: torch.zeros(1) for name in METHODS}
    members |= {"family": family, "latent_dim": latent_dim}
    kept = {name: value for name, value in members.items() if name not in without}
    return type("MyModel", (LightningModule,), kept)()


def test_a_whole_model_passes():
    require_model(model())


@pytest.mark.parametrize("member", [*MEMBERS, *STEPS])
def test_a_missing_member_is_named_in_one_line(member):
    expected = rf"^MyModel has no `{member}`: .*; see docs/new-model.md$"
    with pytest.raises(LatentlabError, match=expected) as caught:
        require_model(model(member))
    assert "\n" not in str(caught.value)


def test_the_message_says_what_to_write():
    with pytest.raises(LatentlabError, match=r"`features`: add features\(x\) -> \(B, F\); see"):
        require_model(model("features"))


def test_the_family_is_one_of_four():
    assert FAMILIES == ("AE", "VAE", "GAN", "Diffusion")
    with pytest.raises(LatentlabError, match=r"family is 'Flow': set family to one of AE, VAE, G"):
        require_model(model(family="Flow"))


def test_every_member_of_the_protocol_is_checked():
    declared = {name for name in vars(Model) if not name.startswith("_")}
    assert {*Model.__annotations__, *declared} == set(MEMBERS)


def test_attributes_of_the_instance_count():
    whole = model("latent_dim")
    whole.latent_dim = 3
    require_model(whole)


SHAPE = (1, 4, 4)


def working(**changed):
    """An encoder with D = 2 for images of 4×4; `changed` replaces methods."""
    methods = {
        "encode": lambda self, x: x.flatten(1)[:, :2],
        "decode": lambda self, z: torch.full((len(z), *SHAPE), 0.5),
        "features": lambda self, x: x.flatten(1),
        "validation_step": lambda self, batch, index: {"mean": batch[0].mean()},
        "family": "AE",
        "latent_dim": 2,
    }
    return type("MyModel", (LightningModule,), methods | changed)()


def test_correct_outputs_pass_and_change_no_random_state():
    before = torch.get_rng_state()
    require_outputs(working(), StandardNormal(), SHAPE)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"decode": lambda self, z: torch.ones(len(z), 16)}, r"decode.*\(2, 16\).*\(2, 1, 4, 4\)"),
        ({"decode": lambda self, z: torch.ones(2, 1, 4, 3)}, r"decode.*\(2, 1, 4, 3\)"),
        ({"decode": lambda self, z: torch.full((2, *SHAPE), 1.5)}, r"decode.*1\.5.*\[0, 1\]"),
        ({"decode": lambda self, z: torch.full((2, *SHAPE), float("nan"))}, r"decode.*nan"),
        ({"decode": lambda self, z: z @ torch.ones(3, 3)}, r"decode.*fails"),
        ({"encode": lambda self, x: x.flatten(1)[:, :3]}, r"encode.*\(2, 3\).*\(2, 2\)"),
        ({"encode": lambda self, x: (x, x)}, r"encode.*returned tuple"),
        ({"features": lambda self, x: x}, r"features.*\(2, 1, 4, 4\).*\(2, F\)"),
        ({"latent_dim": 0}, r"latent_dim is 0"),
        (
            {"validation_step": lambda self, batch, index: batch[0].mean()},
            r"returned Tensor: return",
        ),
        ({"validation_step": lambda self, batch, index: None}, r"returned NoneType: return \{name"),
        (
            {"validation_step": lambda self, batch, index: {"a": 0.5}},
            r"returned 'a': float; return",
        ),
        (
            {"validation_step": lambda self, batch, index: {"a": batch[0]}},
            r"of shape \(2, 1, 4, 4\)",
        ),
        (
            {"validation_step": lambda self, batch, index: 1 / 0},
            r"validation_step.*division by zero",
        ),
        (
            {"validation_step": lambda self, batch, index: self.log("a", 1)},
            r"self\.log for 'a'.*not",
        ),
    ],
)
def test_wrong_outputs_are_named_in_one_line(changed, message):
    with pytest.raises(LatentlabError, match=message) as caught:
        require_outputs(working(**changed), StandardNormal(), SHAPE)
    assert "\n" not in str(caught.value)


def test_a_config_without_a_sampler_is_refused():
    with pytest.raises(LatentlabError, match=r"no sampler.*StandardNormal"):
        require_outputs(working(), None, SHAPE)


def test_stage_train_refuses_the_model_before_training(small, monkeypatch):
    small.stage("prepare")
    own = small.root / "my_models"
    own.mkdir()
    (own / "half.py").write_text(
        "from latentlab.models.vae import VAE\nclass Half(VAE):\n    family = 'Half'\n"
    )
    small.edit("configs/vae.yaml", model__class_path="my_models.half.Half")
    small.edit("params.yaml", allow=["my_models"], models__vae="my_models/half.py")
    assert type(load_experiment("vae", DATA_SPEC, small.root).model).__name__ == "Half"
    with pytest.raises(LatentlabError, match=r"^Half.family is 'Half': set family"):
        small.stage("train", "vae")
    assert not (small.root / "runs" / "vae").exists()
    assert not (small.root / ".checkpoints" / "vae").exists()


@pytest.mark.parametrize("sampler", [FittedGaussian(), FittedMixture(2), StandardNormal()])
def test_a_density_of_numbers_over_indices_is_refused_before_training(sampler):
    vq_vae = VQVAE((1, 8, 8), codebook_size=4, embedding_dim=2, width=4)
    with pytest.raises(LatentlabError, match=r"VQVAE are indices .*AutoregressivePrior or") as info:
        require_outputs(vq_vae, sampler, (1, 8, 8))
    assert type(sampler).__name__ in str(info.value)
    require_outputs(vq_vae, IndependentCategorical(), (1, 8, 8))


def test_a_density_of_indices_over_numbers_is_refused_before_training():
    with pytest.raises(LatentlabError, match=r"LinearAE are not indices .*FittedMixture"):
        require_outputs(LinearAE((1, 8, 8), latent_dim=3), AutoregressivePrior(), (1, 8, 8))
