"""The contractive penalty has an effect, and impossible settings are refused."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.contracts import Split
from latentlab.models.contractive_ae import ContractiveAE
from latentlab.models.vae import VAE
from latentlab.tasks.common.fitting import fit
from latentlab.tasks.contractive_penalty import ContractivePenalty, tangent_rows
from latentlab.utils.errors import LatentlabError

SHAPE = (1, 4, 4)


def build(penalty_weight):
    torch.manual_seed(0)
    return ContractiveAE(SHAPE, latent_dim=8, penalty_weight=penalty_weight, lr=1e-2)


@pytest.fixture
def context():
    images = torch.randint(0, 256, (64, *SHAPE), dtype=torch.uint8)
    model = build(5.0)
    data = (images.float() / 255,)
    fit(model, lambda x: model.loss(x)["loss"], data, steps=100, batch_size=32, lr=1e-2)
    split = Split(images)
    metadata = {"images_seen": 3200, "resolved": {"trainer": {"batch_size": 32}}}
    return SimpleNamespace(
        trained=SimpleNamespace(name="some", module=model, metadata=metadata),
        untrained_model=lambda: build(5.0),
        evaluator=SimpleNamespace(
            train=split, test=split, score_features=lambda features: SimpleNamespace(metrics={})
        ),
        seed=0,
    )


def test_the_penalty_contracts_and_the_plain_model_reconstructs_better(context):
    result = ContractivePenalty(num_images=40, num_shown=2).run(context)
    contractive, plain = result.table["contractive"], result.table["plain"]
    assert contractive["jacobian_frobenius_sq"] < 0.5 * plain["jacobian_frobenius_sq"]
    assert contractive["contraction_ratio"] < plain["contraction_ratio"]
    assert plain["sse"] < contractive["sse"]
    assert result.metrics["plain_sse"] == plain["sse"]
    assert context.trained.module.penalty_weight == 5.0


def test_each_image_has_one_row_for_each_encoder():
    x = torch.rand(3, *SHAPE)
    encoders = [build(0.0).encode, build(1.0).encode]
    rows = tangent_rows(encoders, x)
    assert torch.equal(rows[0, 0], rows[1, 0])
    assert torch.equal(rows[::2, 0], x)
    assert 0 <= float(rows.min()) <= float(rows.max()) <= 1


def test_impossible_settings_and_models_are_refused(context):
    with pytest.raises(LatentlabError, match="num_shown must be in 1 … num_images"):
        ContractivePenalty(num_images=2, num_shown=3)
    context.trained.module = VAE(SHAPE)
    with pytest.raises(LatentlabError, match="some has no contractive penalty"):
        ContractivePenalty().run(context)
