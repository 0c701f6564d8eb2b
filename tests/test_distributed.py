"""Several processes: the same weights, the same numbers as one process, and a common end.

Two processes are started once, as srun would on two machines, and fit one YAML of every class.
"""

import copy
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import several
from latentlab import launcher
from latentlab.config import HardwareSettings, load_experiment
from latentlab.contracts import to_float
from latentlab.data.order import epoch_batches
from latentlab.data.prepared import read_meta, read_split
from latentlab.stages import __main__ as door
from latentlab.training.callbacks import _mix
from latentlab.training.checkpoints import read
from latentlab.training.devices import placement

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def one_of_each_class():
    """What differs by a number only needs no training of its own: the one named as its file is."""
    paths = {path: yaml.safe_load(path.read_text())["model"]["class_path"] for path in CONFIGS}
    by_rank = sorted(paths, key=lambda path: paths[path].split(".")[-2] == path.stem)
    return sorted({paths[path]: path.stem for path in by_rank}.values())


NAMES = one_of_each_class()
BATCH, EPOCHS, STEPS = 128, 2, 22  # 11 whole batches in each epoch, a checkpoint after each
WORLD = 2
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
SRUN = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def prepare(project):
    project.edit("params.yaml", trainer__log_every=5, trainer__validations=EPOCHS)
    project.edit("params.yaml", hardware__accelerator="cpu", data__test_fraction=0.06)
    for path in CONFIGS:
        if path.stem not in NAMES:
            (project.root / "configs" / path.name).unlink()
    for name in NAMES:
        length = {"trainer__batch_size": BATCH, "trainer__images": STEPS * BATCH}
        project.edit(f"configs/{name}.yaml", **length)
    project.stage("prepare")
    counts = read_meta(project.root / "data" / "prepared").counts
    assert counts["train"] // BATCH * EPOCHS == STEPS
    assert counts["val"] % BATCH % WORLD == 0, "or one image would count twice"
    return project


