"""Metrics on the real MNIST that need no long training."""

import pytest
import torch

from latentlab.config import load_experiment
from latentlab.data.datamodule import ImageDataModule
from latentlab.data.prepared import read_meta, read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import load_source
from latentlab.metrics.pca import PCA, principal_angles
from latentlab.training import fit

pytestmark = [pytest.mark.mnist, pytest.mark.slow]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, mnist_folder):
    folder = tmp_path_factory.mktemp("mnist") / "prepared"
    settings = DataSettings(name="mnist")
    meta = write_prepared(load_source(settings, folder), settings, 0, folder)
    assert meta.counts == {"train": 54_000, "val": 6_000, "test": 10_000}
    return folder


def trained(name, images, prepared, tmp_path, project):
    project.edit(f"configs/{name}.yaml", trainer__total_images=images)
    experiment = load_experiment(name, read_meta(prepared).data_spec, project.root)
    data = ImageDataModule(prepared, batch_size=experiment.trainer.batch_size, seed=0)
    fit(experiment, data, work=tmp_path / "work")
    return experiment.model.eval()


def test_linear_ae_reaches_pca_and_its_subspace(prepared, tmp_path, project):
    model = trained("linear_ae", 500_000, prepared, tmp_path, project)
    pca = PCA.fit(read_split(prepared, "train"))
    errors, floor = [], []
    with torch.no_grad():
        for x in read_split(prepared, "test").batches():
            x_hat = model.decode_unclipped(model.encode(x))
            errors.append((x_hat - x).square().flatten(1).sum(1))
            best = pca.decode(pca.encode(x, k=32))
            floor.append((best - x.flatten(1)).square().sum(1))
    assert torch.cat(floor).mean().item() == pytest.approx(13.19, abs=0.02)
    assert torch.cat(errors).mean().item() == pytest.approx(13.19, rel=0.01)
    basis, _ = model.decoder_basis()
    angles = principal_angles(basis.detach(), pca.components[:, :32])
    assert float(angles.max()) < 0.2  # radians; a random subspace stands at π/2


def test_a_quarter_of_the_judges_training_reads_98_percent(prepared, tmp_path, project):
    model = trained("classifier", 50_000, prepared, tmp_path, project)
    model.to(memory_format=torch.channels_last)
    test = read_split(prepared, "test")
    with torch.no_grad():
        logits = torch.cat([model(x) for x in test.batches(100)])
    accuracy = (logits.argmax(1) == test.labels).double().mean().item()
    assert accuracy >= 0.98
    assert model.features(torch.rand(2, 1, 28, 28)).shape == (2, 128)
