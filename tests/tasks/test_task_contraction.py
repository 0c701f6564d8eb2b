"""The contraction task: the penalty must show, and impossible settings are refused."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.contracts import LatentlabError, Split
from latentlab.models.contractive_ae import ContractiveAE
from latentlab.models.vae import VAE
from latentlab.tasks.contraction import Contraction, rows
from latentlab.tasks.fitting import fit

SHAPE = (1, 4, 4)


def build(weight):
    torch.manual_seed(0)
    return ContractiveAE(SHAPE, widths=[8], weight=weight, lr=1e-2)


@pytest.fixture
def context():
    images = torch.randint(0, 256, (64, *SHAPE), dtype=torch.uint8)
    model = build(5.0)
    data = (images.float() / 255,)
    fit(model, lambda x: model.loss(x)["loss"], data, steps=100, batch_size=32, lr=1e-2)
    split = Split(images)
    card = {"resolved": {"trainer": {"images": 3200, "batch_size": 32}}}
    return SimpleNamespace(
        trained=SimpleNamespace(name="some", module=model, card=card),
        fresh=lambda: build(5.0),
        yard=SimpleNamespace(train=split, test=split, score_features=lambda features: {}),
        seed=0,
    )


def test_the_penalty_contracts_and_its_twin_reconstructs_better(context):
    finding = Contraction(images=40, shown=2).run(context)
    contractive, plain = finding.table["contractive"], finding.table["plain"]
    assert contractive["jacobian_sq"] < 0.5 * plain["jacobian_sq"]
    assert contractive["contraction_ratio"] < plain["contraction_ratio"]
    assert plain["sse"] < contractive["sse"]
    assert finding.numbers["plain_sse"] == plain["sse"]
    assert context.trained.module.weight == 5.0


def test_each_encoder_has_a_row_an_image():
    x = torch.rand(3, *SHAPE)
    encoders = [build(0.0).encode, build(1.0).encode]
    made = rows(encoders, x)
    assert torch.equal(made[0, 0], made[1, 0])
    assert torch.equal(made[::2, 0], x)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_settings_and_models_that_cannot_be_are_refused(context):
    with pytest.raises(LatentlabError, match="shown must lie between"):
        Contraction(images=2, shown=3)
    context.trained.module = VAE(SHAPE)
    with pytest.raises(LatentlabError, match="some is not contractive"):
        Contraction().run(context)
