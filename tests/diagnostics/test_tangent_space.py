"""Tangent space: the local dimension, counted by hand."""

from types import SimpleNamespace

import torch

from diagnostics.stand_ins import save_figures
from latentlab.contracts import Split
from latentlab.diagnostics import tangent_space
from latentlab.models.contractive_ae import ContractiveAE
from latentlab.models.vae import VAE

SHAPE = (1, 4, 4)


def test_local_dimension_counts_directions_up_to_90_percent_of_the_energy():
    values = torch.tensor([[3.0, 1.0, 0.1], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    # energies: 9/10.01 < 0.9, then 10/10.01; three thirds; all in the first
    assert tangent_space.local_dimension(values).tolist() == [2, 3, 1]


def test_tangents_of_a_contractive_encoder(tmp_path):
    model = ContractiveAE(SHAPE, latent_dim=6).eval()
    trained = SimpleNamespace(module=model, name="contractive", device="cpu")
    test = Split(torch.randint(0, 256, (30, *SHAPE), dtype=torch.uint8))
    result = tangent_space.diagnose(trained, SimpleNamespace(test=test))
    assert 1 <= result.metrics["local_dimension"] <= 6
    width, height = save_figures(result, tmp_path)["tangents"]
    assert width > height / 2 > 0
    assert tangent_space.applies(model)
    assert not tangent_space.applies(VAE(SHAPE))
