"""Trainings that cannot start or that stop early: devices, losses, memory, signals."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning import LightningModule
from torch import nn

from latentlab.stages.__main__ import run as run_stage
from latentlab.training import fit, trainer
from latentlab.training.checkpoints import list_checkpoints, read_checkpoint
from latentlab.utils.errors import LatentlabError


@pytest.mark.parametrize("setting", [{"accelerator": "gpus"}, {"strategy": "dpd"}])
def test_missing_hardware_is_reported_with_the_setting(prepared, setting):
    prepared.edit("params.yaml", **{f"hardware__{key}": value for key, value in setting.items()})
    ((key, value),) = setting.items()
    message = rf"params.yaml asks for hardware .*{key}: {value}.* Set the value .* to auto"
    with pytest.raises(LatentlabError, match=message):
        prepared.fit("vae", "a")


@pytest.mark.parametrize("emulated", [True, False])
def test_bfloat16_that_the_processor_emulates_is_named(prepared, monkeypatch, capfd, emulated):
    monkeypatch.setattr(trainer, "computes_in_bfloat16", lambda device: not emulated)
    prepared.edit("params.yaml", trainer__precision="bf16-mixed", hardware__accelerator="cpu")
    prepared.fit("linear_ae", "a")
    said = (
        "this processor has no instructions for bfloat16 and emulates it" in capfd.readouterr().err
    )
    assert said == emulated


def test_best_checkpoint_with_a_sampler_fitted_after_training_raises(prepared):
    prepared.edit("configs/linear_ae.yaml", trainer__checkpoint="best")
    with pytest.raises(LatentlabError, match=r"checkpoint is best.*is fitted after training"):
        prepared.stage("train", "linear_ae")
    assert not (prepared.root / "runs").exists()


class Toy(LightningModule):
    """A model of one weight. At step 37, the first after a checkpoint, it fails as `fails` says."""

    family = "AE"

    def __init__(self, image_shape: tuple[int, int, int], *, fails: str = "nan") -> None:
        super().__init__()
        self.latent_dim, self.fails = 1, fails
        self.weight = nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        loss = (self.weight - batch[0].mean()).square()
        if self.global_step == 36:
            if self.fails == "memory":
                raise torch.OutOfMemoryError("tried to allocate 4 TiB")
            if self.fails == "cpu_memory":
                torch.empty(10**14)  # raises a RuntimeError on a CPU
            loss = loss * torch.nan
        return {"loss": loss}

    def validation_step(self, batch, batch_idx):
        return {"loss": (self.weight - batch[0].mean()).square()}

    def decode(self, z):
        return torch.zeros(len(z), 1, 8, 8)

    def features(self, x):
        return x.flatten(1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def write_toy(prepared, fails):
    prepared.edit("params.yaml", allow=[__name__])
    images = 2 * prepared.STEPS * prepared.BATCH
    (prepared.root / "configs" / "toy.yaml").write_text(
        f"model: {{class_path: {__name__}.Toy, init_args: {{fails: {fails}}}}}\n"
        "sampler: {class_path: latentlab.samplers.StandardNormal}\n"
        f"trainer: {{batch_size: {prepared.BATCH}, total_images: {images}}}\n"
    )


def test_loss_that_is_not_finite_exits_with_the_step_and_keeps_the_last_checkpoint(
    prepared, monkeypatch, capsys
):
    write_toy(prepared, "nan")
    monkeypatch.setattr("latentlab.utils.memory.keep_freed_memory", lambda: True)
    with pytest.raises(SystemExit) as stopped:
        run_stage(lambda: prepared.stage("train", "toy"))
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: the loss is not finite at step 37: loss = nan")
    assert not (prepared.root / "runs").exists()
    *_, newest = prepared.root.glob(".checkpoints/toy/*/*.ckpt")
    good = read_checkpoint(newest)
    assert good["global_step"] == prepared.STEPS
    assert good["state_dict"]["weight"].isfinite()
    assert prepared.statuses() == {"toy": "FAILED"}


def test_diverging_gan_stops(prepared):
    rates = dict.fromkeys(("generator_lr", "discriminator_lr"), 1e30)
    prepared.edit(
        "configs/dcgan.yaml", **{f"model__init_args__optim__{k}": v for k, v in rates.items()}
    )
    with pytest.raises(LatentlabError, match=r"the loss is not finite at step \d+: .*d_loss = "):
        prepared.fit("dcgan", "a")
    assert not list_checkpoints(prepared.root / ".checkpoints" / "a")


@pytest.mark.parametrize("fails", ["memory", "cpu_memory"])
def test_too_little_memory_is_reported_with_the_setting(prepared, fails):
    write_toy(prepared, fails)
    experiment, data = prepared.open_experiment("toy")
    message = r"out of memory with trainer.batch_size 128 .*set a smaller batch_size"
    with pytest.raises(LatentlabError, match=message):
        fit(experiment, data, work=prepared.root / "work")
    newest = list_checkpoints(prepared.root / "work")[-1]
    assert int(newest.name.partition("-")[0]) == prepared.STEPS


def wait_for_checkpoint(root, name, process, seconds=120):
    end = time.monotonic() + seconds
    while not list(root.glob(f".checkpoints/{name}/*/*.ckpt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f"no checkpoint of {name} was written"
        time.sleep(0.1)


def stage_process(parent):
    """Return the process id of the stage among the descendants of process `parent`."""
    queue = [parent]
    while queue:
        pid = queue.pop()
        if b"latentlab.stages" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
        queue += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    raise AssertionError("dvc has started no training")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_signal_stops_a_training_without_a_result(prepared):
    """SIGTERM to a training that DVC started, SIGINT to one that a user started."""
    project = prepared.project
    project.add_pipeline()
    project.edit("params.yaml", trainer__num_validations=10**9)  # a checkpoint after each epoch
    for name in ("vae", "linear_ae"):
        project.edit(f"configs/{name}.yaml", trainer__total_images=10**10, trainer__max_epochs=None)
    classifier = project.root / "runs" / "classifier"
    classifier.mkdir(parents=True)
    (classifier / "weights.pt").touch()  # a dependency in dvc.yaml; vae does not read it
    user = project.python_stage("train", "linear_ae")
    dvc = project.start("dvc", "repro", "--single-item", "train@vae")
    try:
        wait_for_checkpoint(project.root, "vae", dvc)
        os.kill(stage_process(dvc.pid), signal.SIGTERM)
        wait_for_checkpoint(project.root, "linear_ae", user)
        user.send_signal(signal.SIGINT)
        dvc_output, _ = dvc.communicate(timeout=60)
        user_output, _ = user.communicate(timeout=60)
    finally:
        for process in (dvc, user):
            process.kill()
            process.wait()
    assert "exited with 143" in dvc_output
    assert "SIGTERM stopped the training: it is not finished" in dvc_output
    assert dvc.returncode != 0
    assert user.returncode == 130, user_output
    assert "Traceback" not in user_output + dvc_output
    assert [path.name for path in (project.root / "runs").iterdir()] == ["classifier"]
    assert not (project.root / "dvc.lock").exists(), "DVC must not store an unfinished training"
    assert prepared.statuses() == {"vae": "KILLED", "linear_ae": "KILLED"}
