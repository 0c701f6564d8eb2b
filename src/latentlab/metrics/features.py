"""Images → features (N, F): one pass through a frozen network, and the Inception network of FID."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from pathlib import Path

import torch
from torch import Tensor

from latentlab.contracts import LatentlabError, Split, to_float, to_uint8


def batches(images: Split | Tensor, *, size: int) -> Iterator[Tensor]:
    """Yield images in order as float32 (≤ size, C, H, W) in [0, 1].

    A tensor is uint8 (0…255, rescaled here) or floating point (already in [0, 1], unchanged).
    Raises LatentlabError for a batch size below 1 and for any other dtype.
    """
    if size < 1:
        raise LatentlabError(f"batch size is {size}: it must be at least 1; give e.g. 500")
    images = images.images if isinstance(images, Split) else images
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise LatentlabError(
            f"images have dtype {images.dtype}: allowed are uint8 in 0…255 and floating point in "
            "[0, 1]; convert them first"
        )
    for batch in images.split(size):
        yield to_float(batch) if batch.dtype == torch.uint8 else batch.to(torch.float32)


def check_features(features: Tensor, *, name: str, at_least: int = 1) -> Tensor:
    """Return `features` (N, F) detached, or raise LatentlabError: not 2-D, too few, not finite."""
    if features.ndim != 2:
        raise LatentlabError(
            f"{name} have shape {tuple(features.shape)}: features must be (N, F), one row per "
            "image; flatten what the network returns"
        )
    if len(features) < at_least or features.shape[1] < 1:
        raise LatentlabError(
            f"{name} have shape {tuple(features.shape)}: at least {at_least} rows and 1 column "
            "are needed; evaluate on more images"
        )
    if not features.isfinite().all():
        bad = int((~features.isfinite()).any(dim=1).sum())
        raise LatentlabError(
            f"{name} are not finite in {bad} of {len(features)} rows: only finite numbers can be "
            "compared; look for NaN or infinity in the model's weights"
        )
    return features.detach()


def extract(
    net: Callable[[Tensor], Tensor],
    images: Split | Tensor,
    *,
    batch_size: int = 100,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Run `net` over `images` (see `batches`) and return its features, float32 (N, F) on the CPU.

    `net` maps (B, C, H, W) on `device` to (B, F) and should be in eval mode: the caller owns the
    mode. Gradients are off. Raises LatentlabError if there is no image or if the result is not
    (B, F) or not finite.
    """
    parts = []
    shown, given = tee(batches(images, size=batch_size))
    for x, features in zip(shown, _mapped(net, given, device), strict=True):
        if features.ndim != 2 or len(features) != len(x):
            raise LatentlabError(
                f"the network maps images {tuple(x.shape)} to shape {tuple(features.shape)}: "
                "features must be (B, F), one row per image; flatten what it returns"
            )
        parts.append(features.to("cpu", torch.float32))
    # cat outside inference mode: the caller gets an ordinary tensor, usable under autograd
    joined = torch.cat(parts) if parts else torch.empty(0, 0)
    return check_features(joined, name="the network's features")


def _mapped(
    net: Callable[[Tensor], Tensor], inputs: Iterable[Tensor], device: torch.device | str
) -> Iterator[Tensor]:
    """net(x) for every batch; a net with a `map` of its own may spread them over devices."""
    if hasattr(net, "map"):
        yield from net.map(inputs)
        return
    for x in inputs:
        with torch.inference_mode():
            features = net(x.to(device))
        yield features


class InceptionFeatures:
    """FID's Inception-v3 pool features: images (B, 1 or 3, H, W) in [0, 1] → float32 (B, 2048).

    The network is torchmetrics' (Heusel et al. 2017; torch-fidelity's port of the TensorFlow
    weights), with its default antialiased bilinear resize to 299×299. `weights` is a local file
    whose SHA-256 must be `sha256`; nothing is ever downloaded, and the file is read as tensors
    only, never unpickled. Raises LatentlabError for an absent file, a wrong checksum, content
    that is not these weights, or when the package torch-fidelity is missing.
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
                f"Inception features need a package that is absent ({error}): install "
                "torch-fidelity, or choose the judge's features"
            ) from error
        try:
            # The package loads without the weights_only guard: it is handed a re-saved copy of
            # what the guarded load let through, so nothing in the user's file is ever executed.
            tensors = io.BytesIO()
            torch.save(torch.load(io.BytesIO(content), weights_only=True), tensors)
            tensors.seek(0)
            net = NoTrainInceptionV3("inception-v3-compat", ["2048"], tensors)  # type: ignore[arg-type]
        except Exception as error:  # each format error has its own exception type
            raise LatentlabError(
                f"{weights} has the right checksum but is not a state_dict of the FID Inception "
                f"network ({type(error).__name__}): put torch-fidelity's "
                "weights-inception-2015-12-05-6726825d.pth there and give its SHA-256"
            ) from error
        self.device = torch.device(device)
        self.net = net.to(self.device)

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise LatentlabError(
                f"images have shape {tuple(x.shape)}: Inception reads (B, C, H, W) with C = 1 or 3"
            )
        rgb = to_uint8(x).expand(-1, 3, -1, -1)
        return self.net(rgb.to(self.device)).to(torch.float32)


def _checked_bytes(path: Path, sha256: str) -> bytes:
    """The content of the file at `path`, verified against its SHA-256 in hexadecimal."""
    if not path.is_file():
        raise LatentlabError(
            f"no Inception weights at {path}: put torch-fidelity's "
            "weights-inception-2015-12-05-6726825d.pth there (nothing is downloaded), or choose "
            "the judge's features"
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise LatentlabError(
            f"{path} has SHA-256 {found}, expected {sha256}: put the intact file "
            "weights-inception-2015-12-05-6726825d.pth there, or correct the stated checksum"
        )
    return content
