"""The Inception network of FID, from a local file of weights."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor

from latentlab.contracts import to_uint8
from latentlab.utils.errors import LatentlabError

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"  # torch-fidelity's file


class InceptionFeatures:
    """Inception-v3 pool features: images (B, 1 or 3, H, W) in [0, 1] → float32 (B, 2048).

    The network is torchmetrics' (Heusel et al. 2017): torch-fidelity's port of the TensorFlow
    weights, with its default antialiased bilinear resize to 299×299. `weights` is a local file
    whose SHA-256 must be `sha256`. Nothing is downloaded. The file is loaded as tensors only and
    never unpickled.

    Raises:
        LatentlabError: the file is absent, its checksum is wrong, its content is not these weights,
            or the package torch-fidelity is missing.
    """

    num_features = 2048

    def __init__(
        self, weights: Path | str, sha256: str, *, device: torch.device | str = "cpu"
    ) -> None:
        content = _checked_bytes(Path(weights), sha256.strip().lower())
        try:
            import torch_fidelity  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401
            from torchmetrics.image.fid import NoTrainInceptionV3
        except ImportError as error:
            raise LatentlabError(
                f"Inception features need a package that is not installed ({error}). Install "
                "torch-fidelity, or set evaluation.features to classifier."
            ) from error
        try:
            # torchmetrics loads its file without weights_only. It gets a copy of the tensors that
            # were loaded with weights_only, so that no code in the user's file is executed.
            tensors = io.BytesIO()
            torch.save(torch.load(io.BytesIO(content), weights_only=True), tensors)
            tensors.seek(0)
            net = NoTrainInceptionV3("inception-v3-compat", ["2048"], tensors)  # type: ignore[arg-type]
        except Exception as error:  # each format error has its own exception type
            raise LatentlabError(
                f"{weights} has the right checksum but is not a state_dict of the FID Inception "
                f"network ({type(error).__name__}). Put torch-fidelity's {WEIGHTS} there and set "
                "its SHA-256."
            ) from error
        self.device = torch.device(device)
        self.net = net.to(self.device)

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise LatentlabError(
                f"Images have shape {tuple(x.shape)}. Inception needs (B, C, H, W) with C = 1 or "
                "3. Set data.channels to 1 or 3."
            )
        rgb = to_uint8(x).expand(-1, 3, -1, -1)
        return self.net(rgb.to(self.device)).to(torch.float32)


def _checked_bytes(path: Path, sha256: str) -> bytes:
    """Return the content of the file `path`, verified against its SHA-256 in hexadecimal."""
    if not path.is_file():
        raise LatentlabError(
            f"There are no Inception weights at {path}. Nothing is downloaded. Put "
            f"torch-fidelity's {WEIGHTS} there, or set evaluation.features to classifier."
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise LatentlabError(
            f"{path} has SHA-256 {found}, expected {sha256}. Put the intact file {WEIGHTS} there, "
            "or correct the checksum."
        )
    return content
