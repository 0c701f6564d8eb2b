"""The metrics of every model, on the small trained models of the test project."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import latentlab
from latentlab.config import load_project
from latentlab.contracts import Split
from latentlab.data.prepared import read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import Images, Source
from latentlab.evaluation.evaluate import draw_samples, evaluate, objective
from latentlab.evaluation.reference import load_reference
from latentlab.evaluation.setup import make_evaluator
from latentlab.metrics.pca import PCA, PCACoder


@pytest.fixture(scope="module")
def evaluator(tiny):
    classifier = latentlab.load("classifier", project=tiny.root).module
    return make_evaluator(load_project(tiny.root), classifier)


@pytest.fixture(scope="module")
def reference(tiny):
    return load_reference(tiny.root / "data" / "reference" / "reference.pt")


def trained(tiny, name):
    project = load_project(tiny.root)
    return replace(latentlab.load(name, project=tiny.root), evaluation=project.evaluation)


def stored(tiny, name):
    return json.loads((tiny.root / "results" / name / "metrics.json").read_text())


@pytest.mark.parametrize("name", ["linear_ae", "dcgan"])
def test_the_metrics_are_those_that_the_stage_stored(tiny, evaluator, reference, name):
    metrics, _ = evaluate(trained(tiny, name), evaluator, reference)
    file = stored(tiny, name)
    assert set(metrics) <= set(file), "the stage adds those of diagnostics"
    for key, value in metrics.items():
        assert json.loads(json.dumps(value)) == file[key], key


def test_what_each_kind_of_model_gets(tiny):
    linear, vae, gan = (stored(tiny, name) for name in ("linear_ae", "vae", "dcgan"))
    assert {"pca", "principal_angle_max_rad", "principal_angle_mean_rad"} <= set(linear)
    assert (
        0 <= linear["principal_angle_mean_rad"] <= linear["principal_angle_max_rad"] <= math.pi / 2
    )
    assert {"pca", "ci95", "other_spaces", "class_fid", "fid_infinity"} <= set(vae) & set(gan)
    assert "principal_angle_max_rad" not in vae
    assert gan["pca"]["latent_dim"] == min(gan["latent_dim"], 64)
    assert {"fid", "kid", "recall", "psnr_db", "probe_accuracy"} <= set(gan["ci95"])
    assert all(half >= 0 for half in gan["ci95"].values())
    assert linear["num_reconstructed"] == linear["num_samples"] > gan["num_reconstructed"] == 20
    assert linear["num_parameters"] == 2 * 64 * 32 + 64 + 32


def test_latent_inversion_uses_a_part_of_the_test_images(tiny, evaluator, reference):
    """With a setting above the size of the test split, at least 100 images are inverted."""
    settings = replace(evaluator.settings, inversion_num_images=1000, inversion_steps=0)
    images = evaluator.test.images.repeat(600 // len(evaluator.test) + 1, 1, 1, 1)[:600]
    labels = evaluator.test.labels.repeat(600 // len(evaluator.test) + 1)[:600]
    gan = replace(trained(tiny, "dcgan"), evaluation=settings)
    many = replace(evaluator, test=Split(images, labels), settings=settings)
    metrics, _ = evaluate(gan, many, reference)
    assert metrics["num_reconstructed"] == 120


def test_latent_search_gets_a_random_part_of_an_official_test_split(tmp_path):
    """The file of MNIST begins with thinner digits: its first images are no random sample."""
    thickness = np.sort(np.random.default_rng(0).integers(0, 256, 3000)).astype(np.uint8)
    images = np.tile(thickness[:, None, None, None], (1, 1, 2, 2))
    part = Images(images, None, [str(n) for n in range(3000)])
    parts = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        write_prepared(Source("toy", part, part, None), DataSettings(), seed, folder)
        parts.append(read_split(folder, "test").first(600).images.double().mean((1, 2, 3)))
    error = float(np.std(thickness)) / 600**0.5
    for first in parts:
        assert abs(float(first.mean()) - thickness.mean()) < 5 * error
    assert not parts[0].equal(parts[1]), "another seed draws other images"


def test_pca_is_measured_on_the_images_of_the_latent_search(tiny, evaluator, reference):
    gan = stored(tiny, "dcgan")
    x = evaluator.test.first(gan["num_reconstructed"])
    coder = PCACoder(reference.pca, gan["pca"]["latent_dim"], evaluator.dataset.image_shape)
    images = torch.cat(list(x.batches()))
    x_hat = coder.decode(coder.encode(images))
    mse = (x_hat - images).square().flatten(1).mean(1)
    assert gan["pca"]["psnr_db"] == pytest.approx(float(-10 * mse.log10().mean()), rel=1e-4)


def test_samples_of_the_last_weights_are_measured_if_the_best_are_the_model(tiny):
    gan = stored(tiny, "dcgan")
    best = json.loads((tiny.root / "runs" / "dcgan" / "best_checkpoint.json").read_text())
    assert gan["best_checkpoint"] == best
    assert set(gan["last_checkpoint"]) >= {"fid", "kid", "precision", "recall"}
    assert not {"best_checkpoint", "last_checkpoint"} & set(stored(tiny, "vae"))


def test_the_baseline_has_no_more_components_than_pca(tiny, evaluator, reference):
    pca = reference.pca
    few = replace(reference, pca=PCA(pca.mean, pca.components[:, :5], pca.variances[:5]))
    metrics, _ = evaluate(trained(tiny, "vae"), evaluator, few)
    assert metrics["pca"]["latent_dim"] == 5


def test_draws_are_independent_and_repeatable(tiny, evaluator):
    model = trained(tiny, "vae")
    first, second = draw_samples(model, evaluator, 2)
    assert torch.equal(first, draw_samples(model, evaluator, 1)[0])
    assert not torch.equal(first, second)


def test_a_conditional_model_gets_the_classes_of_the_test_images():
    test = Split(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.tensor([2, 0, 1, 1, 0, 2]))
    evaluator = SimpleNamespace(num_samples=6, settings=SimpleNamespace(seed=0), test=test)
    asked = []

    def sample(count, *, seed, classes):
        asked.append((count, seed, classes))
        return torch.zeros(count, 1, 8, 8)

    draw_samples(SimpleNamespace(is_conditional=True, sample=sample), evaluator, 2)
    labels = evaluator.test.labels.tolist()
    assert asked == [(len(labels), 0, labels), (len(labels), 1, labels)]
    draw_samples(SimpleNamespace(is_conditional=False, sample=sample), evaluator, 1)
    assert asked[-1][2] is None


def test_single_values_are_those_of_the_means(tiny):
    for name in ("linear_ae", "dcgan"):
        with np.load(tiny.root / "results" / name / "per_image.npz") as arrays:
            metrics = stored(tiny, name)
            assert len(arrays["psnr_db"]) == metrics["num_reconstructed"]
            for key in ("reconstruction_sse", "psnr_db", "ssim", "probe_accuracy"):
                assert arrays[key].mean() == pytest.approx(metrics[key], rel=1e-5), key
            assert arrays["fid_halves"].shape == (30,)


class Counter:
    """A model whose `validation_step` returns the mean intensity, and notes devices and batches."""

    def __init__(self, device="cpu"):
        self.device, self.devices, self.sizes = torch.device(device), set(), []

    def validation_step(self, batch, index):
        self.devices |= {part.device.type for part in batch}
        self.sizes.append((index, len(batch[0])))
        return {"mean": batch[0].mean(), "noise": torch.rand(())}


def test_the_objective_is_the_mean_over_images_and_its_noise_is_seeded():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1234, 1, 2, 2), generator=generator, dtype=torch.uint8)
    model = Counter()
    state = torch.get_rng_state()
    terms = objective(SimpleNamespace(module=model), Split(images), seed=3)
    assert torch.equal(state, torch.get_rng_state()), "the noise of the caller is not touched"
    assert model.sizes == [(0, 500), (1, 500), (2, 234)]
    assert terms["mean"] == pytest.approx(float((images / 255).mean()), rel=1e-5)
    again = objective(SimpleNamespace(module=Counter()), Split(images), seed=3)
    other = objective(SimpleNamespace(module=Counter()), Split(images), seed=4)
    assert terms["noise"] == again["noise"] != other["noise"]


def test_the_batches_of_the_objective_go_to_the_device_of_the_model():
    """As to a GPU; here the device "meta" replaces one."""
    seen = []

    class Elsewhere:
        device = torch.device("meta")

        def validation_step(self, batch, index):
            seen.extend(part.device.type for part in batch)
            return {"loss": torch.tensor(float(index))}

    images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    objective(SimpleNamespace(module=Elsewhere()), Split(images), seed=0)
    assert set(seen) == {"meta"}
