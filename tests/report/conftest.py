"""A small project of four evaluated models: figures of real digits, invented metrics."""

import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from latentlab.cli.results import print_table, shown_metrics
from latentlab.evaluation.results import Figure, Result, write_result
from latentlab.report.comparison import read_comparison
from latentlab.stages import report
from latentlab.utils.files import write_arrays
from latentlab.visualization import charts, grids

HOSTILE = '<img src=x onerror="alert(1)">'
MODELS = {
    "linear_ae": ("AE", "Linear autoencoder", 16.4, 0.0121, 0.934, 2_080),
    "stacked_ae": ("AE", "Stacked autoencoder", 21.7, 0.0092, 0.951, 190_614),
    "vae": ("VAE", "Variational autoencoder", 9.8, 0.0187, 0.912, 652_824),
    "dcgan": ("GAN", "Deep convolutional GAN", 4.13, 0.0304, 0.967, 1_203_713),
}


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def scores(fid, mse, probe):
    return {
        "fid": fid,
        "kid": fid / 900,
        "kid_std": 0.001,
        "precision": 0.9 - fid / 100,
        "recall": mse * 20,
        "density": 0.9,
        "coverage": 0.8,
        "reconstruction_mse": mse,
        "reconstruction_sse": 64 * mse,
        "psnr_db": -10 * math.log10(mse),
        "ssim": 1 - 8 * mse,
        "probe_accuracy": probe,
        "classifier_accuracy": 0.99 - 2 * mse,
    }


def write_model(folder, name, digits, labels, generator):
    family, title, fid, mse, probe, parameters = MODELS[name]
    metrics = scores(fid, mse, probe) | {"latent_dim": 16, "num_parameters": parameters}
    if family != "GAN":
        metrics["pca"] = scores(30.5, 0.0119, 0.93) | {"latent_dim": 16}
    if family == "VAE":
        metrics["test"] = {"loss": 24.2, "elbo_nats": -24.2}
        del metrics["classifier_accuracy"]
        likelihood = Result("Likelihood", "", metrics={"elbo_nats": -24.5, "gap_nats": 1.5})
        write_result(likelihood, folder / "diagnostics" / "likelihood")
    write_json(folder / "metrics.json", metrics)
    cost = {"train_seconds": 7.31 + fid, "images_per_second": 41234.5, "evaluate_seconds": 3.2}
    write_json(folder / "cost.json", cost | {"peak_memory_mb": 611.0})
    card = {
        "name": name,
        "family": family,
        "title": title,
        "sampler": "FittedMixture",
        "summary": "Compress an image to a few values and reconstruct it.",
        "objective": "    L(x) = ‖x − x̂‖²        x̂ = decode(encode(x))",
        "papers": ["Somebody & Others 1989, “Learning to compress”, eq. 3.", "Other 1990."],
        "features": "classifier",
        "images_seen": 60000,
        "device": "cpu",
        "config": {"model": {"latent_dim": 16, "note": "</pre><script>alert(1)</script>"}},
    }
    write_json(folder / "card.json", card)
    noise = torch.randn(digits.shape, generator=generator)
    blurred = (digits + (2 * mse**0.5) * noise).clamp(0, 1)
    grids.save_grid(blurred[64:128], folder / "samples.png", columns=8)
    grids.save_pairs(digits[:16], blurred[:16], folder / "reconstructions.png")
    t = torch.linspace(0, 1, 8)[None, :, None, None, None]
    grids.save_rows(
        digits[:6, None] * (1 - t) + blurred[6:12, None] * t, folder / "interpolations.png"
    )
    axes = torch.pca_lowrank(blurred.flatten(1), q=4)[2]
    charts.save_scatter((blurred.flatten(1) @ axes)[:, :2], labels, None, folder / "map.png")
    lines = ["split,quantity,step,images,value"]
    for step in range(0, 60001, 1500):
        for split, offset in (("train", 0.0), ("val", 2.0)):
            loss = 20 + fid + offset + 300 * math.exp(-step / 4000) + math.cos(step)
            lines.append(f"{split},loss,{step // 100},{step},{loss!r}")
        lines.append(f"train,kl_nats,{step // 100},{step},{12 * (1 - math.exp(-step / 9000))!r}")
    (folder / "history.csv").write_text("\n".join(lines) + "\n")


