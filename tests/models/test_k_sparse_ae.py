"""k-sparse autoencoder: the units that are kept, tied weights, the schedule of k."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.models.k_sparse_ae import KSparseAE

SHAPE = (1, 6, 6)


@pytest.mark.parametrize("tied", [True, False])
def test_a_code_has_k_active_units_and_decodes_to_the_sum_of_their_columns(tied):
    model = KSparseAE(SHAPE, latent_dim=40, k=5, alpha=2, tied=tied)
    x = torch.rand(4, *SHAPE)
    z = model.encode(x)
    assert (z != 0).sum(1).tolist() == [5] * 4
    assert (model.features(x) != 0).sum(1).tolist() == [10] * 4
    columns = model.dictionary()  # (D, C, H, W)
    by_hand = (z[:, :, None, None, None] * columns).sum(1) + model.offset.view(SHAPE)
    assert torch.allclose(model.decode(z), by_hand.clamp(0, 1), atol=1e-5)


def test_tied_weights_have_the_sum_of_the_untied_gradients():
    x = torch.rand(5, *SHAPE)
    tied = KSparseAE(SHAPE, latent_dim=20, k=4)
    untied = KSparseAE(SHAPE, latent_dim=20, k=4, tied=False)
    assert sum(p.numel() for p in tied.parameters()) == 36 * 20 + 20 + 36
    with torch.no_grad():
        untied.encoder.load_state_dict(tied.encoder.state_dict())
        untied.decoder.weight.copy_(tied.encoder.weight.T)
    for model in (tied, untied):
        model.loss(x, 4)["loss"].backward()
    summed = untied.encoder.weight.grad + untied.decoder.weight.grad.T
    assert torch.allclose(tied.encoder.weight.grad, summed, rtol=1e-4, atol=1e-5)


def test_k_falls_linearly_in_the_first_half_of_training():
    model = KSparseAE(SHAPE, latent_dim=50, k=10, k_start=30)
    ks = []
    for step in (0, 25, 50, 75, 100):
        model._trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=100)
        ks.append(model.scheduled_k())
    assert ks == [30, 20, 10, 10, 10]
    model._trainer = SimpleNamespace(global_step=25, estimated_stepping_batches=100)
    x = torch.rand(4, *SHAPE)
    active = 50 * (1 - float(model.training_step((x, None), 0)["inactive_fraction"]))
    assert active == pytest.approx(20)
    active = 50 * (1 - float(model.validation_step((x, None), 0)["inactive_fraction"]))
    assert active == pytest.approx(10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 11}, "choose 1 ≤ k ≤ k_start ≤ latent_dim"),
        ({"k": 0}, "choose 1 ≤ k"),
        ({"k": 5, "k_start": 4}, "k_start is 4"),
        ({"k": 5, "alpha": 3}, "alpha · k is 15: choose"),
    ],
)
def test_settings_outside_of_their_range_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        KSparseAE(SHAPE, latent_dim=10, **settings)
