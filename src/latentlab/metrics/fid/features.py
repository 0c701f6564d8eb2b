"""Images → features (N, F): one pass through a frozen network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import tee

import torch
from torch import Tensor

from latentlab.contracts import Split, to_float
from latentlab.utils.errors import LatentlabError


def batches(images: Split | Tensor, *, size: int) -> Iterator[Tensor]:
    """Yield images in order as float32 (≤ size, C, H, W) in [0, 1].

    A tensor of images is uint8 in 0…255, which is rescaled here, or floating point in [0, 1],
    which is not changed.

    Raises:
        LatentlabError: `size` < 1, or images of another dtype.
    """
    if size < 1:
        raise LatentlabError(f"The batch size is {size}. It must be at least 1. Use 500.")
    images = images.images if isinstance(images, Split) else images
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise LatentlabError(
            f"Images have dtype {images.dtype}. Allowed are uint8 in 0…255 and floating point in "
            "[0, 1]. Convert the images first."
        )
    for batch in images.split(size):
        yield to_float(batch) if batch.dtype == torch.uint8 else batch.to(torch.float32)


def check_features(features: Tensor, *, name: str, at_least: int = 1) -> Tensor:
    """Return `features` (N, F), detached. `name` describes them in error messages.

    Raises:
        LatentlabError: not 2-D, fewer than `at_least` rows, no column, or values not finite.
    """
    if features.ndim != 2:
        raise LatentlabError(
            f"{name} have shape {tuple(features.shape)}. Features must be (N, F), one row per "
            "image. Flatten the output of the network."
        )
    if len(features) < at_least or features.shape[1] < 1:
        raise LatentlabError(
            f"{name} have shape {tuple(features.shape)}. At least {at_least} rows and 1 column "
            "are needed. Evaluate on more images."
        )
    least, greatest = features.aminmax()  # takes a tenth of the time of features.isfinite()
    if not (least.isfinite() and greatest.isfinite()):
        bad = int((~features.isfinite()).any(dim=1).sum())
        raise LatentlabError(
            f"{name} are not finite in {bad} of {len(features)} rows. All values must be finite. "
            "Look for NaN or infinity in the weights of the model."
        )
    return features.detach()


def extract(
    net: Callable[[Tensor], Tensor],
    images: Split | Tensor,
    *,
    batch_size: int = 100,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Run `net` over `images` (see `batches`). Return its features, float32 (N, F), on the CPU.

    `net` maps (B, C, H, W) on `device` to (B, F), without gradients. The caller sets eval mode.
    A `net` with a method `map` (inference.replicas.Method) gets all batches in one call.

    Raises:
        LatentlabError: no image, or a result that is not (B, F) or not finite.
    """
    parts = []
    inputs, given = tee(batches(images, size=batch_size))
    for x, features in zip(inputs, _mapped(net, given, device), strict=True):
        if features.ndim != 2 or len(features) != len(x):
            raise LatentlabError(
                f"The network maps images {tuple(x.shape)} to shape {tuple(features.shape)}. "
                "Features must be (B, F), one row per image. Flatten the output of the network."
            )
        parts.append(features.to("cpu", torch.float32))
    # cat is outside inference mode: the caller gets an ordinary tensor that autograd accepts
    joined = torch.cat(parts) if parts else torch.empty(0, 0)
    return check_features(joined, name="The network's features")


def _mapped(
    net: Callable[[Tensor], Tensor], inputs: Iterable[Tensor], device: torch.device | str
) -> Iterator[Tensor]:
    """Yield net(x) for every batch; through `net.map`, which may use several devices, if any."""
    if hasattr(net, "map"):
        yield from net.map(inputs)
        return
    for x in inputs:
        with torch.inference_mode():
            features = net(x.to(device))
        yield features
