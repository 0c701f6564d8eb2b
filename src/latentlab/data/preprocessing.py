"""Any image → uint8 (C, size, size): upright, on white, 8 bits, scaled, centre-cropped.

Scaling is Pillow's antialiased bicubic filter (a = −0.5). It uses fixed-point numbers, so the bytes
are the same on every machine. Image files and data sets in arrays use the same code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIXTEEN_BIT = 65535


def preprocess_image(image: Image, size: int, channels: int) -> np.ndarray:
    """Open Pillow image → uint8 (channels, size, size).

    The EXIF orientation is applied, the background of transparent pixels is white, and 16-bit grey
    is scaled to 8 bits. The shorter side is scaled to `size` and the centre is cropped. Grey is
    ITU-R 601 luma.

    Raises:
        ValueError: 32-bit pixels outside 0…65535 (integers) or [0, 1] (floats); their value of
            white is unknown.
    """
    from PIL import ImageOps
    from PIL.Image import Resampling

    image = _eight_bit(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # Scale only the centre box. The result equals scaling and cropping, but a strip of 1 × 100 000
    # pixels is not first enlarged to 100 000 times its size.
    box = (left, top, left + side, top + side)
    scaled = np.asarray(image.resize((size, size), Resampling.BICUBIC, box=box))
    return scaled[None] if channels == 1 else scaled.transpose(2, 0, 1)


def preprocess_images(images: np.ndarray, size: int | None, channels: int | None) -> np.ndarray:
    """uint8 (N, C, H, W) → uint8 (N, channels, size, size); None keeps the value of the images."""
    from PIL import Image

    own_channels, height, _ = images.shape[1:]
    channels = channels or own_channels
    size = size or height
    if images.shape[1:] == (channels, size, size):
        return images
    result = np.empty((len(images), channels, size, size), np.uint8)
    for row, pixels in enumerate(images):
        planes = pixels[0] if own_channels == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
        result[row] = preprocess_image(Image.fromarray(planes), size, channels)
    return result


def _eight_bit(image: Image) -> Image:
    """Convert any Pillow mode to L or RGB."""
    from PIL import Image as pil

    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > SIXTEEN_BIT:
            raise ValueError(
                f"integer pixels {values.min()}…{values.max()} outside 0…{SIXTEEN_BIT}"
            )
        return pil.fromarray(((values + 128) // 257).astype(np.uint8))  # 65535 / 257 = 255
    if image.mode == "F":
        levels = np.asarray(image)
        if not (levels.min() >= 0 and levels.max() <= 1):  # also true for NaN
            raise ValueError(f"float pixels {levels.min()}…{levels.max()} outside [0, 1]")
        return pil.fromarray(np.round(levels * 255).astype(np.uint8))
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        white = pil.new("RGBA", colour.size, "white")
        return pil.alpha_composite(white, colour).convert("RGB")
    return (
        image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    )
