"""Several processes: equal weights, the same result as one process, and a common end.

Two processes are started once, as by srun on two machines. They train one config of each class.
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
from lightning import Trainer

import several
from latentlab.config import HardwareSettings, load_experiment
from latentlab.contracts import to_float
from latentlab.data.batch_sampler import epoch_batches
from latentlab.data.prepared import read_meta, read_split
from latentlab.training.callbacks import hash_seed
from latentlab.training.checkpoints import read_checkpoint
from latentlab.training.distributed import device_arguments

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def one_of_each_class():
    """Return one config name of each model class: the one with the name of the file, if any."""
    paths = {path: yaml.safe_load(path.read_text())["model"]["class_path"] for path in CONFIGS}
    by_rank = sorted(paths, key=lambda path: paths[path].split(".")[-2] == path.stem)
    return sorted({paths[path]: path.stem for path in by_rank}.values())


NAMES = one_of_each_class()
BATCH, EPOCHS, STEPS = 128, 2, 10  # 5 whole batches and one checkpoint in each epoch
WORLD = 2
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
JOB = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1"}
SRUN = {**JOB, "SLURM_STEP_ID": "0"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def prepare(project):
    project.edit("params.yaml", trainer__log_every_n_steps=5, trainer__num_validations=EPOCHS)
    project.edit("params.yaml", hardware__accelerator="cpu", data__test_fraction=0.5)
    for path in CONFIGS:
        if path.stem not in NAMES:
            (project.root / "configs" / path.name).unlink()
    for name in NAMES:
        length = {"trainer__batch_size": BATCH, "trainer__total_images": STEPS * BATCH}
        project.edit(f"configs/{name}.yaml", **length)
    models = {name: f"configs/{name}.yaml" for name in NAMES if name != "classifier"}
    project.edit("params.yaml", models=models, tasks={})
    project.stage("prepare")
    counts = read_meta(project.root / "data" / "prepared").counts
    assert counts["train"] // BATCH * EPOCHS == STEPS
    assert counts["val"] % BATCH % WORLD == 0, "otherwise one image counts twice"
    return project


class Pair:
    """The results of the two processes."""

    def __init__(self, project, out, stderr):
        self.project, self.out, self.stderr = project, out, stderr

    def of(self, name, rank=0):
        path = self.out / f"{name}-{rank}.pt"
        if not path.exists():
            failed = {p.stem: p.read_text() for p in self.out.glob("*-?.txt")}
            pytest.fail(
                failed.get(f"{name}-{rank}", f"not reached, because of errors in {list(failed)}")
            )
        return torch.load(path, weights_only=True)

    def start(self, name):
        """Return the initial model, and the training images of each step and rank."""
        folder = self.project.root / "data" / "prepared"
        model = load_experiment(name, read_meta(folder).data_spec, self.project.root).model
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
    address = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "GLOO_SOCKET_IFNAME": loopback,
    }
    processes = []
    for rank in map(str, range(WORLD)):
        own = {"SLURM_PROCID": rank, "SLURM_NODEID": rank, "SLURM_LOCALID": "0"}
        processes.append(
            subprocess.Popen(
                [sys.executable, several.__file__, project.root, out],
                env={**project.environment(), **address, **SRUN, **own, "SLURM_JOB_ID": "7"},
                cwd=project.root,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        stderr = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return Pair(project, out, stderr)


# --- every config ---


@pytest.mark.parametrize("name", NAMES)
def test_both_processes_have_the_same_weights(pair, name):
    first, second = pair.of(name, 0), pair.of(name, 1)
    assert [first["main"], second["main"]] == [True, False]
    assert first["rows"] == second["rows"], "curves are means over all processes"
    assert first["rows"][-1][2] == STEPS * BATCH
    for key in first["weights"]:
        assert torch.equal(first["weights"][key], second["weights"][key]), key
    model, _ = pair.start(name)
    for part, net in model.named_children():
        before = {f"{part}.{k}": v for k, v in net.named_parameters() if v.requires_grad}
        changed = [not torch.equal(v, first["weights"][k]) for k, v in before.items()]
        assert any(changed) or not before, f"{part} has not been trained"


def test_one_progress_bar_and_one_line_about_batch_normalization(pair):
    assert "100%" in pair.stderr[0]
    assert "dcgan" in pair.stderr[0]
    assert pair.stderr[1] == ""
    assert "each process uses the statistics of its own part" in pair.stderr[0]


# --- the same as one process ---


@pytest.mark.parametrize("name", ["linear_ae", "stacked_ae"])
def test_two_processes_train_as_one(pair, name):
    """Models without noise and without batch statistics: up to rounding."""
    one_process, two_processes = several.train(name, pair.project.root), pair.of(name)
    for key, weight in one_process["weights"].items():
        torch.testing.assert_close(two_processes["weights"][key], weight, rtol=1e-4, atol=1e-6)
    for one, two in zip(one_process["rows"], two_processes["rows"], strict=True):
        assert one[:3] == two[:3]
        assert two[3] == pytest.approx(one[3], rel=1e-4), "means over the whole batch"


def test_stored_images_are_those_of_one_process(pair):
    """Rows of two processes alternate, and none is an average of two images."""
    memory = pair.of("memorizer_ae")["weights"]["memory"]
    _, batches = pair.start("memorizer_ae")
    whole = torch.stack(batches[0], 1).flatten(0, 1)  # the first batch, in its order
    assert len(memory) == 50
    assert torch.equal(memory, whole[:50].flatten(1))


def seed_step(step, rank):
    torch.manual_seed(hash_seed((0, *divmod(step, STEPS // EPOCHS), rank)))


def test_gradients_are_averaged_over_the_processes(pair):
    """A VAE in a plain loop. The noise of the two processes differs."""
    model, steps = pair.start("vae")
    optimizer = torch.optim.Adam(model.parameters(), lr=model.lr)
    losses = []
    for number, parts in enumerate(steps):
        optimizer.param_groups[0]["lr"] = model.lr * (1 - number / STEPS)
        optimizer.zero_grad()
        total = 0.0
        for rank, x in enumerate(parts):
            seed_step(number, rank)
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


def test_gradients_of_both_networks_of_a_gan_are_averaged(pair):
    """Two copies of DCGAN in a plain loop: own batch statistics, averaged gradients."""
    model, steps = pair.start("dcgan")
    copies = [model, copy.deepcopy(model)]
    networks = {k: [getattr(c, k) for c in copies] for k in ("generator", "discriminator")}
    rate = model.optim.generator_lr
    assert rate == model.optim.discriminator_lr
    optimizers = {
        key: [torch.optim.Adam(n.parameters(), lr=rate, betas=(0.5, 0.999)) for n in nets]
        for key, nets in networks.items()
    }

    def step(key, losses):
        nets = [list(net.parameters()) for net in networks[key]]
        grads = [torch.autograd.grad(loss, ps) for loss, ps in zip(losses, nets, strict=True)]
        for parameters, optimizer in zip(nets, optimizers[key], strict=True):
            for parameter, *values in zip(parameters, *grads, strict=True):
                parameter.grad = sum(values) / WORLD
            optimizer.step()

    softplus = torch.nn.functional.softplus
    for number, parts in enumerate(steps):
        fakes = []
        for rank, x in enumerate(parts):
            seed_step(number, rank)
            fakes.append(copies[rank].generate(torch.randn(len(x), model.latent_dim)))
        batch = list(zip(networks["discriminator"], parts, fakes, strict=True))
        real = [softplus(-d(2 * x - 1)).mean() for d, x, _ in batch]
        fake = [softplus(d(f.detach())).mean() for d, _, f in batch]
        step("discriminator", [r + f for r, f in zip(real, fake, strict=True)])
        step("generator", [softplus(-d(f)).mean() for d, _, f in batch])
    found = pair.of("dcgan")
    for key, weight in model.named_parameters():
        torch.testing.assert_close(found["weights"][key], weight, rtol=1e-4, atol=1e-6)


def test_validation_is_the_mean_over_the_images_of_all_processes(pair):
    found = pair.of("linear_ae")
    model, _ = pair.start("linear_ae")
    model.load_state_dict(found["weights"])
    x = to_float(read_split(pair.project.root / "data" / "prepared", "val").images)
    with torch.no_grad():
        sse = (model.decode_unclipped(model.encode(x)) - x).square().flatten(1).sum(1).mean()
    last = [row for row in found["rows"] if row[:2] == ("val", "sse")][-1]
    assert last[3] == pytest.approx(sse.item(), rel=1e-5)


# --- one process ends ---


def test_process_that_fails_ends_the_others(pair):
    assert (pair.out / "failing-1.txt").read_text() == "ZeroDivisionError: only here"
    message = (pair.out / "failing-0.txt").read_text()
    assert message == (
        "LatentlabError: another process of this training has failed: see its error message"
    )


FRAGILE = """
import os, pathlib, signal
from latentlab.models.vae import VAE

