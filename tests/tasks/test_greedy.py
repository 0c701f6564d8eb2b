"""Greedy or end to end: who is trained on what, for how long, from which start."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.contracts import LatentlabError, Split, to_float
from latentlab.models.greedy_ae import GreedyAE
from latentlab.tasks.greedy import Greedy, error

SHAPE = (1, 4, 4)


def context(module=None):
    torch.manual_seed(1)
    train, test = (
        Split(torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8), None) for n in (40, 12)
    )
    return SimpleNamespace(
        yard=SimpleNamespace(train=train, test=test),
        meta=SimpleNamespace(image_shape=SHAPE),
        trained=SimpleNamespace(name="toy", module=module or GreedyAE(SHAPE)),
        seed=5,
    )


def test_both_ways_start_alike_and_see_as_many_images(monkeypatch):
    calls = []

    def recorded(net, loss, data, *, steps, batch_size, lr, seed):
        first = next(net.parameters()).detach().clone()
        calls.append((net, loss.args[0], steps, seed, first))
        with torch.no_grad():
            next(net.parameters()).add_(1)

    monkeypatch.setattr("latentlab.tasks.greedy.fit", recorded)
    Greedy(depth=3, activations=["tanh"], steps=22).run(context())
    assert [(phase, steps) for _, phase, steps, _, _ in calls] == [
        *((k, 3) for k in (1, 2, 3)),
        (4, 13),
        (4, 22),
    ]
    layers, tuned, whole = calls[0], calls[3], calls[4]
    assert torch.equal(layers[4], whole[4]), "the same start"
    assert torch.allclose(tuned[4], layers[4] + 3), "tuning goes on from the layers"
    assert len({id(net) for net, *_ in calls}) == 3
    assert layers[0].decoder[0].in_features == 2, "16-8-4-2"


def test_the_table_has_three_rows_for_each_activation_and_both_errors(tmp_path):
    finding = Greedy(depth=2, activations=["tanh", "sigmoid"], steps=40, batch_size=20).run(
        context()
    )
    assert list(finding.table) == [
        f"{activation}: {way}"
        for activation in ("tanh", "sigmoid")
        for way in ("layer by layer, not tuned", "layer by layer, then all", "all at once")
    ]
    for row in finding.table.values():
        assert 0 < row["train SSE"] < 16
        assert 0 < row["test SSE"] < 16
    assert finding.numbers["tanh_whole_sse"] == finding.table["tanh: all at once"]["test SSE"]
    finding.pictures[0].draw(tmp_path / "ways.png")


def test_the_error_is_summed_over_pixels_and_averaged_over_images():
    net = GreedyAE(SHAPE, widths=[5, 2])
    x = to_float(context().yard.test.images)
    x_hat = net.decode(net.encode(x)).detach()
    expected = sum(float((a - b).square().sum()) for a, b in zip(x_hat, x, strict=True)) / len(x)
    assert error(net, x) == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(LatentlabError, match="depth 1 in 4000 steps: it takes 2 layers or more"):
        Greedy(depth=1)
    with pytest.raises(LatentlabError, match="depth 4 in 7 steps"):
        Greedy(steps=7)
    with pytest.raises(LatentlabError, match="toy is not trained in phases: name a GreedyAE"):
        Greedy().run(context(torch.nn.Linear(1, 1)))
