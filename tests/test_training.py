"""Fitting: curves against a hand loop, bitwise resume, and every way to stop too early."""

import copy
import os
import shutil
import signal
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentlab.config import load_experiment
from latentlab.contracts import LatentlabError, to_float
from latentlab.data.order import epoch_batches
from latentlab.data.prepared import read_meta, read_split
from latentlab.models.dcgan import DCGAN
from latentlab.stages.__main__ import run as entry
from latentlab.training import History, data_module, fit
from latentlab.training import loop as training
from latentlab.training import resume as resuming
from latentlab.training.checkpoints import Checkpoints, checkpoints, read
from latentlab.training.resume import fingerprint, resumable

STEPS, BATCH = 36, 128  # 4 epochs of 9 whole batches
CHECKPOINTED = 18  # validations: 2, so after every second epoch


@pytest.fixture
def prepared(small):
    small.edit("params.yaml", data__test_fraction=0.2)
    small.stage("prepare")
    assert read_meta(small.root / "data" / "prepared").counts["train"] // BATCH == 9
    return small


def open_experiment(project, name):
    meta = read_meta(project.root / "data" / "prepared")
    experiment = load_experiment(name, meta.facts, project.root)
    data = data_module(experiment)
    return experiment, data


def fit_one(project, name, folder, *, resume=False):
    """Returns the trained module and its curves."""
    project.edit(f"configs/{name}.yaml", trainer__images=STEPS * BATCH)
    experiment, data = open_experiment(project, name)
    work = project.root / ".checkpoints" / folder
    state = resumable(work) if resume else None
    assert resume == (state is not None)
    fitted = fit(experiment, data, work=work, resume=state, score=first_number)
    return experiment.model, fitted


def first_number(model):
    """A score of the model's own: whatever a few steps make the least is kept as the best."""
    return float(next(model.parameters()).flatten()[0])


def assert_same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


# --- what a training says ---


