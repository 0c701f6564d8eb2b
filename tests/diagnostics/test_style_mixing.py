"""Style mixing of a model whose image shows its styles."""

import pytest
import torch

from diagnostics.stand_ins import (
    THIRDS_SHAPE,
    figure_inputs,
    save_figures,
    thirds,
    thirds_evaluator,
)
from latentlab.contracts import to_float
from latentlab.diagnostics import style_mixing
from latentlab.metrics.fid.frechet import fid
from latentlab.metrics.prdc import prdc
from latentlab.models.style_gan import StyleGAN
from latentlab.samplers import StandardNormal

NUM_STYLES = 6


class ShowsStyles:
    """Row l of the image has the intensity of style l. The mean style is 0."""

    latent_dim = 1

    def styles(self, z, *, truncation=1.0):
        return (truncation * z.sigmoid())[:, None].expand(-1, NUM_STYLES, 1)

    def synthesize(self, styles):
        assert not torch.is_grad_enabled()
        return styles[:, None].expand(-1, *THIRDS_SHAPE)


class Trained:
    """Codes (N, 1) that all differ."""

    module = ShowsStyles()

    def sample_latents(self, count, *, seed=0):
        return torch.randn(count, 1, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_mixed_images_have_the_coarse_styles_of_their_row_and_the_fine_ones_of_their_column():
    rows, columns = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0], [4.0]])
    images = style_mixing.mixed_images(ShowsStyles(), rows, columns)
    assert images.shape == (3, 4, *THIRDS_SHAPE)
    assert torch.equal(images[0, 0], torch.zeros(THIRDS_SHAPE))
    for i, row in enumerate(rows.sigmoid()):
        torch.testing.assert_close(images[i + 1, 0], row.expand(THIRDS_SHAPE))
        for j, column in enumerate(columns.sigmoid()):
            torch.testing.assert_close(images[0, j + 1], column.expand(THIRDS_SHAPE))
            mixed = images[i + 1, j + 1]
            torch.testing.assert_close(mixed[:, :3], row.expand(1, 3, 6))
            torch.testing.assert_close(mixed[:, 3:], column.expand(1, 3, 6))


def test_table_and_figures_have_every_truncation(tmp_path):
    result = style_mixing.diagnose(Trained(), thirds_evaluator())
    assert list(result.table) == ["ψ = 1", "ψ = 0.7", "ψ = 0.5", "ψ = 0.3"]
    assert set(result.table["ψ = 1"]) == {"FID at 200", "precision", "recall"}
    fids = [row["FID at 200"] for row in result.table.values()]
    assert len(set(fids)) == 4
    sizes = save_figures(result, tmp_path)
    assert set(sizes) == {"mixing", "truncation"}


def test_figures_and_table_are_of_the_first_codes():
    evaluator = thirds_evaluator()
    result = style_mixing.diagnose(Trained(), evaluator)
    z = Trained().sample_latents(200)
    levels = z.sigmoid()[:, 0]  # the intensity of an image without mixing
    assert "ψ = 1, 0.7, 0.5, 0.3, 0. " in result.summary
    (mixing,) = figure_inputs(result, "mixing")
    assert mixing.shape == (7, 9, *THIRDS_SHAPE)
    whole = [mixing[1:, 0], mixing[0, 1:]]
    for images, expected in zip(whole, (levels[:6], levels[6:14]), strict=True):
        torch.testing.assert_close(images, expected[:, None, None, None].expand_as(images))
    (truncated,) = figure_inputs(result, "truncation")
    expected = torch.tensor([1.0, 0.7, 0.5, 0.3, 0.0])[:, None] * levels[:10]
    torch.testing.assert_close(
        truncated, expected[:, :, None, None, None].expand(5, 10, *THIRDS_SHAPE)
    )
    real = thirds(to_float(evaluator.test.images))
    for psi in (1.0, 0.7, 0.5, 0.3):
        fake = (psi * levels)[:, None].expand(200, 3)  # each third has the mean intensity
        scores = prdc(real, fake)
        assert result.table[f"ψ = {psi:g}"] == pytest.approx(
            {
                "FID at 200": fid(real, fake),
                "precision": scores["precision"],
                "recall": scores["recall"],
            },
            rel=1e-4,
        )


def test_at_most_max_images_are_measured(monkeypatch):
    monkeypatch.setattr(style_mixing, "MAX_IMAGES", 150)
    monkeypatch.setattr(style_mixing, "BATCH", 40)
    result = style_mixing.diagnose(Trained(), thirds_evaluator())
    assert set(result.table["ψ = 1"]) == {"FID at 150", "precision", "recall"}
    assert "An FID of 150 images" in result.summary


def test_applies_to_style_based_models_only():
    assert style_mixing.applies(StyleGAN((1, 8, 8), prior=StandardNormal(), width=2))
    assert style_mixing.applies(ShowsStyles())
    assert not style_mixing.applies(torch.nn.Linear(1, 1))
    assert pytest.approx(0) == float(ShowsStyles().styles(torch.ones(1, 1), truncation=0.0).sum())