class Fragile(VAE):
    def training_step(self, batch, batch_idx):
        here = (self.global_rank, self.global_step) == (VICTIM, 7)
        if here and not pathlib.Path("killed").exists():
            pathlib.Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)
"""


def fragile(project, victim):
    """A project whose VAE kills its process `victim`, once, after a checkpoint."""
    prepare(project)
    project.edit("params.yaml", allow=["fragile"], models__vae="fragile.py")
    project.edit("configs/vae.yaml", model__class_path="fragile.Fragile")
    (project.root / "fragile.py").write_text(FRAGILE.replace("VICTIM", str(victim)))
    return project


def runs(project):
    with sqlite3.connect(project.root / "mlruns" / "mlflow.db") as store:
        found = store.execute("SELECT name, status FROM runs").fetchall()
    store.close()
    return found


@pytest.mark.slow
def test_killed_process_ends_all_and_the_training_resumes(pair, project_at, tmp_path):
    """After SIGKILL, Lightning's launcher ends the job, and torchrun restarts it."""
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
        ended, restarted = (process.communicate(timeout=120)[0] for process in processes)
    finally:
        for process in processes:
            process.kill()
    # 2, or the signal of Lightning's launcher to the other process, whichever comes first
    assert processes[0].returncode in (2, -9), ended
    assert "error: another process" in ended or processes[0].returncode == -9, ended
    assert runs(own) in ([("vae", "FAILED")], [("vae", "KILLED")])
    assert not (own.root / "runs").exists()
    *_, newest = sorted(own.root.glob(".checkpoints/vae/*/*.ckpt"))
    assert 0 < read_checkpoint(newest)["global_step"] <= 7

    assert processes[1].returncode == 0, restarted
    assert (elastic.root / "killed").exists()
    assert runs(elastic) == [("vae", "FINISHED")], "one run, continued after the restart"
    assert [p.name for p in (elastic.root / "runs").iterdir()] == ["vae"]
    weights = torch.load(elastic.root / "runs" / "vae" / "weights.pt", weights_only=True)
    for key, weight in pair.of("vae")["weights"].items():
        assert torch.equal(weights[key], weight), "equal to an uninterrupted training"


