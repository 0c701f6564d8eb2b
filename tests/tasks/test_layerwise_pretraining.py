"""Layer by layer or end to end: phases, numbers of steps and initial weights."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.contracts import Split, to_float
from latentlab.models.greedy_ae import GreedyAE
from latentlab.tasks.layerwise_pretraining import LayerwisePretraining, mean_sse
from latentlab.utils.errors import LatentlabError

SHAPE = (1, 4, 4)


def context(module=None):
    torch.manual_seed(1)
    train, test = (
        Split(torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8), None) for n in (40, 12)
    )
    return SimpleNamespace(
        evaluator=SimpleNamespace(train=train, test=test),
        dataset=SimpleNamespace(image_shape=SHAPE),
        trained=SimpleNamespace(name="toy", module=module or GreedyAE(SHAPE)),
        seed=5,
    )


def test_both_methods_have_equal_starts_and_numbers_of_steps(monkeypatch):
    calls = []

    def recorded(net, loss, data, *, steps, batch_size, lr, seed):
        first = next(net.parameters()).detach().clone()
        calls.append((net, loss.args[0], steps, seed, first))
        with torch.no_grad():
            next(net.parameters()).add_(1)

    monkeypatch.setattr("latentlab.tasks.layerwise_pretraining.fit", recorded)
    LayerwisePretraining(depth=3, activations=["tanh"], steps=22).run(context())
    assert [(phase, steps) for _, phase, steps, _, _ in calls] == [
        *((k, 3) for k in (1, 2, 3)),
        (4, 13),
        (4, 22),
    ]
    layerwise, tuned, end_to_end = calls[0], calls[3], calls[4]
    assert torch.equal(layerwise[4], end_to_end[4]), "equal initial weights"
    assert torch.allclose(tuned[4], layerwise[4] + 3), "tuning continues from the layers"
    assert len({id(net) for net, *_ in calls}) == 3
    assert layerwise[0].decoder[0].in_features == 2, "16-8-4-2"


def test_few_images_get_as_many_steps_for_every_method(monkeypatch):
    """40 images are one batch: 700 steps are 700 epochs, for the layers and for all at once."""
    steps, phase_loss = {}, GreedyAE.phase_loss

    def counted(self, phase, x):
        steps[phase] = steps.get(phase, 0) + 1
        return phase_loss(self, phase, x)

    monkeypatch.setattr(GreedyAE, "phase_loss", counted)
    LayerwisePretraining(depth=2, activations=["tanh"], steps=700).run(context())
    assert steps == {1: 175, 2: 175, 3: 350 + 700}


def test_the_table_has_three_rows_with_two_errors_for_each_activation(tmp_path):
    result = LayerwisePretraining(
        depth=2, activations=["tanh", "sigmoid"], steps=40, batch_size=20
    ).run(context())
    assert list(result.table) == [
        f"{activation}: {method}"
        for activation in ("tanh", "sigmoid")
        for method in ("layer by layer", "layer by layer, then all", "all at once")
    ]
    for row in result.table.values():
        assert 0 < row["train SSE"] < 16
        assert 0 < row["test SSE"] < 16
    assert result.metrics["tanh_end_to_end_sse"] == result.table["tanh: all at once"]["test SSE"]
    result.figures[0].save(tmp_path / "reconstructions.png")


def test_the_error_is_summed_over_pixels_and_averaged_over_images():
    net = GreedyAE(SHAPE, hidden=[5], latent_dim=2)
    x = to_float(context().evaluator.test.images)
    x_hat = net.decode(net.encode(x)).detach()
    expected = sum(float((a - b).square().sum()) for a, b in zip(x_hat, x, strict=True)) / len(x)
    assert mean_sse(net, x) == pytest.approx(expected, rel=1e-5)


def test_impossible_settings_and_models_are_refused():
    with pytest.raises(LatentlabError, match="depth is 1 and steps is 4000: depth must be ≥ 2"):
        LayerwisePretraining(depth=1)
    with pytest.raises(LatentlabError, match="depth is 4 and steps is 7"):
        LayerwisePretraining(steps=7)
    with pytest.raises(
        LatentlabError, match="toy is not trained layer by layer: set the task's `model`"
    ):
        LayerwisePretraining().run(context(torch.nn.Linear(1, 1)))
