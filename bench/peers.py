"""The same VAE, data and batch size in Pythae, and in Lightning as in its tutorials.

Called by bench/speed.py. Pythae is installed by the bench into .bench/pythae, beside the packages
that it shares with latentlab; latentlab does not depend on it.
"""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

PYTHAE = Path(__file__).resolve().parents[1] / ".bench" / "pythae"


def pythae(images: Tensor, batch_size: int, epochs: int, root: Path) -> float:
    """Images/s of Pythae's trainer (0.1.2) on its VAE with our widths, images in memory."""
    if not PYTHAE.is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*install, "--target", PYTHAE, "pythae==0.1.2", "imageio"], check=True)
    sys.path.append(str(PYTHAE))
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = torch.nn.Linear(784, 400)
            self.mu, self.logvar = torch.nn.Linear(400, 20), torch.nn.Linear(400, 20)

        def forward(self, x: Tensor) -> ModelOutput:
            h = F.relu(self.hidden(x.flatten(1)))
            return ModelOutput(embedding=self.mu(h), log_covariance=self.logvar(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.back, self.out = torch.nn.Linear(20, 400), torch.nn.Linear(400, 784)

        def forward(self, z: Tensor) -> ModelOutput:
            x_hat = torch.sigmoid(self.out(F.relu(self.back(z))))
            return ModelOutput(reconstruction=x_hat.unflatten(1, (1, 28, 28)))

    logging.disable(logging.INFO)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce")
    trainer = BaseTrainer(
        VAE(config, encoder=Encoder(), decoder=Decoder()),
        BaseDataset(images, torch.zeros(len(images))),
        training_config=BaseTrainerConfig(
            output_dir=str(root / "pythae"),
            num_epochs=epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=1e-3,
            no_cuda=True,
        ),
    )
    start = time.perf_counter()
    trainer.train()
    return epochs * len(images) / (time.perf_counter() - start)


def naive(batch_size: int, epochs: int, root: Path) -> float:
    """Images/s of Lightning with torchvision's data set, self.log, MLflow, a bar, a checkpoint."""
    import lightning
    from bare import VAE
    from lightning.pytorch.loggers import MLFlowLogger
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for path in (Path(os.environ["LATENTLAB_DATA"]) / "mnist").glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))

    class Naive(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.vae = VAE()

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = self.vae.loss(batch[0])
            self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    data = MNIST(root, train=True, transform=ToTensor())
    loader = torch.utils.data.DataLoader(data, batch_size, shuffle=True, drop_last=True)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=root,
        logger=MLFlowLogger("naive", tracking_uri=f"sqlite:///{root}/naive.db"),
    )
    start = time.perf_counter()
    trainer.fit(Naive(), loader)
    return epochs * len(loader) * batch_size / (time.perf_counter() - start)
