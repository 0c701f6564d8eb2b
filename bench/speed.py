"""Speed of the pipeline's training loop against a bare PyTorch loop, in one process.

    make bench                      # or: python bench/speed.py --rounds 7 --epochs 5

Both train the same VAE (784-400-20) on the same MNIST images with the same batch size. The bare
loop is the textbook's: one float tensor in memory, a permutation per epoch, Adam, nothing logged.
The pipeline has everything on: LightningModule, data module, uint8 images, seeds per batch,
loss curves to MLflow's embedded store every 50 steps,
a progress bar; its clock also counts set-up, one validation and one checkpoint, which the bare
loop has not. Rounds alternate, so a machine that slows down slows both; ratios are of throughput
(images/s), pair by pair, above 1 where the pipeline is faster.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from latentlab import tracking
from latentlab.checkpoints import clear
from latentlab.config import Experiment, build
from latentlab.contracts import to_float
from latentlab.data.module import ImageDataModule
from latentlab.data.prepared import read_meta, read_split, write_prepared
from latentlab.data.settings import DataSettings
from latentlab.data.sources import open_source
from latentlab.memory import keep_freed_memory
from latentlab.training import fit

ROOT = Path(__file__).resolve().parents[1]


class BareVAE(torch.nn.Module):
    """The textbook's VAE 784-400-20-400-784."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(784, 400)
        self.mu = torch.nn.Linear(400, 20)
        self.logvar = torch.nn.Linear(400, 20)
        self.back = torch.nn.Linear(20, 400)
        self.out = torch.nn.Linear(400, 784)

    def forward(self, x):
        h = F.relu(self.hidden(x))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return torch.sigmoid(self.out(F.relu(self.back(z)))), mu, logvar


def bare_loop(images: torch.Tensor, batch_size: int, epochs: int) -> float:
    """Train the textbook's way; images/s."""
    torch.manual_seed(0)
    model = BareVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    steps = len(images) // batch_size
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for step in range(steps):
            x = images[order[step * batch_size : (step + 1) * batch_size]]
            x_hat, mu, logvar = model(x)
            nll = F.binary_cross_entropy(x_hat, x, reduction="sum")
            kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            loss = (nll + kl) / batch_size
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return epochs * steps * batch_size / (time.perf_counter() - start)


def pipeline(root: Path, prepared: Path, batch_size: int, epochs: int) -> float:
    """Train through latentlab with tracking and progress bar on; images/s of its training loop."""
    meta = read_meta(prepared)
    steps = meta.counts["train"] // batch_size
    resolved = {
        "seed": 0,
        "model": {"class_path": "latentlab.models.vae.VAE", "init_args": {"latent_dim": 20}},
        "sampler": {"class_path": "latentlab.priors.StandardNormal"},
        "trainer": {
            "batch_size": batch_size,
            "images": epochs * steps * batch_size,
            "validations": 1,
        },
    }
    experiment: Experiment = build("vae", resolved, meta.facts, root=root, files="bench")
    data = ImageDataModule(prepared, batch_size=batch_size, seed=0)
    run = tracking.open_run(root, experiment="bench", name="vae", params=resolved, tags={})
    fitted = fit(experiment, data, work=root / ".checkpoints", run=run)
    run.finish("FINISHED")
    clear(root / ".checkpoints")
    return fitted.cost["images_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs (5)")
    parser.add_argument("--epochs", type=int, default=3, help="per run (3)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 512])
    args = parser.parse_args()
    keep_freed_memory()  # for both
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        settings = DataSettings(name="mnist")
        write_prepared(open_source(settings, ROOT), settings, 0, root / "prepared")
        images = to_float(read_split(root / "prepared", "train").images).flatten(1)
        threads, version = torch.get_num_threads(), torch.__version__
        print(f"{len(images)} MNIST images, {threads} threads, torch {version}")
        for batch_size in args.batch_sizes:
            compare(root, images, batch_size, args)


def compare(root: Path, images: torch.Tensor, batch_size: int, args: argparse.Namespace) -> None:
    ratios = []
    for turn in range(args.rounds + 1):
        bare = bare_loop(images, batch_size, args.epochs)
        ours = pipeline(root, root / "prepared", batch_size, args.epochs)
        if turn == 0:
            continue  # the first pair warms up
        ratios.append(ours / bare)
        print(f"  bare {bare:8.0f} images/s, latentlab {ours:8.0f}, ratio {ratios[-1]:.3f}")
    print(
        f"batch {batch_size}: ratio {statistics.median(ratios):.3f}"
        f" (median of {len(ratios)} pairs, {min(ratios):.3f} … {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
