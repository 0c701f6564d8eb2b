"""The small autoencoder: seeds, errors and corruption."""

import torch

from latentlab.tasks.common.autoencoder import SmallAutoencoder, fit_autoencoder


def test_result_depends_only_on_the_seed():
    x = torch.rand(50, 9, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    nets = [
        fit_autoencoder(x, [8, 2], steps=steps, lr=1e-2, seed=seed, corruption_level=0.2)
        for steps, seed in ((0, 1), (60, 1), (60, 1), (60, 2))
    ]
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator has changed"
    initial, a, b, other = (net.reconstruction_sse(x) for net in nets)
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    assert float(a.mean()) < float(initial.mean())
    x_hat = nets[1](x)
    torch.testing.assert_close(a, (x_hat - x).square().sum(1).detach())


def test_loss_corrupts_the_given_fraction_of_the_pixels(monkeypatch):
    net = SmallAutoencoder(1000, [4], corruption_level=0.3)
    inputs = []
    monkeypatch.setattr(net, "forward", lambda x: inputs.append(x) or torch.zeros_like(x))
    x = torch.ones(20, 1000)
    assert float(net.loss(x)) == 1000, "the error is that of all pixels"
    assert abs(float((inputs[0] == 0).double().mean()) - 0.3) < 0.02
