"""Active units: the images that the posterior gets, and the count of units."""

from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import evaluator_of, figure_inputs, on_2x2, two_clusters
from latentlab.diagnostics import active_units
from latentlab.models.iwae import IWAE
from latentlab.networks.mlp import MLP


@pytest.mark.parametrize("binary", [True, False])
def test_the_posterior_gets_images_as_in_training(binary):
    """600 equal images of grey 0.3. With a binary likelihood each batch has its own samples."""
    binarize = "dynamic" if binary else None
    model = IWAE((1, 8, 8), latent_dim=2, network=MLP(hidden=[4]), binarize=binarize)
    inputs = []
    posterior = model.posterior
    model.posterior = lambda x: inputs.append(x) or posterior(x)
    trained = SimpleNamespace(module=model, decode=lambda z: torch.zeros(len(z), 1, 8, 8))
    evaluator = evaluator_of(torch.full((600, 1, 8, 8), 77, dtype=torch.uint8))
    active_units.diagnose(trained, evaluator)
    x = torch.cat(inputs)
    assert float(x.mean()) == pytest.approx(77 / 255, abs=0.01)
    assert set(x.unique().tolist()) == ({0.0, 1.0} if binary else {float(x[0, 0, 0, 0])})
    assert torch.equal(x[0], x[500]) is not binary


@pytest.mark.parametrize("active", [0, 2])
def test_units_whose_mean_varies_are_counted(active):
    """The posterior mean is the image in `active` units and 0 in the others."""
    mask = (torch.arange(4) < active).float()
    module = SimpleNamespace(posterior=lambda x: (x.flatten(1) * mask, torch.zeros(len(x), 4)))
    assert active_units.applies(module)
    result = active_units.diagnose(on_2x2(module), evaluator_of(two_clusters()))
    assert result.metrics["active_units"] == active
    assert result.metrics["active_fraction"] == active / 4
    assert result.warnings == ([] if active else ["posterior collapse: no unit is active"])


def test_a_unit_is_active_if_it_varies_over_images_and_not_if_it_differs_from_other_units():
    """Units of the constant means 0, 1, 2, 3, and the last one also has the mean intensity."""

    def posterior(x):
        mu = torch.arange(4.0).repeat(len(x), 1)
        mu[:, 3] += x.flatten(1).mean(1)
        return mu, torch.zeros(len(x), 4)

    module, images = SimpleNamespace(posterior=posterior), two_clusters()
    found = active_units.diagnose(on_2x2(module), evaluator_of(images)).metrics
    assert found["active_units"] == 1
    assert found["active_fraction"] == 1 / 4
    x = images.float() / 255
    kl = (torch.arange(4.0)[:3].square().sum() + (3 + x.flatten(1).mean(1)).square().mean()) / 2
    assert found["kl_nats"] == pytest.approx(float(kl), rel=1e-5)


def test_the_traversals_are_of_the_units_that_vary_most(monkeypatch):
    """Unit 2 varies twice as much as unit 0, and the others do not vary."""
    gains = torch.tensor([1.0, 0.0, 2.0, 0.0])
    module = SimpleNamespace(posterior=lambda x: (x.flatten(1) * gains, torch.zeros(len(x), 4)))
    shown = []
    monkeypatch.setattr(active_units, "traversals", lambda trained, mu, units: shown.append(units))
    images = torch.rand(200, 1, 1, 1).mul(255).to(torch.uint8).expand(200, 1, 2, 2).contiguous()
    active_units.diagnose(on_2x2(module), evaluator_of(images))
    assert shown[0][:2].tolist() == [2, 0]


def test_each_row_of_a_traversal_changes_one_unit_from_minus_3_to_3():
    """The decoder returns the code."""
    z = torch.tensor([[9.0, 8.0, 7.0, 6.0]])
    trained = SimpleNamespace(decode=lambda codes: codes.unflatten(1, (1, 2, 2)))
    rows = active_units.traversals(trained, z, torch.tensor([2, 0]), steps=7)
    expected = z.repeat(14, 1).view(2, 7, 4)
    expected[0, :, 2] = expected[1, :, 0] = torch.tensor([-3.0, -2, -1, 0, 1, 2, 3])
    assert torch.equal(rows.flatten(2), expected)
    assert active_units.traversals(trained, z, torch.tensor([1])).shape == (1, 10, 1, 2, 2)


def test_the_figure_has_the_eight_most_active_units_of_the_first_image():
    """Unit j is j times the first pixel, and the image is the code."""
    module = SimpleNamespace(
        posterior=lambda x: (x.flatten(1)[:, :1] * torch.arange(9.0), torch.zeros(len(x), 9))
    )
    trained = SimpleNamespace(module=module, decode=lambda z: z.unflatten(1, (1, 3, 3)))
    images = two_clusters(40)
    result = active_units.diagnose(trained, evaluator_of(images))
    (rows,) = figure_inputs(result, "traversals")
    assert rows.shape == (8, 10, 1, 3, 3)
    first = images[0, 0, 0, 0].float() / 255 * torch.arange(9.0)
    for row, unit in zip(rows.flatten(2), range(8, 0, -1), strict=True):
        torch.testing.assert_close(row[:, unit], torch.linspace(-3, 3, 10))
        others = torch.arange(9) != unit
        torch.testing.assert_close(row[:, others], first[others].expand(10, 8))
    assert "The 8 most active units" in result.summary
    kl = (images[:, 0, 0, 0].double() / 255 * 8).square().mean() / 2  # of unit 8, in nats
    assert result.metrics["kl_max_unit_nats"] == pytest.approx(float(kl), rel=1e-5)
