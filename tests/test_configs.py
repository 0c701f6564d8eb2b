"""Every YAML in configs/ is tried: adding a model needs no test of its own to be covered."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Callback, LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from latentlab.config import load_experiment, load_task
from latentlab.contracts import Autoencoder, Model, Split

REPO = Path(__file__).resolve().parents[1]
NAMES = sorted(p.stem for p in (REPO / "configs").glob("*.yaml"))
ZOO = yaml.safe_load((REPO / "zoo.yaml").read_text())
MODELS, TASKS = ZOO["models"], ZOO["tasks"]
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 64, 64)]
# a model's first config meets every shape, the others those that the project reports on
FIRST = {file: name for name, file in reversed(MODELS.items())}.values()
CASES = [(name, s) for name in sorted(MODELS) for s in (SHAPES if name in FIRST else SHAPES[:2])]


def test_params_yaml_lists_a_part_of_the_zoo():
    shared = yaml.safe_load((REPO / "params.yaml").read_text())
    assert shared["models"].items() <= MODELS.items()
    assert all(TASKS[name] == entry for name, entry in shared["tasks"].items())
    assert {entry["model"] for entry in shared["tasks"].values()} <= {*shared["models"], "judge"}


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_of_the_zoo_can_be_built(name):
    task, resolved = load_task(name, REPO)
    file = TASKS[name]["task"]
    assert resolved["task"]["class_path"].startswith(f"latentlab.tasks.{file}.")
    assert (REPO / "src/latentlab/tasks" / f"{file}.py").is_file()
    assert TASKS[name]["model"] in {*MODELS, "judge"}
    assert callable(task.run)


def test_every_task_config_is_in_the_zoo():
    assert {path.stem for path in (REPO / "configs/tasks").glob("*.yaml")} == set(TASKS)


def test_every_config_is_a_model_of_the_zoo_or_the_judge():
    assert set(NAMES) == {*MODELS, "judge"}
    for name, file in MODELS.items():
        assert (REPO / "src/latentlab/models" / f"{file}.py").is_file()
        class_path = yaml.safe_load((REPO / f"configs/{name}.yaml").read_text())["model"][
            "class_path"
        ]
        assert class_path.startswith(f"latentlab.models.{file}.")


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_every_model_builds_steps_and_keeps_the_contract(name, shape):
    experiment = load_experiment(name, {"image_shape": shape, "num_classes": 10}, REPO)
    model = experiment.model
    assert model.family in {"AE", "VAE", "GAN", "Diffusion"}
    assert isinstance(model, Model)
    x = torch.rand(3, *shape)
    losses = model.eval().validation_step((x, torch.zeros(3, dtype=torch.int64)), 0)
    assert losses
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    with torch.no_grad():
        codes = (
            model.encode(x) if isinstance(model, Autoencoder) else torch.randn(3, model.latent_dim)
        )
        images = model.decode(codes)
    assert images.shape == x.shape
    assert 0 <= float(images.min()) <= float(images.max()) <= 1


class TwentyAtATime(LightningDataModule):
    """Random images of ten classes, as many batches of twenty as asked for."""

    def __init__(self, batches):
        super().__init__()
        count = 20 * max(batches, 6)  # labels enough for a model that learns from a few
        self.images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
        self.labels, self.batches = torch.arange(count) % 10, batches

    def split(self, name):
        return Split(self.images, self.labels)

    def train_dataloader(self):
        count = 20 * self.batches
        images, labels = self.images[:count] / 255, self.labels[:count]
        return DataLoader(TensorDataset(images, labels), batch_size=20)


class Told(Callback):
    """What the steps say of themselves."""

    def __init__(self):
        self.terms = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.terms += outputs.values()


def in_bfloat16(name, accelerator):
    """(what a model's first steps say, its weights before and after them)."""
    model = load_experiment(name, {"image_shape": (1, 8, 8), "num_classes": 10}, REPO).model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    # as many batches as there are until every player has moved
    batches = max(getattr(model, turn, 1) for turn in ("n_critic", "d_steps"))
    told, place = Told(), {"accelerator": accelerator, "devices": 1}
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet = {"callbacks": [told], **dict.fromkeys(silent, False)}
    trainer = Trainer(max_epochs=1, precision="bf16-mixed", **place, **quiet)
    trainer.fit(model, datamodule=TwentyAtATime(batches))
    return told.terms, before, {key: value.cpu() for key, value in model.state_dict().items()}


def trains(terms, before, after):
    finite = all(value.isfinite().all() for value in (*terms, *after.values()))
    return finite and terms and any(not value.equal(before[key]) for key, value in after.items())


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("name", [*sorted(MODELS), "judge"])
def test_every_model_trains_in_bfloat16(name):
    assert trains(*in_bfloat16(name, "cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_every_model_trains_in_bfloat16_on_a_gpu():
    """CUDA refuses other operations under autocast than a CPU does."""
    assert [name for name in sorted(MODELS) if not trains(*in_bfloat16(name, "gpu"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_header_names_paper_numbers_minutes_and_command(name):
    text = (REPO / f"configs/{name}.yaml").read_text()
    header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert re.search(r"\b(19|20)\d\d\b", header), "the paper's year"
    assert re.search(r"\bseeds?\b", header), "over how many seeds"
    assert re.search(r"\b(s|seconds|minutes)\b", header), "how long it takes"
    assert re.search("dvc repro|make mnist|bench/mnist.py", header), "the command"
