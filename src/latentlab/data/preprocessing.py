"""Any image → uint8 (C, size, size): upright, on its background, 8 bits, scaled, square.

Scaling is Pillow's antialiased bicubic filter (a = −0.5). It uses fixed-point numbers, so the bytes
are the same on every machine. Image files and data sets in arrays use the same code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.pixels.values import RawImage, eight_bit

if TYPE_CHECKING:
    from PIL.Image import Image

DRAFT = 6  # a JPEG is decoded at 1/8 or 1/4 if that is at least 6 times the wanted size
UPRIGHT = {  # EXIF orientation: method of Image.transpose
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def preprocess_image(
    image: Image | RawImage,
    size: int,
    channels: int,
    settings: PixelSettings | None = None,
    *,
    orientation: int = 1,
) -> np.ndarray:
    """Open Pillow image, or stored values → uint8 (channels, size, size).

    The EXIF orientation is applied; `orientation` is that of stored values. Values become 8 bits by
    settings.white, transparent pixels get settings.background, and the shorter side ("crop") or the
    longer side ("pad") is scaled to `size`. Grey is ITU-R 601 luma. A large JPEG file that Pillow
    has not decoded yet is decoded at a fraction of its size.

    Raises:
        ValueError: negative values, or floats outside [0, 1] without settings.white.
    """
    from PIL import ImageOps

    settings = settings or PixelSettings()
    mode = "L" if channels == 1 else "RGB"
    if isinstance(image, RawImage):
        flat = upright(eight_bit(image, settings).convert(mode), orientation)
        return _planes(_square(flat, size, settings))
    _draft(image, size, settings)
    flat = eight_bit(ImageOps.exif_transpose(image), settings).convert(mode)
    return _planes(_square(flat, size, settings))


def preprocess_images(
    images: np.ndarray,
    size: int | None,
    channels: int | None,
    settings: PixelSettings | None = None,
) -> np.ndarray:
    """uint8 (N, C, H, W) → uint8 (N, channels, size, size); None keeps the value of the images.

    settings.white is not used: the values are 8 bits already.
    """
    from PIL import Image

    own_channels, height, _ = images.shape[1:]
    channels = channels or own_channels
    size = size or height
    if images.shape[1:] == (channels, size, size):
        return images
    settings = replace(settings or PixelSettings(), white=None)
    result = np.empty((len(images), channels, size, size), np.uint8)
    for row, pixels in enumerate(images):
        planes = pixels[0] if own_channels == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
        result[row] = preprocess_image(Image.fromarray(planes), size, channels, settings)
    return result


def upright(image: Image, orientation: int) -> Image:
    """Apply an EXIF orientation; unknown numbers change nothing."""
    from PIL.Image import Transpose

    method = UPRIGHT.get(orientation)
    return image.transpose(Transpose[method]) if method else image


def _planes(image: Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _draft(image: Image, size: int, settings: PixelSettings) -> None:
    """Let libjpeg decode a large JPEG at 1/8 or 1/4, if Pillow has not decoded it yet.

    The fraction leaves DRAFT pixels or more for each pixel of the result, and no part of a pixel at
    the end of a side.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    width, height = image.size
    side = min(image.size) if settings.fit == "crop" else max(image.size)
    for scale in (8, 4):
        if width % scale == height % scale == 0 and side >= scale * DRAFT * size:
            image.draft(None, (width // scale, height // scale))
            return


def _square(image: Image, size: int, settings: PixelSettings) -> Image:
    """Scale to size × size pixels: the centre square, or the whole image on the background."""
    from PIL import Image as pil

    width, height = image.size
    side = min(width, height)
    if settings.fit == "crop":
        left, top = (width - side) / 2, (height - side) / 2
        # Scale only the centre box. The result equals scaling and cropping, but a strip of
        # 1 × 100 000 pixels is not first enlarged to 100 000 times its size.
        box = (left, top, left + side, top + side)
        return image.resize((size, size), pil.Resampling.BICUBIC, box=box)
    scale = size / max(width, height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = image.resize((wide, high), pil.Resampling.BICUBIC)
    if wide == high == size:
        return scaled
    square = pil.new("RGB", (size, size), settings.background_colour).convert(image.mode)
    square.paste(scaled, ((size - wide) // 2, (size - high) // 2))
    return square
