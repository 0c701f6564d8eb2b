"""Stage train where MLflow does not take all of it, and where the data do not suit a model."""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from latentlab.config.run_folder import find_run
from latentlab.tracking import Run
from latentlab.training.callbacks import SeedEachBatch
from latentlab.utils.errors import LatentlabError


def test_incomplete_tracking_is_exit_code_3_and_nothing_is_trained_twice(small, monkeypatch):
    small.stage("prepare")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "log_final", lambda self, metrics: self.flush())  # lost on the way
        patch.setattr(Run, "finish", lambda self, status, **_: False)
        with pytest.raises(SystemExit) as stopped:
            small.stage("train", "vae")
    assert stopped.value.code == 3
    folder = small.root / "runs" / "vae"
    weights, run_id = (folder / "weights.pt").read_bytes(), (folder / "mlflow_run_id").read_text()
    assert list(small.root.glob(".checkpoints/vae/*/*.ckpt")), "the state to deliver from"

    def trained_again(*_):
        raise AssertionError("a second training")

    monkeypatch.setattr(SeedEachBatch, "on_train_batch_start", trained_again)
    small.stage("train", "vae")
    assert (folder / "weights.pt").read_bytes() == weights
    assert (folder / "mlflow_run_id").read_text() == run_id
    assert not list(small.root.glob(".checkpoints/vae/*"))
    with closing(sqlite3.connect(small.root / "mlruns" / "mlflow.db")) as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
        points = store.execute("SELECT key, step, count(*) FROM metrics GROUP BY 1, 2").fetchall()
    assert ("train_seconds", 0, 1) in points, "delivered the second time"
    assert all(count == 1 for *_, count in points)


@pytest.fixture
def unlabelled(small):
    """Own images without classes, and a model and a task that need classes."""
    folder = small.root / "data" / "mine"
    folder.mkdir(parents=True)
    for row in range(30):
        pixels = np.random.default_rng(row).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row}.png")
    small.edit("params.yaml", data={"name": "image_folder", "folder": "data/mine", "size": 8})
    models = {name: f"configs/{name}.yaml" for name in ("linear_ae", "conditional_vae")}
    task = {"code": "configs/tasks/retrieval.yaml", "model": "conditional_vae"}
    small.edit("params.yaml", models=models, tasks={"retrieval": task})
    small.edit("configs/tasks/retrieval.yaml", model="conditional_vae")
    return small


def test_what_does_not_suit_the_data_is_told_by_prepare_in_one_list(unlabelled, capsys):
    unlabelled.edit("params.yaml", evaluation__num_samples=50)
    with pytest.raises(LatentlabError) as stopped:
        unlabelled.stage("prepare")
    first, *problems, last = str(stopped.value).splitlines()
    assert first == "these 3 cannot work, so nothing is trained:"
    for problem, (file, message) in zip(
        problems,
        [
            ("configs/conditional_vae.yaml", "the data have 0 classes"),
            ("configs/tasks/retrieval.yaml", "it reads the model 'conditional_vae', which does"),
            ("params.yaml", "evaluation.num_samples is 50, but FID compares at most as many"),
        ],
        strict=True,
    ):
        assert problem.startswith(f"  {file}: {message}")
    assert "on_unsuitable: skip" in last
    said = capsys.readouterr().err
    assert "trainer.batch_size is larger than the training split (21 images) for linear_ae" in said
    assert (unlabelled.root / "data" / "prepared" / "meta.json").is_file()


def test_what_does_not_suit_the_data_can_be_left_out(unlabelled, capsys):
    unlabelled.edit("params.yaml", on_unsuitable="ignore")
    with pytest.raises(LatentlabError, match="choose one of: error, skip"):
        unlabelled.stage("prepare")
    unlabelled.edit("params.yaml", on_unsuitable="skip")
    unlabelled.stage("prepare")
    assert "configs/conditional_vae.yaml: left out (on_unsuitable: skip)" in capsys.readouterr().err
    unlabelled.stage("train", "conditional_vae")
    unlabelled.stage("evaluate", "conditional_vae")
    unlabelled.stage("tasks", "retrieval")
    run, results = (unlabelled.root / name for name in ("runs", "results"))
    assert sorted(path.name for path in (run / "conditional_vae").iterdir()) == [
        "code.json",
        "skipped.json",
    ]
    reason = json.loads((run / "conditional_vae" / "skipped.json").read_text())["reason"]
    assert reason.startswith("the data have 0 classes")
    card = json.loads((results / "conditional_vae" / "card.json").read_text())
    assert card["skipped"] == reason
    task = json.loads((results / "tasks" / "retrieval" / "result" / "result.json").read_text())
    assert task["warnings"] == ["left out"]
    with pytest.raises(LatentlabError, match="'conditional_vae' was left out, as the data do not"):
        find_run("conditional_vae", unlabelled.root)


def test_a_mistake_in_a_config_is_never_left_out(unlabelled):
    unlabelled.edit("params.yaml", on_unsuitable="skip")
    unlabelled.edit("configs/linear_ae.yaml", model__init_args__latent_dmi=3)
    with pytest.raises(LatentlabError, match="latent_dmi"):
        unlabelled.stage("prepare")
    with pytest.raises(LatentlabError, match="latent_dmi"):
        unlabelled.stage("train", "linear_ae")
    assert not (unlabelled.root / "runs" / "linear_ae").exists()


def test_a_batch_larger_than_the_training_split_has_all_of_it(unlabelled):
    unlabelled.edit("params.yaml", on_unsuitable="skip", trainer__num_validations=1)
    unlabelled.edit("configs/linear_ae.yaml", trainer__total_images=42)
    unlabelled.stage("prepare")
    unlabelled.stage("classifier")
    unlabelled.stage("train", "linear_ae")
    stored = json.loads((unlabelled.root / "runs" / "linear_ae" / "experiment.json").read_text())
    assert stored["resolved"]["trainer"]["batch_size"] == 21
    assert stored["images_seen"] == 42