class Pair:
    """What the two processes have left behind."""

    def __init__(self, project, out, said):
        self.project, self.out, self.said = project, out, said

    def of(self, name, rank=0):
        path = self.out / f"{name}-{rank}.pt"
        if not path.exists():
            failed = {p.stem: p.read_text() for p in self.out.glob("*-?.txt")}
            pytest.fail(failed.get(f"{name}-{rank}", f"not reached: {list(failed)} came first"))
        return torch.load(path, weights_only=True)

    def start(self, name):
        """The model as both processes begin it, and the training images of each step and rank."""
        folder = self.project.root / "data" / "prepared"
        model = load_experiment(name, read_meta(folder).facts, self.project.root).model
        split = read_split(folder, "train")
        return model, [
            [to_float(split.images[batch]) for batch in step]
            for epoch in range(EPOCHS)
            for step in zip(
                *(
                    epoch_batches(len(split), BATCH, seed=0, epoch=epoch, rank=r, world_size=WORLD)
                    for r in range(WORLD)
                ),
                strict=True,
            )
        ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory, project_at):
    project = prepare(project_at(tmp_path_factory.mktemp("pair")))
    out = project.root / "out"
    out.mkdir()
    loopback = "lo" if sys.platform.startswith("linux") else "lo0"
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": loopback}
    processes = []
    for rank in map(str, range(WORLD)):
        own = {"SLURM_PROCID": rank, "SLURM_NODEID": rank, "SLURM_LOCALID": "0"}
        processes.append(
            subprocess.Popen(
                [sys.executable, several.__file__, project.root, out],
                env={**project.environment(), **where, **SRUN, **own, "SLURM_JOB_ID": "7"},
                cwd=project.root,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return Pair(project, out, said)


# --- every config ---


@pytest.mark.parametrize("name", NAMES)
def test_both_processes_hold_the_same_weights_bit_by_bit(pair, name):
    first, second = pair.of(name, 0), pair.of(name, 1)
    assert [first["main"], second["main"]] == [True, False]
    assert first["rows"] == second["rows"], "curves speak of all processes"
    assert first["rows"][-1][2] == STEPS * BATCH
    for key in first["weights"]:
        assert torch.equal(first["weights"][key], second["weights"][key]), key
    model, _ = pair.start(name)
    for part, net in model.named_children():
        before = {f"{part}.{k}": v for k, v in net.named_parameters() if v.requires_grad}
        moved = [not torch.equal(v, first["weights"][k]) for k, v in before.items()]
        assert any(moved) or not before, f"{part} has not been trained"


def test_one_progress_bar_and_one_word_on_batch_normalisation_a_model(pair):
    assert "100%" in pair.said[0]
    assert "dcgan" in pair.said[0]
    assert pair.said[1] == ""
    assert "each process on a CPU uses the statistics of its own share" in pair.said[0]


# --- one global batch ---


@pytest.mark.parametrize("name", ["linear_ae", "stacked_ae"])
def test_two_halves_of_a_batch_train_as_the_whole(pair, name):
    """Models without noise and without batch statistics: up to rounding."""
    alone, together = several.train(name, pair.project.root), pair.of(name)
    for key, weight in alone["weights"].items():
        torch.testing.assert_close(together["weights"][key], weight, rtol=1e-4, atol=1e-6)
    for one, two in zip(alone["rows"], together["rows"], strict=True):
        assert one[:3] == two[:3]
        assert two[3] == pytest.approx(one[3], rel=1e-4), "means over the whole batch"


def seeded(epoch_step, rank):
    torch.manual_seed(_mix((0, *divmod(epoch_step, STEPS // EPOCHS), rank)))


def test_gradients_are_averaged_over_the_processes(pair):
    """The VAE, whose noise differs between the processes, in a loop by hand."""
    model, steps = pair.start("vae")
    optimizer = torch.optim.Adam(model.parameters(), lr=model.lr)
    losses = []
    for number, shares in enumerate(steps):
        optimizer.param_groups[0]["lr"] = model.lr * (1 - number / STEPS)
        optimizer.zero_grad()
        total = 0.0
        for rank, x in enumerate(shares):
            seeded(number, rank)
            loss = model.loss(x)["loss"] / WORLD
            loss.backward()
            total += loss.item()
        losses.append(total)
        optimizer.step()
    found = pair.of("vae")
    for key, weight in model.state_dict().items():
        torch.testing.assert_close(found["weights"][key], weight, rtol=1e-4, atol=1e-6)
    first = next(row for row in found["rows"] if row[:2] == ("train", "loss"))
    assert first[3] == pytest.approx(sum(losses[:5]) / 5, rel=1e-5)


def test_both_players_of_a_gan_are_averaged_in_turn(pair):
    """Two copies of DCGAN by hand: each normalises its own share, gradients are averaged."""
    model, steps = pair.start("dcgan")
    copies = [model, copy.deepcopy(model)]
    parts = {part: [getattr(c, part) for c in copies] for part in ("generator", "discriminator")}
    rules = {
        part: [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in nets]
        for part, nets in parts.items()
    }

    def move(part, losses):
        nets = [list(net.parameters()) for net in parts[part]]
        grads = [torch.autograd.grad(loss, ps) for loss, ps in zip(losses, nets, strict=True)]
        for parameters, rule in zip(nets, rules[part], strict=True):
            for parameter, *shares in zip(parameters, *grads, strict=True):
                parameter.grad = sum(shares) / WORLD
            rule.step()

    softplus = torch.nn.functional.softplus
    for number, shares in enumerate(steps):
        fakes = []
        for rank, x in enumerate(shares):
            seeded(number, rank)
            fakes.append(copies[rank].generate(torch.randn(len(x), model.latent_dim)))
        players = list(zip(parts["discriminator"], shares, fakes, strict=True))
        real = [softplus(-d(2 * x - 1)).mean() for d, x, _ in players]
        fake = [softplus(d(f.detach())).mean() for d, _, f in players]
        move("discriminator", [r + f for r, f in zip(real, fake, strict=True)])
        move("generator", [softplus(-d(f)).mean() for d, _, f in players])
    found = pair.of("dcgan")
    for key, weight in model.named_parameters():
        torch.testing.assert_close(found["weights"][key], weight, rtol=1e-4, atol=1e-6)


def test_validation_is_the_mean_over_the_images_of_all_processes(pair):
    found = pair.of("linear_ae")
    model, _ = pair.start("linear_ae")
    model.load_state_dict(found["weights"])
    x = to_float(read_split(pair.project.root / "data" / "prepared", "val").images)
    with torch.no_grad():
        sse = (model.reconstruct_linearly(model.encode(x)) - x).square().flatten(1).sum(1).mean()
    last = [row for row in found["rows"] if row[:2] == ("val", "sse")][-1]
    assert last[3] == pytest.approx(sse.item(), rel=1e-5)


# --- a common end ---


def test_a_process_that_fails_ends_the_others(pair):
    assert (pair.out / "failing-1.txt").read_text() == "ZeroDivisionError: only here"
    said = (pair.out / "failing-0.txt").read_text()
    assert said == "LatentlabError: another process of this training ended: see what it said"


FRAGILE = """
import os, pathlib, signal
from latentlab.models.vae import VAE

class Fragile(VAE):
    def training_step(self, batch, batch_idx):
        here = (self.global_rank, self.global_step) == (VICTIM, 15)
        if here and not pathlib.Path("killed").exists():
            pathlib.Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)
"""


def fragile(project, victim):
    """A project whose VAE loses its process `victim`, once, after a checkpoint."""
    prepare(project)
    project.edit("params.yaml", allow=["fragile"])
    project.edit("configs/vae.yaml", model__class_path="fragile.Fragile")
    (project.root / "fragile.py").write_text(FRAGILE.replace("VICTIM", str(victim)))
    return project


def runs(project):
    with sqlite3.connect(project.root / "mlruns" / "mlflow.db") as store:
        found = store.execute("SELECT name, status FROM runs").fetchall()
    store.close()
    return found


@pytest.mark.slow
def test_a_killed_process_ends_all_and_the_training_can_go_on(pair, project_at, tmp_path):
    """SIGKILL under Lightning's launcher ends the job, under torchrun it is taken up again."""
    for name in ("own", "elastic"):
        (tmp_path / name).mkdir()
    own = fragile(project_at(tmp_path / "own"), victim=1)
    elastic = fragile(project_at(tmp_path / "elastic"), victim=0)
    own.edit("params.yaml", hardware__devices=2)
    torchrun = (
        *("env", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"),  # see docs/several-devices.md
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "2", "--max-restarts", "1", "-m", "latentlab.stages", "train"),
    )
    processes = [own.python_stage("train", "vae"), elastic.start(*torchrun, "vae")]
    try:
        ended, taken_up = (process.communicate(timeout=120)[0] for process in processes)
    finally:
        for process in processes:
            process.kill()
    # 2, or the signal by which Lightning's launcher ends what is left, whichever comes first
    assert processes[0].returncode in (2, -9), ended
    assert runs(own) in ([("vae", "FAILED")], [("vae", "KILLED")])
    assert not (own.root / "runs").exists()
    *_, newest = sorted(own.root.glob(".checkpoints/vae/*/*.ckpt"))
    assert 0 < read(newest)["global_step"] <= 15

    assert processes[1].returncode == 0, taken_up
    assert (elastic.root / "killed").exists()
    assert runs(elastic) == [("vae", "FINISHED")], "one run, and the same one after the restart"
    assert [p.name for p in (elastic.root / "runs").iterdir()] == ["vae"]
    weights = torch.load(elastic.root / "runs" / "vae" / "weights.pt", weights_only=True)
    for key, weight in pair.of("vae")["weights"].items():
        assert torch.equal(weights[key], weight), "as if nothing had happened"


# --- who works ---


@pytest.fixture(autouse=True)
def _started_by_nobody(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name.endswith(("RANK", "WORLD_SIZE")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("names", "main", "launched"),
    [
        ({}, True, None),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "2"}, True, None),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, False, None),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, True, (1, 2)),
        ({**TORCHRUN, "RANK": "1", "LOCAL_RANK": "0"}, False, (1, 2)),
        ({**SRUN, "SLURM_PROCID": "0"}, True, (1, 2)),
        ({**SRUN, "SLURM_PROCID": "1"}, False, (1, 2)),
        ({**SRUN, "SLURM_PROCID": "1", "SLURM_JOB_NAME": "bash"}, True, None),
        ({**SRUN, **TORCHRUN, "SLURM_PROCID": "1", "RANK": "0"}, True, (1, 2)),
        ({**SRUN, **TORCHRUN, "SLURM_PROCID": "0", "RANK": "1"}, False, (1, 2)),
    ],
)
def test_one_process_is_the_main_one(monkeypatch, names, main, launched):
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert launcher.is_main_process() == main
    assert launcher.launched() == launched


@pytest.mark.parametrize("stage", ["prepare", "evaluate", "report"])
def test_stages_that_work_alone_leave_it_to_the_main_process(tmp_path, monkeypatch, capsys, stage):
    monkeypatch.chdir(tmp_path)  # no project: whoever works complains
    monkeypatch.setattr("latentlab.memory.keep_freed_memory", lambda: True)
    monkeypatch.setattr("latentlab.tracking.hire", lambda: None)
    monkeypatch.setattr("sys.argv", ["stages", stage, *["vae"] * (stage == "evaluate")])
    for rank in "10":
        for name, value in {**TORCHRUN, "RANK": rank}.items():
            monkeypatch.setenv(name, value)
        if rank == "1":
            door.main()
            assert capsys.readouterr() == ("", "")
        else:
            with pytest.raises(SystemExit) as stopped:
                door.main()
            assert stopped.value.code == 2


# --- what Lightning is told ---


def model_of(name, project):
    facts = {"image_shape": (1, 8, 8), "num_classes": 10}
    return load_experiment(name, facts, project.root).model


def test_a_launcher_counts_more_than_params_yaml(project, monkeypatch):
    model, four = model_of("vae", project), HardwareSettings(accelerator="cpu", devices=4)
    told = placement(four, model, sync_batchnorm=True)
    assert (told["devices"], told["num_nodes"], told["strategy"]) == (4, 1, "ddp")
    for name, value in {**TORCHRUN, "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    told = placement(HardwareSettings(accelerator="cpu"), model, sync_batchnorm=True)
    assert (told["devices"], told["num_nodes"], told["strategy"]) == (1, 2, "ddp")
    assert placement(four, model, sync_batchnorm=True)["devices"] == 1


@pytest.mark.parametrize("devices", [2, "2", "0,3", "auto", "-1", -1])
def test_a_game_is_told_apart_however_the_devices_are_named(project, monkeypatch, devices):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    hardware = HardwareSettings(devices=devices)
    told = placement(hardware, model_of("dcgan", project), sync_batchnorm=True)
    assert told["strategy"] == "ddp_find_unused_parameters_true"
    assert told["sync_batchnorm"]
    told = placement(hardware, model_of("vae", project), sync_batchnorm=True)
    assert (told["strategy"], told["sync_batchnorm"]) == ("ddp", False)


def test_one_device_needs_no_strategy(project, capsys):
    hardware = HardwareSettings(accelerator="cpu")
    told = placement(hardware, model_of("dcgan", project), sync_batchnorm=True)
    assert (told["devices"], told["strategy"], told["sync_batchnorm"]) == ("auto", "auto", False)
    assert capsys.readouterr().err == ""


def test_batch_statistics_of_several_processes_on_a_cpu_are_spoken_of(project, capsys):
    two = HardwareSettings(accelerator="cpu", devices=2)
    told = placement(two, model_of("dcgan", project), sync_batchnorm=True)
    assert not told["sync_batchnorm"]
    assert "so the result depends on the number of processes" in capsys.readouterr().err
    placement(two, model_of("dcgan", project), sync_batchnorm=False)
    placement(two, model_of("vae", project), sync_batchnorm=True)
    assert capsys.readouterr().err == ""


def test_weights_trained_with_synchronised_statistics_are_those_of_the_plain_model(project):
    """They load into it, and the layers that GPUs need rest on a CPU as the plain ones do."""
    torch.manual_seed(0)
    plain = model_of("dcgan", project)
    synced = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    plain.load_state_dict(synced.state_dict())
    z = torch.randn(4, plain.latent_dim)
    assert torch.equal(synced.eval().decode(z), plain.eval().decode(z))


def test_srun_leaves_checkpoints_to_us(project, monkeypatch):
    for name, value in {**SRUN, "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    told = placement(
        HardwareSettings(accelerator="cpu"), model_of("vae", project), sync_batchnorm=True
    )
    _, environment = told["plugins"]
    assert environment.auto_requeue is False


@pytest.mark.gpu
@pytest.mark.parametrize("devices", [1, 2])
def test_a_gan_trains_on_gpus(small, devices):
    if torch.cuda.device_count() < devices:
        pytest.skip(f"needs {devices} CUDA device(s), found {torch.cuda.device_count()}")
    small.edit("params.yaml", hardware__accelerator="gpu", hardware__devices=devices)
    small.stage("prepare")
    process = small.python_stage("train", "dcgan")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert '"device": "cuda' in (small.root / "runs" / "dcgan" / "experiment.json").read_text()
    weights = torch.load(small.root / "runs" / "dcgan" / "weights.pt", weights_only=True)
    assert all(weight.isfinite().all() for weight in weights.values())
