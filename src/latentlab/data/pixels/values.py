"""The values of an image file → 8 bits, by the white level and the background of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latentlab.data.pixels.settings import PixelSettings

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCK = 2**18  # pixels that are floats at a time
SIGNED_WHITE = 2**31 - 1  # of Pillow's mode I, 32-bit integers with a sign
PLAIN = {"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "P", "PA"}  # 8 bits


@dataclass(frozen=True)
class RawImage:
    """Values as the file stores them.

    Attributes:
        values: (H, W) or (H, W, 3), integers or floats.
        bits: bits of one value.
        white: the value of white by the type: 2^bits − 1, or 1 for floats.
        white_is_zero: 0 is white and `white` is black.
        alpha: opacity (H, W) in [0, 1]; None if the image is opaque.
        premultiplied: `values` are already multiplied by `alpha`.
        stated: the file states `white` itself, so it need not be in use.
    """

    values: np.ndarray
    bits: int
    white: float
    white_is_zero: bool = False
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    stated: bool = False

    @property
    def mode(self) -> str:
        """The type for a summary, such as "uint16 RGB"."""
        kind = {"f": "float", "i": "int"}.get(self.values.dtype.kind, "uint")
        return f"{kind}{self.bits} {'grey' if self.values.ndim == 2 else 'RGB'}"

    @property
    def largest(self) -> float:
        """The largest value. If 0 is white: no more than the distance of the least from `white`."""
        largest = self.values.max()
        return min(largest, self.white - self.values.min()) if self.white_is_zero else largest

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.values.shape[1], self.values.shape[0]


def raw_of_pillow(image: Image, *, white_is_zero: bool = False) -> RawImage | None:
    """Return the values of a Pillow image of more than 8 bits; None for any other mode.

    The transparent grey level of a PNG becomes `alpha`.
    """
    if image.mode == "F":
        return RawImage(np.asarray(image), 32, 1, white_is_zero)
    if not image.mode.startswith("I"):
        return None
    values = np.asarray(image)
    key = image.info.get("transparency")
    alpha = None if key is None else (values != key).astype(np.float64)
    if image.mode == "I":
        return RawImage(values, 32, SIGNED_WHITE, white_is_zero, alpha)
    return RawImage(values, 16, 2**16 - 1, white_is_zero, alpha)


def eight_bit(image: Image | RawImage, settings: PixelSettings) -> Image:
    """Convert to Pillow mode L or RGB. Transparency is laid over the background.

    Raises:
        ValueError: values below 0, or floats above 1 without data.white.
    """
    from PIL import Image as pil

    if isinstance(image, RawImage):
        return pil.fromarray(_scaled(image, settings))
    if (raw := raw_of_pillow(image)) is not None:
        return pil.fromarray(_scaled(raw, settings))
    if image.mode in PLAIN and _white_changes_bytes(settings):
        return pil.fromarray(_scaled(_raw_bytes(image), settings))
    if image.has_transparency_data:
        colour = _with_alpha(image)
        behind = pil.new("RGBA", colour.size, settings.background_colour)
        return pil.alpha_composite(behind, colour).convert("RGB")
    if image.mode == "LAB":
        raise ValueError("LAB colours cannot be read; convert the file to RGB")
    return (
        image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    )


def _white_changes_bytes(settings: PixelSettings) -> bool:
    """True if `white` says something about files of 8 bits: a percentile, or a number below 255."""
    if settings.percentile is not None:
        return True
    return settings.white is not None and float(settings.white) < 255


def _with_alpha(image: Image) -> Image:
    """Convert to RGBA. Pillow knows no direct way from grey with premultiplied alpha."""
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _raw_bytes(image: Image) -> RawImage:
    """An image of 8 bits as values; of a palette, its colours."""
    alpha = None
    if image.has_transparency_data:
        image = _with_alpha(image)
        alpha = np.asarray(image.getchannel("A")) / 255.0
    values = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    return RawImage(values, 8, 255, alpha=alpha)


def _scaled(raw: RawImage, settings: PixelSettings) -> np.ndarray:
    """Return uint8 (H, W) or (H, W, 3): 255 · value / white, rounded, on the background."""
    white = _white(raw, settings)
    colour = np.array(settings.background_colour, np.float64)
    values, alpha = raw.values, raw.alpha
    if alpha is not None and values.ndim == 2 and len(set(settings.background_colour)) > 1:
        values = np.repeat(values[:, :, None], 3, axis=2)  # grey over a colour
    behind = colour if values.ndim == 3 else colour[0]
    result = np.empty(values.shape, np.uint8)
    step = max(1, BLOCK // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        level = values[rows] * (255 / white)
        level = np.clip(255 - level if raw.white_is_zero else level, 0, 255)
        if alpha is not None:
            part = alpha[rows] if values.ndim == 2 else alpha[rows, :, None]
            level = (level if raw.premultiplied else level * part) + behind * (1 - part)
        result[rows] = np.rint(np.clip(level, 0, 255))
    return result


def _white(raw: RawImage, settings: PixelSettings) -> float:
    """Return the value that becomes 255. Raise ValueError for values without a known white."""
    least, largest = raw.values.min(), raw.values.max()
    is_float = raw.values.dtype.kind == "f"
    kind = "float" if is_float else "integer"
    if not (least >= 0 and np.isfinite(largest)):  # in this form, NaN fails as well
        raise ValueError(
            f"{kind} values {least:g}…{largest:g}; they must be 0 or more, and finite; "
            "convert the file"
        )
    if settings.percentile is not None:
        return float(np.percentile(raw.values, settings.percentile)) or float(largest) or 1.0
    if settings.white is not None and (is_float or float(settings.white) <= raw.white):
        return float(settings.white)
    if is_float and largest > raw.white:
        raise ValueError(
            f"float values {least:g}…{largest:g} outside [0, 1]; set data.white to the value that "
            "is white"
        )
    return raw.white