# --- device_arguments ---


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    """Delete the variables of torchrun, srun and Lightning's launcher."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name.endswith(("RANK", "WORLD_SIZE")):
            monkeypatch.delenv(name)


def model_of(name, project):
    data_spec = {"image_shape": (1, 8, 8), "num_classes": 10}
    return load_experiment(name, data_spec, project.root).model


def test_launcher_overrides_params_yaml(project, monkeypatch):
    model, four = model_of("vae", project), HardwareSettings(accelerator="cpu", devices=4)
    arguments = device_arguments(four, model, sync_batchnorm=True)
    assert (arguments["devices"], arguments["num_nodes"], arguments["strategy"]) == (4, 1, "ddp")
    for name, value in {**TORCHRUN, "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    arguments = device_arguments(HardwareSettings(accelerator="cpu"), model, sync_batchnorm=True)
    assert (arguments["devices"], arguments["num_nodes"], arguments["strategy"]) == (1, 2, "ddp")
    assert device_arguments(four, model, sync_batchnorm=True)["devices"] == 1


@pytest.mark.parametrize("devices", [2, "2", "0,3", "auto", "-1", -1])
def test_strategy_of_a_gan_for_each_form_of_devices(project, monkeypatch, devices):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    hardware = HardwareSettings(devices=devices)
    arguments = device_arguments(hardware, model_of("dcgan", project), sync_batchnorm=True)
    assert arguments["strategy"] == "ddp_find_unused_parameters_true"
    assert arguments["sync_batchnorm"]
    arguments = device_arguments(hardware, model_of("vae", project), sync_batchnorm=True)
    assert (arguments["strategy"], arguments["sync_batchnorm"]) == ("ddp", False)


def test_one_device_needs_no_strategy(project, capsys):
    hardware = HardwareSettings(accelerator="cpu")
    arguments = device_arguments(hardware, model_of("dcgan", project), sync_batchnorm=True)
    assert (arguments["devices"], arguments["strategy"], arguments["sync_batchnorm"]) == (
        "auto",
        "auto",
        False,
    )
    assert capsys.readouterr().err == ""


def test_batch_normalization_of_several_processes_on_a_cpu_prints_a_line(project, capsys):
    two = HardwareSettings(accelerator="cpu", devices=2)
    arguments = device_arguments(two, model_of("dcgan", project), sync_batchnorm=True)
    assert not arguments["sync_batchnorm"]
    assert "so the result depends on the number of processes" in capsys.readouterr().err
    device_arguments(two, model_of("dcgan", project), sync_batchnorm=False)
    device_arguments(two, model_of("vae", project), sync_batchnorm=True)
    assert capsys.readouterr().err == ""


def test_weights_of_synchronized_batch_normalization_fit_the_plain_model(project):
    """The state_dict loads, and the outputs are equal."""
    torch.manual_seed(0)
    plain = model_of("dcgan", project)
    synced = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    plain.load_state_dict(synced.state_dict())
    z = torch.randn(4, plain.latent_dim)
    assert torch.equal(synced.eval().decode(z), plain.eval().decode(z))


def test_requeueing_of_lightning_is_off_under_srun(project, monkeypatch):
    for name, value in {**SRUN, "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    arguments = device_arguments(
        HardwareSettings(accelerator="cpu"), model_of("vae", project), sync_batchnorm=True
    )
    _, environment = arguments["plugins"]
    assert environment.auto_requeue is False


def test_a_job_without_srun_does_not_wait_for_its_other_tasks(project, monkeypatch, capsys):
    """Lightning would take the variables of a batch script for those of srun, and wait forever."""
    job = {**JOB, "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train.sh", "SLURM_NODELIST": "localhost"}
    for name, value in {**job, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}.items():
        monkeypatch.setenv(name, value)
    arguments = device_arguments(
        HardwareSettings(accelerator="cpu"), model_of("vae", project), sync_batchnorm=True
    )
    assert "this SLURM job has 2 tasks, but no srun has started them" in capsys.readouterr().err
    arguments |= {"plugins": arguments["plugins"][1:], "devices": 1}
    trainer = Trainer(**arguments, logger=False, enable_checkpointing=False)
    assert trainer.world_size == 1
    assert trainer.num_nodes == 1


@pytest.mark.gpu
@pytest.mark.parametrize("devices", [1, 2])
def test_gan_trains_on_gpus(small, devices):
    if torch.cuda.device_count() < devices:
        pytest.skip(f"needs {devices} CUDA device(s), found {torch.cuda.device_count()}")
    small.edit("params.yaml", hardware__accelerator="gpu", hardware__devices=devices)
    small.stage("prepare")
    process = small.python_stage("train", "dcgan")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert '"device": "cuda' in (small.root / "runs" / "dcgan" / "experiment.json").read_text()
    weights = torch.load(small.root / "runs" / "dcgan" / "weights.pt", weights_only=True)
    assert all(weight.isfinite().all() for weight in weights.values())
