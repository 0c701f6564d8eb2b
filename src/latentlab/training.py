"""Fit one experiment: the Trainer, its company, its signals, and what it cost."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from tqdm import tqdm

from latentlab.callbacks import Checkpoints, Curves, SeedEachBatch
from latentlab.config import Experiment
from latentlab.contracts import LatentlabError
from latentlab.data.module import ImageDataModule
from latentlab.devices import Together, lost_another, peak_memory_mb, placement

if TYPE_CHECKING:
    from latentlab.tracking import Run

CHECKPOINT = "last.ckpt"
Row = tuple[str, str, int, float]  # split, quantity, images seen, value


@dataclass
class History:
    """The curves of one training, and the run that shares them."""

    run: Run | None = None
    rows: list[Row] = field(default_factory=list)
    batch_size: int = 1

    def __call__(self, split: str, values: dict[str, float], images: int) -> None:
        self.rows += [(split, quantity, images, value) for quantity, value in values.items()]
        if self.run is not None:
            step = images // self.batch_size
            self.run.log({f"{split}/{name}": value for name, value in values.items()}, step)
            if split == "val":
                self.run.flush()

    def csv(self) -> str:
        lines = ["split,quantity,step,images,value"]
        for split, quantity, images, value in self.rows:
            lines.append(f"{split},{quantity},{images // self.batch_size},{images},{value!r}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Fitted:
    """What a finished training leaves behind, besides the trained model itself."""

    history: History
    cost: dict[str, float]
    device: str
    is_main_process: bool


@dataclass(frozen=True)
class Resume:
    """The last good state of an unfinished training: its file, MLflow run and curves so far."""

    path: Path
    run_id: str
    rows: list[Row]


def resumable(work: Path, fingerprint: str) -> Resume | None:
    """What `work` holds of this very training; None, said in one line, if it is of another."""
    path = work / CHECKPOINT
    if not path.is_file():
        return None
    try:
        facts = torch.load(path, weights_only=True, map_location="cpu", mmap=True)["latentlab"]
    except Exception as error:  # a truncated file fails in many ways; none may stop a training
        print(f"{path} is damaged ({type(error).__name__}): starting anew", file=sys.stderr)
        return None
    if facts["fingerprint"] != fingerprint:
        print(f"{path} is of another configuration, data or code: starting anew", file=sys.stderr)
        return None
    return Resume(path, facts["run_id"], [tuple(row) for row in facts["rows"]])


def data_module(experiment: Experiment) -> ImageDataModule:
    """The experiment's data; LatentlabError at once if one batch is more than there are images."""
    project = experiment.project
    return ImageDataModule(
        project.prepared,
        batch_size=experiment.trainer.batch_size,
        seed=project.seed,
        loader=project.hardware.loader,
        num_workers=project.hardware.num_workers,
    )


def fit(
    experiment: Experiment,
    data: ImageDataModule,
    *,
    work: Path,
    fingerprint: str,
    run: Run | None = None,
    resume: Resume | None = None,
) -> Fitted:
    """Train `experiment.model` in place, from `resume` on if given; checkpoints go into `work`.

    Raises LatentlabError for a non-finite loss or more memory than there is, SystemExit 143 on
    SIGTERM and 130 on Ctrl-C; the last good checkpoint then stays in `work`.
    """
    _quiet()
    settings, hardware = experiment.trainer, experiment.project.hardware
    epochs = math.ceil(settings.images / (data.steps_per_epoch * settings.batch_size))
    steps = epochs * data.steps_per_epoch
    rows = resume.rows if resume else []
    history = History(run=run, rows=rows, batch_size=settings.batch_size)
    bar = Bar(experiment.name, steps)
    curves = Curves(
        history,
        log_every=settings.log_every,
        batch_size=settings.batch_size,
        advance=bar.update,
    )
    facts = {"fingerprint": fingerprint, "run_id": run.id if run else "", "rows": rows}
    checkpoints = Checkpoints(work / CHECKPOINT, facts, curves)
    trainer = Trainer(
        **placement(hardware, experiment.model, sync_batchnorm=settings.sync_batchnorm),
        precision=settings.precision,
        max_epochs=epochs,
        check_val_every_n_epoch=max(1, epochs // settings.validations),
        callbacks=[SeedEachBatch(experiment.project.seed), curves, checkpoints, bar, Together()],
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=work,
    )
    if settings.channels_last:
        experiment.model.to(memory_format=torch.channels_last)
    start = time.perf_counter()
    try:
        trainer.fit(
            experiment.model,
            datamodule=data,
            ckpt_path=resume.path if resume else None,
            weights_only=True,
        )
    except SIGTERMException:
        # Lightning would exit with 0 here, and DVC would cache a half-trained model as finished
        print("stopped by SIGTERM: not finished", file=sys.stderr)
        raise SystemExit(143) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise SystemExit(130) from None  # what shells expect; Lightning says 1
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise LatentlabError(
            f"out of memory with batches of {settings.batch_size}: lower trainer.batch_size"
            f" ({error})"
        ) from None
    except RuntimeError as error:
        if not lost_another(error):
            raise
        raise LatentlabError("another process of this training ended: see what it said") from error
    seconds = time.perf_counter() - start
    cost = {
        "train_seconds": round(seconds, 4),
        "images_per_second": round(steps * settings.batch_size / seconds, 1),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    device = str(trainer.strategy.root_device)
    return Fitted(history, cost, device, trainer.is_global_zero)


class Bar(Callback):
    """A progress bar over all steps, moved once per logging window."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.bar = tqdm(total=self.steps, desc=self.name, unit="step", mininterval=0.5)
            self.bar.update(trainer.fit_loop.total_batch_idx + 1)

    def update(self, steps: int) -> None:
        if self.bar is not None:
            self.bar.update(steps)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def fingerprint(resolved: dict[str, Any], data_sha256: str) -> str:
    """SHA-256 over configuration, data and this package's code: one for each training."""
    training = {key: value for key, value in resolved.items() if key != "evaluation"}
    digest = hashlib.sha256(json.dumps(training, sort_keys=True).encode())
    digest.update(data_sha256.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def clear(work: Path) -> None:
    """Forget the checkpoints of a training that has finished."""
    shutil.rmtree(work, ignore_errors=True)


def _quiet() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # our loaders yield whole batches from memory: more workers would only slow them down
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    # lightning 2.6 asks torch ≥ 2.13's pytrees in a way that torch has deprecated
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
