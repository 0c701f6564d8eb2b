"""Linear autoencoder: its optimum is the subspace of PCA."""

import pytest
import torch
from sklearn.decomposition import PCA

from latentlab.contracts import LinearDecoder
from latentlab.models.linear_ae import LinearAE


def test_the_code_is_affine_and_only_the_decoded_image_is_clipped():
    torch.manual_seed(0)
    model, x = LinearAE((3, 2, 4), latent_dim=5).double(), torch.rand(6, 3, 2, 4).double()
    with torch.no_grad():
        model.decoder.weight.mul_(20)
    w_e, b_e = model.encoder.weight, model.encoder.bias
    w_d, b_d = model.decoder_basis()
    z = x.flatten(1) @ w_e.T + b_e
    x_hat = z @ w_d.T + b_d
    assert float(x_hat.detach().min()) < 0
    assert float(x_hat.detach().max()) > 1
    torch.testing.assert_close(model.encode(x), z)
    torch.testing.assert_close(model.decode(z), x_hat.clip(0, 1).view(6, 3, 2, 4))
    for term in model.training_step((x, None), 0).values():
        torch.testing.assert_close(term, (x_hat - x.flatten(1)).square().sum() / 6)


def test_training_to_the_optimum_finds_the_subspace_of_pca():
    """Baldi & Hornik 1989: there are no local minima, so any optimization finds PCA."""
    g = torch.Generator().manual_seed(0)
    std = torch.tensor([3.0, 2, 1.5, 0.3, 0.2, 0.1, 0.1, 0.1] + [0.05] * 8)
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=g)).Q
    x = (torch.randn(400, 16, generator=g) * std) @ rotation.T / 12 + 0.5
    x = x.view(-1, 1, 4, 4).double()
    torch.manual_seed(0)
    model = LinearAE((1, 4, 4), latent_dim=3).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=700,
        history_size=50,
        tolerance_grad=1e-12,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = model.training_step((x, None), 0)["loss"]
        loss.backward()
        return loss

    optimizer.step(closure)
    pca = PCA(3).fit(x.flatten(1).numpy())
    residual = x.flatten(1).numpy() - pca.inverse_transform(pca.transform(x.flatten(1).numpy()))
    assert closure().item() == pytest.approx(float((residual**2).sum(1).mean()), rel=1e-3)
    assert isinstance(model, LinearDecoder)
    basis = torch.linalg.qr(model.decoder_basis()[0].detach()).Q
    overlap = torch.linalg.svdvals(torch.from_numpy(pca.components_) @ basis)
    assert float(overlap.min()) > 0.999
