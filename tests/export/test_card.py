"""The model card of an exported model."""

import hashlib
import json
import re

import pytest
import torch
import yaml

import latentlab
from latentlab.export.folder import export_model


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "vae"
    export_model(latentlab.load("vae", project=tiny.root), folder, "safetensors")
    return folder


@pytest.fixture(scope="module")
def card(exported):
    return (exported / "README.md").read_text(encoding="utf-8")


def test_the_front_matter_has_the_keys_of_hugging_face(card, tiny):
    _, head, _ = card.split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "latentlab"
    assert front["tags"] == ["latentlab", "image-generation", "vae"]
    assert front["datasets"] == ["digits"]
    (result,) = front["model-index"][0]["results"]
    stored = json.loads((tiny.root / "results" / "vae" / "metrics.json").read_text())
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["fid"] == stored["fid"]
    assert set(front["metrics"]) == set(values)


def test_the_text_has_equation_data_limits_and_papers(card):
    for part in ("# Variational autoencoder", "q(z|x) = N(", "## Intended use and limits",
                 "digits, 10 classes", "| FID |", "Kingma & Welling 2014",
                 "## Differs from the paper\n\n- A Bernoulli is a"):  # fmt: skip
        assert part in card


def test_metrics_have_half_of_their_95_percent_interval(card, tiny):
    stored = json.loads((tiny.root / "results" / "vae" / "metrics.json").read_text())
    fid, ssim = (f"{stored[key]:,.{n}f}" for key, n in (("fid", 1), ("ssim", 3)))
    half_fid, half_ssim = (f"{stored['ci95'][k]:,.{n}f}" for k, n in (("fid", 1), ("ssim", 3)))
    assert f"| FID | {fid} ± {half_fid} | lower |" in card
    assert f"| SSIM | {ssim} ± {half_ssim} | higher |" in card
    assert "number of images. ± is half of the 95 % interval.\n" in card


def test_metrics_without_an_interval_have_no_plus_minus(fork, tmp_path):
    path = fork.root / "results" / "vae" / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["ci95"]
    path.write_text(json.dumps(metrics))
    export_model(latentlab.load("vae", project=fork.root), tmp_path / "out", "safetensors")
    assert "±" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_checksums_are_those_of_the_files(card, exported):
    rows = dict(re.findall(r"\| `(\S+)` \| [\d,]+ \| `(\w{64})` \|", card))
    assert set(rows) == {"config.json", "model.safetensors", "sampler.safetensors"}
    for name, sha256 in rows.items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == sha256


def test_the_program_of_the_card_runs(card, exported):
    (block,) = re.findall(r"```python\n(.*?)```", card, re.S)
    scope = {}
    exec(block.replace("path/to/folder", str(exported)), scope)
    assert scope["images"].shape == (16, 1, 8, 8)
    assert scope["codes"].shape == (16, 20)


@pytest.mark.filterwarnings("ignore::FutureWarning:torch", "ignore::UserWarning:torch")
def test_the_program_of_a_torch_card_runs(tiny, tmp_path, monkeypatch):
    export_model(latentlab.load("vae", project=tiny.root), tmp_path / "a", "torch.export")
    (block,) = re.findall(r"```python\n(.*?)```", (tmp_path / "a" / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path / "a")
    scope = {}
    exec(block, scope)
    assert scope["images"].shape == (16, 1, 8, 8)
    assert torch.is_tensor(scope["codes"])


def test_a_model_that_is_not_measured(conditional, tmp_path):
    export_model(latentlab.load(conditional), tmp_path / "out", "safetensors")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Metrics\n\nNot measured." in card
    assert "model-index" not in card
