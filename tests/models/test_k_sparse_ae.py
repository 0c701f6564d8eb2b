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
    assert sum(p.numel() for p in untied.parameters()) == 2 * 36 * 20 + 20 + 36
    with torch.no_grad():
        untied.encoder.load_state_dict(tied.encoder.state_dict())
        untied.decoder.weight.copy_(tied.encoder.weight.T)
    for model in (tied, untied):
        model.loss(x, 4)["loss"].backward()
    summed = untied.encoder.weight.grad + untied.decoder.weight.grad.T
    assert torch.allclose(tied.encoder.weight.grad, summed, rtol=1e-4, atol=1e-5)


def test_the_loss_and_the_unit_counts_of_a_small_example():
    """Encoder and decoder are the identity, so that codes and images are read off."""
    model = KSparseAE((1, 1, 4), latent_dim=4, k=1, alpha=2)
    model.encoder.weight.data = torch.eye(4)
    model.encoder.bias.data = torch.tensor([-0.5, 0.0, 0.0, 0.0])
    model.offset.data = torch.tensor([0.0, 0.25, 0.0, 0.0])
    x = torch.tensor([[1.0, 0.25, 0.375, 0.0], [1.5, 0.5, 0.75, 0.0]]).view(2, 1, 1, 4)
    h = torch.tensor([[0.5, 0.25, 0.375, 0.0], [1.0, 0.5, 0.75, 0.0]])
    z = torch.tensor([[0.5, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    features = torch.tensor([[0.25, 0.0, 0.125, 0.0], [0.5, 0.0, 0.25, 0.0]])
    torch.testing.assert_close(model.activations(x), h)
    torch.testing.assert_close(model.encode(x), z)
    torch.testing.assert_close(model.features(x), features)
    got = {name: term.tolist() for name, term in model.loss(x, 1).items()}
    sse = (0.5**2 + 0.375**2 + 0.5**2 + 0.25**2 + 0.75**2) / 2
    assert got == {
        "loss": sse,
        "sse": sse,
        "inactive_fraction": 0.75,
        "mean_activation": 1.5 / 8,
        "dead_unit_fraction": 0.75,
    }
    unclipped = torch.tensor([[1.5, 0.25, 0.0, -0.5]])
    z = torch.tensor([[1.5, 0.0, 0.0, -0.5]])
    torch.testing.assert_close(model.decode_unclipped(z).flatten(1), unclipped)
    torch.testing.assert_close(model.decode(z).flatten(1), torch.tensor([[1.0, 0.25, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 28, 28), (1000, 25, 100, 50)), ((3, 1, 13), (156, 3, 12, 6)), ((1, 1, 3), (12, 1, 4, 2))],
)
def test_the_default_keeps_a_fortieth_of_the_units(shape, expected):
    """Of 1000 units, but at most four a value; training begins with four times as many."""
    model = KSparseAE(shape)
    assert (model.latent_dim, model.k, model.k_start, model.k_features) == expected


def test_the_smallest_and_the_largest_k_are_allowed():
    assert KSparseAE(SHAPE, latent_dim=3, k=1, alpha=1).k_start == 3, "not above latent_dim"
    assert KSparseAE(SHAPE, latent_dim=3, k=3, alpha=0.5).k == 3


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
        ({"k": 5, "k_start": 11}, "k_start is 11"),
        ({"k": 5, "alpha": 3}, "alpha · k is 15: choose"),
        ({"k": 5, "alpha": 2}, "alpha · k is 10: choose"),
        ({"k": 5, "alpha": 0.1}, r"alpha · k is 0\.5: choose"),
    ],
)
def test_settings_outside_of_their_range_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        KSparseAE(SHAPE, latent_dim=10, **settings)