def images_npz(pixels, generator, *, plane=False):
    """All arrays of results/<name>/images.npz, of digits (N, H, W, 1) with some noise."""
    noise = generator.integers(0, 25, pixels.shape)
    copies = np.clip(pixels.astype(int) - noise, 0, 255).astype(np.uint8)
    steps = np.linspace(0, 1, 10)[:, None, None, None]
    first, last = copies[:6, None], copies[6:12, None]
    arrays = {
        "samples": copies[100:164],
        "reconstructions": copies[:200],
        "interpolations": (first * (1 - steps) + last * steps).astype(np.uint8),
        "map": generator.normal(size=(300, 2)).astype(np.float32),
        "training_samples": np.stack([copies[:16] // (10 - t) for t in range(10)]),
        "training_images": np.arange(10) * 1000,
    }
    if plane:
        axis = np.linspace(-2, 2, 21, dtype=np.float32)
        tiles = copies[np.arange(441) % 200].reshape(21, 21, *copies.shape[1:])
        arrays |= {"plane": tiles, "plane_x": axis, "plane_y": axis, "map_is_code": np.array(1)}
    return arrays


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """A project of 14 models with images of 28 × 28 pixels, and 3 tasks. Do not change it."""
    root = tmp_path_factory.mktemp("many")
    data = load_digits()
    pixels = np.zeros((360, 28, 28, 1), np.uint8)
    pixels[:, 2:26, 2:26, 0] = np.kron(data.images[:360] * 15.9, np.ones((3, 3))).astype(np.uint8)
    digits = torch.tensor(pixels).permute(0, 3, 1, 2) / 255
    labels, torch_generator = torch.tensor(data.target[:360]), torch.Generator().manual_seed(0)
    generator, titles = np.random.default_rng(0), list(MODELS)
    for index in range(14):
        folder = root / "results" / f"model_{index}"
        write_model(folder, titles[index % 4], digits, labels, torch_generator)
        write_arrays(folder / "images.npz", images_npz(pixels, generator, plane=index == 3))
        figures = [("chart", charts_of), ("grid", grid_of(digits))]
        result = Result(
            "A diagnostic",
            "What was measured. " * 12,
            metrics={"test_sse": 3.0 + index},
            table={"test images": {"sse": 1.5}, "noise": {"sse": 2.5}},
            figures=[Figure(name, "A figure", save) for name, save in figures],
        )
        write_result(result, folder / "diagnostics" / "identity_mapping")
        for task in TASKS if index == 0 else ():
            write_result(result, root / "results" / "tasks" / task / "result")
    write_reference(root, digits)
    arrays = {"originals": pixels[:200], "labels": data.target[:300].astype(np.int64)}
    write_arrays(root / "results" / "reference" / "images.npz", arrays)
    return root


TASKS = ("anomaly_detection", "classification", "retrieval")


def charts_of(path):
    charts.save_curves([charts.Curve("a", [0, 1, 2], [1.0, 3.0, 2.0])], path, x="x", y="y")


def grid_of(digits):
    return lambda path: grids.save_grid(digits[:64], path, columns=8)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A project with four evaluated models. Do not change it."""
    root = tmp_path_factory.mktemp("project")
    data = load_digits()
    digits = torch.tensor(data.images[:360, None] / 16, dtype=torch.float32)
    labels = torch.tensor(data.target[:360])
    generator = torch.Generator().manual_seed(0)
    for name in MODELS:
        write_model(root / "results" / name, name, digits, labels, generator)
    write_reference(root, digits)
    return root


def write_reference(root, digits):
    reference = root / "results" / "reference"
    real = {"fid": 1.31, "kid": -0.0002, "precision": 0.74, "recall": 0.75, "density": 1.01}
    measured = {
        "real": real | {"coverage": 0.95, "classifier_accuracy": 0.9861},
        "noise": {"fid": 611.4, "kid": 4.1, "precision": 0.0, "recall": 0.0},
        "pca_gaussian": {"fid": 33.3, "latent_dim": 32},
        "pixels": {"probe_accuracy": 0.957},
    }
    write_json(reference / "metrics.json", measured)
    card = {
        "data": "digits",
        "counts": {"train": 1293, "val": 144, "test": 360},
        "classes": [HOSTILE, *"123456789"],
        "image_shape": list(digits.shape[1:]),
        "features": "classifier",
        "num_samples": 360,
        "split_seed": 0,
        "data_sha256": "3f2a" * 16,
    }
    write_json(reference / "card.json", card)
    grids.save_grid(digits[:64], reference / "originals.png", columns=8)


@pytest.fixture
def root(evaluated, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(evaluated, tmp_path / "project")


@pytest.fixture
def project_of():
    """Make a project, as far as the page reads it, from its root folder."""

    def make(root, models=MODELS, tasks=()):
        return SimpleNamespace(
            root=root,
            prepared=root / "data" / "prepared",
            seed=7,
            goal=None,
            more_seeds=(),
            data=SimpleNamespace(name="digits", folder="images"),
            models=dict.fromkeys(models, "x"),
            tasks={name: {} for name in tasks},
        )

    return make


@pytest.fixture
def compared(many, project_of):
    """The comparison of the project with 14 models and 3 tasks."""
    return read_comparison(project_of(many, [f"model_{i}" for i in range(14)], TASKS))


@pytest.fixture
def read(project_of):
    """Read the comparison of a root folder."""
    return lambda root: read_comparison(project_of(root))


@pytest.fixture
def text_table(capsys):
    """The table of `latentlab results` as text."""

    def text(comparison):
        capsys.readouterr()
        print_table(comparison, shown_metrics(None, comparison))
        return capsys.readouterr().out

    return text


@pytest.fixture
def edit_json():
    """Change the content of a JSON file."""

    def edit(path, change):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


@pytest.fixture
def model_names():
    return list(MODELS)


@pytest.fixture
def model_titles():
    return {name: title for name, (_, title, *_) in MODELS.items()}


@pytest.fixture
def hostile():
    """HTML in the name of a class."""
    return HOSTILE


@pytest.fixture
def run_stage(project_of, monkeypatch):
    """Run stage report in a root folder. Return the page."""

    def run(root):
        monkeypatch.setattr(report, "load_project", lambda *_: project_of(root))
        report.main([])
        return (root / "reports" / "index.html").read_text(encoding="utf-8")

    return run
