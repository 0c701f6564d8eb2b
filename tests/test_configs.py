"""Every config of configs/ is tested: a new model needs no test of its own for this."""

import re
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningDataModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from latentlab.config import load_experiment, load_project, load_task
from latentlab.config.model_contract import require_model, require_outputs
from latentlab.config.selection import model_entry, model_names, task_entry, task_names
from latentlab.contracts import Encoder, Model, Split

REPO = Path(__file__).resolve().parents[1]
MODELS = {name: model_entry(REPO, name) for name in model_names(REPO)}
TASKS = {name: task_entry(REPO, name) for name in task_names(REPO)}
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 64, 64)]
# the first config of a model is built for every shape, the others for those of the results
FIRST = {code: name for name, code in reversed(MODELS.items())}.values()
CASES = [(name, s) for name in sorted(MODELS) for s in (SHAPES if name in FIRST else SHAPES[:2])]


def test_params_yaml_lists_models_and_tasks_as_select_writes_them():
    project = load_project(REPO)
    assert project.models == {name: MODELS[name] for name in project.models}
    assert project.tasks == {name: TASKS[name] for name in project.tasks}
    assert project.models
    assert project.tasks


def test_every_model_has_a_file_and_every_file_a_config():
    files = {path.relative_to(REPO).as_posix() for path in REPO.glob("src/latentlab/models/*.py")}
    listed = {"__init__.py", "classifier.py"}
    assert set(MODELS.values()) == {file for file in files if Path(file).name not in listed}


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_can_be_built(name):
    task, resolved = load_task(name, REPO)
    code = REPO / TASKS[name]["code"]
    assert resolved["task"]["class_path"].startswith(f"latentlab.tasks.{code.stem}.")
    assert code.parent == REPO / "src/latentlab/tasks"
    assert callable(task.run)


def test_every_task_has_a_config():
    tasks = {path.stem for path in (REPO / "src/latentlab/tasks").glob("[a-z]*.py")}
    assert tasks == {Path(entry["code"]).stem for entry in TASKS.values()}


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_every_model_can_be_built_and_has_the_shapes_of_the_contract(name, shape):
    experiment = load_experiment(name, {"image_shape": shape, "num_classes": 10}, REPO)
    model = experiment.model
    require_model(model)
    require_outputs(model, experiment.sampler, shape)
    assert isinstance(model, Model)
    x = torch.rand(3, *shape)
    losses = model.eval().validation_step((x, torch.zeros(3, dtype=torch.int64)), 0)
    assert losses
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    with torch.no_grad():
        codes = model.encode(x) if isinstance(model, Encoder) else torch.randn(3, model.latent_dim)
        images = model.decode(codes)
    assert images.shape == x.shape
    assert 0 <= float(images.min()) <= float(images.max()) <= 1


class TwentyAtATime(LightningDataModule):
    """Random images of ten classes in `batches` batches of twenty."""

    def __init__(self, batches):
        super().__init__()
        count = 20 * max(batches, 6)  # enough labels for the semi-supervised model
        self.images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
        self.labels, self.batches = torch.arange(count) % 10, batches

    def split(self, name):
        return Split(self.images, self.labels)

    def train_dataloader(self):
        count = 20 * self.batches
        images, labels = self.images[:count] / 255, self.labels[:count]
        return DataLoader(TensorDataset(images, labels), batch_size=20)


class Terms(Callback):
    """The values that the training steps return."""

    def __init__(self):
        self.terms = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.terms += outputs.values()


def in_bfloat16(name, accelerator):
    """(values of a model's first steps, its weights before and after them)."""
    model = load_experiment(name, {"image_shape": (1, 8, 8), "num_classes": 10}, REPO).model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    # so many batches that every network has been updated
    batches = getattr(getattr(model, "optim", None), "discriminator_steps", 1)
    recorded, place = Terms(), {"accelerator": accelerator, "devices": 1}
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet = {"callbacks": [recorded], **dict.fromkeys(silent, False)}
    trainer = Trainer(max_epochs=1, precision="bf16-mixed", **place, **quiet)
    trainer.fit(model, datamodule=TwentyAtATime(batches))
    return recorded.terms, before, {key: value.cpu() for key, value in model.state_dict().items()}


def trains(terms, before, after):
    finite = all(value.isfinite().all() for value in (*terms, *after.values()))
    return finite and terms and any(not value.equal(before[key]) for key, value in after.items())


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("name", [*sorted(MODELS), "classifier"])
def test_every_model_trains_in_bfloat16(name):
    assert trains(*in_bfloat16(name, "cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_every_model_trains_in_bfloat16_on_a_gpu():
    """Autocast of CUDA rejects other operations than that of a CPU."""
    assert [name for name in sorted(MODELS) if not trains(*in_bfloat16(name, "gpu"))] == []


@pytest.mark.parametrize("name", [*sorted(MODELS), "classifier"])
def test_every_header_names_paper_numbers_minutes_and_command(name):
    text = (REPO / f"configs/{name}.yaml").read_text()
    header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert re.search(r"\b(19|20)\d\d\b", header), "the paper's year"
    assert re.search(r"\bseeds?\b", header), "over how many seeds"
    assert re.search(r"\b(s|seconds|minutes)\b", header), "how long it takes"
    assert re.search(r"dvc repro|bench/results\.py", header), "the command"
