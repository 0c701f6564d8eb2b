"""Resume: a resumed training equals an uninterrupted one, fingerprints, locks of work folders."""

import shutil
from dataclasses import replace

import pytest
import torch

from interrupted import Interrupted
from latentlab.training import fit, resume
from latentlab.training.checkpoints import list_checkpoints, write_checkpoint
from latentlab.training.resume import (
    find_resume_point,
    fingerprint,
    lock_work_folder,
    work_folder,
)
from latentlab.utils.errors import LatentlabError


def assert_same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


CASES = {
    "stacked_ae": {"trainer__precision": "64-true"},
    "greedy_ae": {},  # its phases change inside the first epoch and after the second
    "vae": {"hardware__loader": "stream", "hardware__num_workers": 2},
    "dcgan": {"trainer__ema_decay": 0.9},
}


@pytest.mark.parametrize("seconds", [0, 10**6], ids=["inside an epoch", "after an epoch"])
@pytest.mark.parametrize("name", list(CASES))
def test_resumed_training_equals_the_uninterrupted_one(prepared, name, seconds, monkeypatch):
    prepared.edit("params.yaml", **CASES[name], hardware__checkpoint_interval_seconds=seconds)
    if name == "dcgan":
        prepared.edit("configs/dcgan.yaml", model__init_args__optim__linear_decay=True)
    whole, expected = prepared.fit(name, "whole")
    torch.manual_seed(123)  # the state of torch's generator must not matter
    interruptions = [7, 16, 18, 27, 35, prepared.STEPS] if seconds == 0 else [22]
    for step in interruptions:
        monkeypatch.setattr(Interrupted, "at", step)
        with monkeypatch.context() as patch:
            patch.setattr("latentlab.training.loop.PeriodicCheckpoint", Interrupted)
            with pytest.raises(RuntimeError, match="the power went off"):
                prepared.fit(name, "parts", resume=step != interruptions[0])
        newest = max(p.name for p in (prepared.root / ".checkpoints" / "parts").iterdir())
        last = step // 5 * 5 if seconds == 0 else prepared.VALIDATED
        assert int(newest.partition("-")[0]) in (last, step // 9 * 9), "also inside an epoch"
    resumed, fitted = prepared.fit(name, "parts", resume=True)
    assert_same_weights(whole, resumed)
    assert fitted.history.rows == expected.history.rows
    assert fitted.best.images == expected.best.images
    for key, value in expected.best.weights.items():
        assert torch.equal(fitted.best.weights[key], value), "the best weights are in a checkpoint"
    finished, again = prepared.fit(name, "parts", resume=True)
    assert_same_weights(whole, finished)  # no step was left
    assert again.history.rows == expected.history.rows


def test_cost_of_a_resumed_training_has_the_time_of_all_parts(prepared):
    prepared.fit("vae", "timed")
    experiment, data = prepared.open_experiment("vae")
    work = prepared.root / ".checkpoints" / "timed"
    point = find_resume_point(work)
    assert point.seconds > 0
    late = replace(point, seconds=point.seconds + 1000)
    cost = fit(experiment, data, work=work, resume=late, score=lambda model: 0.0).cost
    assert 1000 < cost["train_seconds"] < 1100
    images = cost["images_per_second"] * cost["train_seconds"]
    assert images == pytest.approx(prepared.STEPS * prepared.BATCH, rel=0.01)


# --- fingerprint ---


def test_fingerprint_depends_on_configuration_and_data():
    resolved = {"trainer": {"total_images": 1}, "seed": 0}
    other_order = {"seed": 0, "trainer": {"total_images": 1}}
    changed = {"trainer": {"total_images": 2}, "seed": 0}
    assert fingerprint(resolved, "x") == fingerprint(other_order, "x")
    different = {fingerprint(resolved, "x"), fingerprint(changed, "x"), fingerprint(resolved, "y")}
    assert len(different) == 3


def test_fingerprint_depends_on_the_code(tmp_path, monkeypatch):
    folder = tmp_path / "latentlab"
    shutil.copytree(resume.PACKAGE, folder)
    monkeypatch.setattr(resume, "PACKAGE", folder)
    found = {fingerprint({}, "x")}
    for name in ("models/vae.py", "losses/variational.py", "data/batch_sampler.py", "contracts.py"):
        assert (folder / name).exists()
        with (folder / name).open("a") as file:
            file.write("# another equation\n")
        found.add(fingerprint({}, "x"))
    assert len(found) == 5


# --- work folders ---


def content(step):
    state = {"run_id": "r", "rows": [["val", "loss", step, 0.5]], "seconds": 1.5 * step}
    return {"latentlab": state, "weights": torch.full((1000,), float(step))}


@pytest.fixture
def work(tmp_path):
    folder = work_folder(tmp_path, "vae", "a" * 64)
    for step in (10, 20, 100):
        write_checkpoint(folder, step, content(step))
    return folder


def test_newest_checkpoint_is_found(work):
    point = find_resume_point(work)
    assert point.path == list_checkpoints(work)[-1]
    assert (point.run_id, point.rows) == ("r", [("val", "loss", 100, 0.5)])
    assert point.seconds == 150


@pytest.mark.parametrize("damage", ["cut", "emptied", "one bit"])
def test_damaged_checkpoint_is_reported_and_the_one_before_is_used(work, capsys, damage):
    before, newest = list_checkpoints(work)
    data = bytearray(newest.read_bytes())
    data[2000] ^= 1
    newest.write_bytes({"cut": data[:1500], "emptied": b"", "one bit": data}[damage])
    assert find_resume_point(work).path == before
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{newest} is damaged: its content does not match its name" in line
    assert line.endswith(". The checkpoint before it is tried")
    before.write_bytes(b"")
    assert find_resume_point(work) is None
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(str(before))
    assert last.endswith(". No older checkpoint is left")


def test_checkpoints_of_another_training_are_kept_and_reported(work, tmp_path, capsys):
    other = work_folder(tmp_path, "vae", "b" * 64)
    assert find_resume_point(other) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"training starts from the beginning: {work} belongs to another configuration, data or"
        " code, and is kept"
    )
    assert len(list_checkpoints(work)) == 2
    assert find_resume_point(work_folder(tmp_path, "dcgan", "b" * 64)) is None
    assert capsys.readouterr().err == ""


def test_second_training_in_a_work_folder_raises(work):
    message = "another process is training vae with the same configuration: wait"
    with lock_work_folder(work):
        with pytest.raises(LatentlabError, match=message), lock_work_folder(work):
            pass
        assert len(list_checkpoints(work)) == 2
    with lock_work_folder(work):
        pass