def hand_loop(project):
    """linear_ae in plain PyTorch: Adam, a rate that falls in a line, the same batches."""
    project.edit("configs/linear_ae.yaml", model__init_args__lr=1e-3)
    experiment, _ = open_experiment(project, "linear_ae")
    model, split = experiment.model, read_split(project.root / "data" / "prepared", "train")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for epoch in range(4):
        for rows in epoch_batches(len(split), BATCH, seed=0, epoch=epoch):
            x = to_float(split.images[rows]).flatten(1)
            x_hat = (x @ model.encoder.weight.T + model.encoder.bias) @ model.decoder.weight.T
            loss = (x_hat + model.decoder.bias - x).square().sum() / BATCH
            optimizer.param_groups[0]["lr"] = 1e-3 * (1 - len(losses) / STEPS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def test_the_curves_are_those_of_a_hand_loop(prepared):
    reference, losses = hand_loop(prepared)
    model, fitted = fit_one(prepared, "linear_ae", "a")
    train = [
        (i, v) for split, what, i, v in fitted.history.rows if (split, what) == ("train", "sse")
    ]
    ends = [5, 10, 15, 18, 20, 25, 30, 35, 36]  # every 5 steps, and before each checkpoint
    assert [images for images, _ in train] == [end * BATCH for end in ends]
    for start, end, (_, value) in zip([0, *ends], ends, train, strict=False):
        assert value == pytest.approx(sum(losses[start:end]) / (end - start), rel=1e-4)
    assert torch.allclose(model.decoder.weight, reference.decoder.weight, atol=1e-5)


def test_validation_is_the_mean_over_the_whole_split(prepared):
    model, fitted = fit_one(prepared, "linear_ae", "a")
    val = [(i, v) for split, what, i, v in fitted.history.rows if (split, what) == ("val", "sse")]
    assert [images for images, _ in val] == [CHECKPOINTED * BATCH, STEPS * BATCH]
    split = read_split(prepared.root / "data" / "prepared", "val")
    assert len(split) % BATCH, "the last batch is short, or weighing would not matter"
    x = to_float(split.images)
    with torch.no_grad():
        sse = (model.reconstruct_linearly(model.encode(x)) - x).square().flatten(1).sum(1).mean()
    assert val[-1][1] == pytest.approx(sse.item(), rel=1e-5)


def test_the_cost_counts_the_images_that_were_seen(prepared):
    _, fitted = fit_one(prepared, "linear_ae", "a")
    seen = fitted.cost["images_per_second"] * fitted.cost["train_seconds"]
    assert seen == pytest.approx(STEPS * BATCH, rel=0.01)
    assert fitted.cost["peak_memory_mb"] > 1
    assert fitted.device == "cpu"
    assert fitted.is_main_process


def test_history_is_a_table_of_steps_and_images():
    history = History(batch_size=10)
    history("train", {"loss": 0.1 + 0.2}, 50)
    header, line = history.csv().splitlines()
    assert header == "split,quantity,step,images,value"
    assert line == f"train,loss,5,50,{0.1 + 0.2!r}"
    assert float(line.split(",")[-1]) == 0.1 + 0.2


# --- the same again ---


class Interrupted(Checkpoints):
    """Dies at a given step, after whatever was saved there."""

    at = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.fit_loop.total_batch_idx + 1 == self.at:
            raise RuntimeError("the power went off")


CASES = {
    "stacked_ae": {},
    "greedy_ae": {},  # its phases change inside the first epoch and after the second
    "vae": {"hardware__loader": "stream", "hardware__num_workers": 2},
    "dcgan": {"trainer__ema_decay": 0.9},
}


@pytest.mark.parametrize("seconds", [0, 10**6], ids=["mid-epoch", "epoch"])
@pytest.mark.parametrize("name", list(CASES))
def test_a_resumed_training_ends_as_the_uninterrupted_one(prepared, name, seconds, monkeypatch):
    prepared.edit("params.yaml", **CASES[name], hardware__checkpoint_seconds=seconds)
    if name == "dcgan":
        prepared.edit("configs/dcgan.yaml", model__init_args__lr_decay=True)
    whole, expected = fit_one(prepared, name, "whole")
    torch.manual_seed(123)  # nothing may depend on what happened before
    at = [7, 16, 18, 27, 35, STEPS] if seconds == 0 else [22]
    for step in at:
        monkeypatch.setattr(Interrupted, "at", step)
        with monkeypatch.context() as patch:
            patch.setattr("latentlab.training.loop.Checkpoints", Interrupted)
            with pytest.raises(RuntimeError, match="the power went off"):
                fit_one(prepared, name, "halved", resume=step != at[0])
        saved = max(p.name for p in (prepared.root / ".checkpoints" / "halved").iterdir())
        last = step // 5 * 5 if seconds == 0 else CHECKPOINTED
        assert int(saved.partition("-")[0]) in (last, step // 9 * 9), "inside the epoch, too"
    resumed, fitted = fit_one(prepared, name, "halved", resume=True)
    assert_same_weights(whole, resumed)
    assert fitted.history.rows == expected.history.rows
    assert fitted.best.images == expected.best.images
    for key, value in expected.best.weights.items():
        assert torch.equal(fitted.best.weights[key], value), "the best is remembered"
    finished, again = fit_one(prepared, name, "halved", resume=True)
    assert_same_weights(whole, finished)  # nothing was left to do
    assert again.history.rows == expected.history.rows


def test_another_seed_is_another_training(prepared):
    first, _ = fit_one(prepared, "vae", "a")
    prepared.edit("params.yaml", seed=1)
    second, _ = fit_one(prepared, "vae", "b")
    assert not torch.equal(first.decoder[0].weight, second.decoder[0].weight)


def test_the_fingerprint_sees_configuration_and_data():
    resolved = {"trainer": {"images": 1}, "seed": 0}
    assert fingerprint(resolved, "x") == fingerprint({"seed": 0, "trainer": {"images": 1}}, "x")
    changed = {"trainer": {"images": 2}, "seed": 0}
    assert (
        len({fingerprint(resolved, "x"), fingerprint(changed, "x"), fingerprint(resolved, "y")})
        == 3
    )


def test_the_fingerprint_sees_the_code_of_every_model(tmp_path, monkeypatch):
    folder = tmp_path / "latentlab"
    shutil.copytree(resuming.PACKAGE, folder)
    monkeypatch.setattr(resuming, "PACKAGE", folder)
    seen = {fingerprint({}, "x")}
    for name in ("models/vae.py", "losses/variational.py", "data/order.py", "games.py"):
        with (folder / name).open("a") as file:
            file.write("# another equation\n")
        seen.add(fingerprint({}, "x"))
    assert len(seen) == 5


def test_a_resumed_training_tells_the_time_of_all_its_parts(prepared):
    """Its cost is that of the whole, not of what was left to do."""
    fit_one(prepared, "vae", "timed")
    experiment, data = open_experiment(prepared, "vae")
    work = prepared.root / ".checkpoints" / "timed"
    state = resumable(work)
    assert state.seconds > 0
    late = replace(state, seconds=state.seconds + 1000)
    cost = fit(experiment, data, work=work, resume=late, score=first_number).cost
    assert 1000 < cost["train_seconds"] < 1100
    seen = cost["images_per_second"] * cost["train_seconds"]
    assert seen == pytest.approx(STEPS * BATCH, rel=0.01)


# --- how it stops ---


@pytest.mark.parametrize("asked", [{"accelerator": "gpus"}, {"strategy": "dpd"}])
def test_devices_that_are_not_there_are_said_with_the_setting(prepared, asked):
    prepared.edit("params.yaml", **{f"hardware__{key}": value for key, value in asked.items()})
    with pytest.raises(LatentlabError, match=r"`hardware` of params.yaml .* auto takes what"):
        fit_one(prepared, "vae", "a")


def test_the_best_is_not_sought_with_a_sampler_that_is_fitted_afterwards(prepared):
    prepared.edit("configs/linear_ae.yaml", trainer__select="best")
    with pytest.raises(LatentlabError, match=r"select is best.*sampler is fitted after it"):
        prepared.stage("train", "linear_ae")
    assert not (prepared.root / "runs").exists()


class Toy(LightningModule):
    """One weight; `fails` decides what happens at step 37, the first after the last checkpoint."""

    family = "AE"

    def __init__(self, image_shape: tuple[int, int, int], *, fails: str = "nan") -> None:
        super().__init__()
        self.latent_dim, self.fails = 1, fails
        self.weight = nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        loss = (self.weight - batch[0].mean()).square()
        if self.global_step == STEPS:  # 36 steps are done: this is the 37th
            if self.fails == "memory":
                raise torch.OutOfMemoryError("tried to allocate 4 TiB")
            if self.fails == "cpu_memory":
                torch.empty(10**14)  # a plain RuntimeError on a CPU
            loss = loss * torch.nan
        return {"loss": loss}

    def validation_step(self, batch, batch_idx):
        return {"loss": (self.weight - batch[0].mean()).square()}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def write_toy(project, fails):
    project.edit("params.yaml", allow=[__name__])
    (project.root / "configs" / "toy.yaml").write_text(
        f"model: {{class_path: {__name__}.Toy, init_args: {{fails: {fails}}}}}\n"
        f"trainer: {{batch_size: {BATCH}, images: {2 * STEPS * BATCH}}}\n"
    )


def statuses(project):
    """Of the runs in the MLflow store, by name; read without MLflow."""
    with sqlite3.connect(project.root / "mlruns" / "mlflow.db") as store:
        found = store.execute("SELECT name, status FROM runs").fetchall()
    store.close()
    return dict(found)


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_last_good_state(
    prepared, monkeypatch, capsys
):
    write_toy(prepared, "nan")
    monkeypatch.setattr("latentlab.memory.keep_freed_memory", lambda: True)
    with pytest.raises(SystemExit) as stopped:
        entry(lambda: prepared.stage("train", "toy"))
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: the loss is not finite at step 37: loss = nan")
    assert not (prepared.root / "runs").exists()
    *_, newest = prepared.root.glob(".checkpoints/toy/*/*.ckpt")
    good = read(newest)
    assert good["global_step"] == STEPS
    assert good["state_dict"]["weight"].isfinite()
    assert statuses(prepared) == {"toy": "FAILED"}


@pytest.mark.parametrize("name", ["linear_ae", "vae", "dcgan"])
def test_double_precision_is_single_precision_rounded_less(prepared, name):
    _, expected = fit_one(prepared, name, "single")
    prepared.edit("params.yaml", trainer__precision="64-true")
    double, fitted = fit_one(prepared, name, "double")
    assert {p.dtype for p in double.parameters()} == {torch.float32}, "what is kept"
    (first, *_), (again, *_) = expected.history.rows, fitted.history.rows
    assert again[-1] == pytest.approx(first[-1], rel=0.2), "the noise is another draw"
    if name == "linear_ae":
        assert again[-1] == pytest.approx(first[-1], rel=1e-4)
        assert again[-1] != first[-1]


def test_a_gan_that_explodes_is_stopped(prepared):
    prepared.edit("configs/dcgan.yaml", model__init_args__lr=1e30)
    with pytest.raises(LatentlabError, match=r"the loss is not finite at step \d+: .*d_loss = "):
        fit_one(prepared, "dcgan", "a")
    assert not checkpoints(prepared.root / ".checkpoints" / "a")


@pytest.mark.parametrize("fails", ["memory", "cpu_memory"])
def test_too_little_memory_is_said_with_what_to_lower(prepared, fails):
    write_toy(prepared, fails)
    experiment, data = open_experiment(prepared, "toy")
    with pytest.raises(LatentlabError, match=r"out of memory with batches of 128: lower trainer.b"):
        fit(experiment, data, work=prepared.root / "work")
    assert int(checkpoints(prepared.root / "work")[-1].name.partition("-")[0]) == STEPS


def wait_for(root, name, process, seconds=120):
    """Until a training has left its first checkpoint."""
    end = time.monotonic() + seconds
    while not list(root.glob(f".checkpoints/{name}/*/*.ckpt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f"no checkpoint of {name} appeared"
        time.sleep(0.1)


def stage_process(project, parent):
    """The process id of the training that `dvc` (process id `parent`) started, or of a child's."""
    queue = [parent]
    while queue:
        pid = queue.pop()
        if b"latentlab.stages" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
        queue += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    raise AssertionError("dvc has started no training")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for a child in /proc")
def test_a_signal_ends_a_training_without_a_result(prepared):
    """SIGTERM to a training under dvc, SIGINT to one that was started by hand."""
    prepared.add_pipeline()
    prepared.edit("params.yaml", trainer__validations=10**9)  # a checkpoint after each epoch
    for name in ("vae", "linear_ae"):
        prepared.edit(f"configs/{name}.yaml", trainer__images=10**10)
    (prepared.root / "runs" / "judge").mkdir(parents=True)
    (prepared.root / "runs" / "judge" / "weights.pt").touch()  # dvc wants it there, vae does not
    by_hand = prepared.python_stage("train", "linear_ae")
    dvc = prepared.start("dvc", "repro", "--single-item", "train@vae")
    try:
        wait_for(prepared.root, "vae", dvc)
        os.kill(stage_process(prepared, dvc.pid), signal.SIGTERM)
        wait_for(prepared.root, "linear_ae", by_hand)
        by_hand.send_signal(signal.SIGINT)
        dvc_said, _ = dvc.communicate(timeout=60)
        hand_said, _ = by_hand.communicate(timeout=60)
    finally:
        for process in (dvc, by_hand):
            process.kill()
            process.wait()
    assert "exited with 143" in dvc_said
    assert "stopped by SIGTERM: not finished" in dvc_said
    assert dvc.returncode != 0
    assert by_hand.returncode == 130, hand_said
    assert "Traceback" not in hand_said + dvc_said
    assert [path.name for path in (prepared.root / "runs").iterdir()] == ["judge"]
    assert not (prepared.root / "dvc.lock").exists(), "dvc has cached nothing as finished"
    assert statuses(prepared) == {"vae": "KILLED", "linear_ae": "KILLED"}


# --- two players ---


class Listed(nn.Module):
    """A prior that deals prepared codes."""

    def __init__(self, codes):
        super().__init__()
        self.codes = list(codes)

    def fit(self, codes):
        pass

    def sample(self, shape, generator=None):
        return self.codes.pop(0)


class Watched(DCGAN):
    """Notes both players' weights round every optimizer step."""

    validation_step = LightningModule.validation_step

    def configure_optimizers(self):
        self.moves = []
        optimizers, _ = super().configure_optimizers()
        for player, optimizer in zip("GD", optimizers, strict=True):
            optimizer.register_step_pre_hook(lambda *_: setattr(self, "before", self.weights()))
            optimizer.register_step_post_hook(
                lambda *_, player=player: self.moves.append(
                    (player, self.before, self.weights(), self.grads_of_d())
                )
            )
        return optimizers

    def weights(self):
        nets = {"G": self.generator, "D": self.discriminator}
        return {k: [p.detach().clone() for p in net.parameters()] for k, net in nets.items()}

    def grads_of_d(self):
        return [p.grad.clone() for p in self.discriminator.parameters()]


def play(generator_loss="non_saturating"):
    """Three batches through Lightning in float64; the start, the batches, the codes, the end."""
    torch.manual_seed(0)
    codes = torch.randn(3, 16, 5, dtype=torch.float64)
    x = torch.rand(3, 16, 1, 8, 8, dtype=torch.float64)
    model = Watched(
        (1, 8, 8), prior=Listed(codes), latent_dim=5, width=4, loss=generator_loss
    ).double()
    start = copy.deepcopy((model.generator, model.discriminator))
    trainer = Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    training._quiet()
    trainer.fit(model, DataLoader(TensorDataset(x, torch.zeros(3)), batch_size=None))
    return start, x, codes, model


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_each_player_moves_alone():
    *_, model = play()
    assert [player for player, *_ in model.moves] == ["D", "G"] * 3
    for player, before, after, _ in model.moves:
        other = {"D": "G", "G": "D"}[player]
        assert same(before[other], after[other])
        assert not same(before[player], after[player])
    for (*_, grads), (*_, later) in zip(model.moves[::2], model.moves[1::2], strict=True):
        assert same(grads, later), "the generator's step leaves no gradient in D"
    assert all(p.requires_grad for p in model.parameters())


GENERATOR_LOSSES = {  # Goodfellow 2014, in probabilities
    "minimax": lambda d: (1 - d).log().mean(),
    "non_saturating": lambda d: -d.log().mean(),
    "maximum_likelihood": lambda d: -(d / (1 - d)).mean(),
}


@pytest.mark.parametrize("name", list(GENERATOR_LOSSES))
def test_the_game_is_goodfellows_in_plain_pytorch(name):
    (generator, discriminator), batches, codes, model = play(name)
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    opt_g = torch.optim.Adam(generator.parameters(), **adam, fused=False)
    opt_d = torch.optim.Adam(discriminator.parameters(), **adam, fused=False)
    for x, z in zip(batches, codes, strict=True):
        x_fake = torch.tanh(generator(z))
        d_real = torch.sigmoid(discriminator(2 * x - 1))
        d_fake = torch.sigmoid(discriminator(x_fake.detach()))
        value = d_real.log().mean() + (1 - d_fake).log().mean()
        opt_d.zero_grad()
        (-value).backward()
        opt_d.step()
        loss = GENERATOR_LOSSES[name](torch.sigmoid(discriminator(x_fake)))
        opt_g.zero_grad()
        loss.backward()
        opt_g.step()
    for expected, got in ((generator, model.generator), (discriminator, model.discriminator)):
        for (key, a), b in zip(
            expected.state_dict().items(), got.state_dict().values(), strict=True
        ):
            assert torch.allclose(a.double(), b.double(), rtol=1e-6, atol=1e-9), key
