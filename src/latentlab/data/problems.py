"""Image files that cannot be read: the reason of each, and their list for a message."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from latentlab.data.pixels.settings import MAX_PIXELS

MAX_NAMES = 10  # files that an error message lists by name


def reason(error: Exception) -> str:
    """Return the reason why an image cannot be read, in one line."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        pixels = re.search(r"\d+", str(error))
        return f"{pixels[0] if pixels else 'its'} pixels are more than data.max_pixels"
    text = (str(error).splitlines() or [""])[0]
    return text if type(error) is ValueError and text else f"{type(error).__name__}: {text}"


@contextmanager
def strict_pillow(max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Let Pillow raise an error for images of more pixels. Ignore its other warnings."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def format_files(problems: Mapping[str, str]) -> str:
    """Format {file name: reason} as text, at most 10 names. Invalid UTF-8 in names is escaped."""
    first = sorted(problems.items())[:MAX_NAMES]
    parts = [f"{name} ({why})" if why else name for name, why in first]
    if len(problems) > MAX_NAMES:
        parts.append(f"and {len(problems) - MAX_NAMES} more")
    return ", ".join(parts).encode("utf-8", "backslashreplace").decode()
