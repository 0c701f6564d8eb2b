"""`latentlab compare` on stored results."""

import json

import numpy as np
import pytest

from latentlab.cli import main

NUM_TEST = 108


def add_images(project, name, sse, **arrays):
    """Write per_image.npz, with errors whose mean is in metrics.json too."""
    folder = project.root / "results" / name
    np.savez(folder / "per_image.npz", reconstruction_sse=sse.astype(np.float32), **arrays)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics |= {"reconstruction_sse": float(sse.mean())}
    (folder / "metrics.json").write_text(json.dumps(metrics | {"ci95": {"kid": 3.0}}))


@pytest.fixture
def project(fork):
    """Invented errors of each test image: those of vae are larger by 2; dcgan has 20 images."""
    errors = np.random.default_rng(0).gamma(2.0, 2.0, NUM_TEST)
    add_images(fork, "linear_ae", errors, fid_halves=np.arange(30.0))
    add_images(fork, "vae", errors + 2, fid_halves=np.arange(30.0)[::-1])
    add_images(fork, "dcgan", errors[:20] + 1)
    return fork


@pytest.fixture
def run(project, monkeypatch, capsys):
    monkeypatch.chdir(project.root)

    def call(*argv):
        main(["compare", *argv])
        return capsys.readouterr().out

    return call


def differences(out, name):
    return {row["key"]: row["differences"].get(name) for row in json.loads(out)["metrics"]}


def test_each_metric_has_the_interval_that_its_results_allow(run):
    found = differences(run("linear_ae", "vae", "--json"), "vae")
    sse = found["reconstruction_sse"]
    assert sse["difference"] == pytest.approx(2.0, rel=1e-6)
    assert sse["interval_95"] == pytest.approx([2.0, 2.0], rel=1e-6), "2 more for each image"
    assert (sse["over"], sse["counts"]) == ("images", [NUM_TEST])
    gaps = np.arange(30.0)[::-1] - np.arange(30.0)
    low, high = found["fid"]["interval_95"]
    assert (high - low) / 2 == pytest.approx(1.96 * gaps.std(ddof=1), rel=1e-4)
    low, high = found["kid"]["interval_95"]
    assert (high - low) / 2 == pytest.approx(3 * 2**0.5)
    assert found["train_seconds"]["interval_95"] is None


def test_a_model_without_an_encoder_is_compared_on_its_images(run):
    sse = differences(run("linear_ae", "dcgan", "--json"), "dcgan")["reconstruction_sse"]
    assert sse["difference"] == pytest.approx(1.0, rel=1e-6)
    assert sse["counts"] == [20]
    text = run("linear_ae", "vae", "dcgan")
    assert "n = 108 or 20 test images" in text
    assert "dcgan − linear_ae" in text


def test_results_without_values_of_images_say_how_to_get_them(run, project):
    (project.root / "results" / "vae" / "per_image.npz").unlink()
    text = run("linear_ae", "vae")
    assert "vae has no values for each test image: `dvc repro -f evaluate@vae` adds them" in text


def test_models_of_other_data_are_not_paired(run, project):
    path = project.root / "results" / "vae" / "card.json"
    card = json.loads(path.read_text())
    card["config"]["data"]["size"] = 16
    path.write_text(json.dumps(card))
    out = run("linear_ae", "vae", "--json")
    assert differences(out, "vae")["reconstruction_sse"]["interval_95"] is None
    assert "vae was measured on other data than linear_ae." in json.loads(out)["notes"]


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_other_formats(run, form):
    out = run("vae", "linear_ae", f"--{form}")
    assert out.startswith({"markdown": "| metric |", "latex": r"\begin{tabular}"}[form])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["vae"], "error: only one model (vae): give two or more"),
        (["vae", "linear"], "error: unknown model 'linear': did you mean 'linear_ae'? measured"),
        (["vae", "vae@7"], "vae@7 is not measured yet: add 7 to `more_seeds` in params.yaml, then"),
        (["vae", "classifier"], "classifier is the classifier that measures the models, no model"),
        (
            ["vae", "retrieval"],
            "error: retrieval is a task, no model: give models; measured: dcgan",
        ),
        (["vae", "wgan"], "error: wgan is not measured yet: run `dvc repro evaluate@wgan`"),
    ],
)
def test_a_name_without_results_is_an_error(run, capsys, argv, message):
    with pytest.raises(SystemExit) as stopped:
        run(*argv)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
