"""Many image files → rows of one size, in a few threads; whatever cannot be read gets a reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from latentlab.data.pixels import fit_image
from latentlab.data.rows import ImageRows

THREADS = 4  # each may hold one full-size image, up to about 0.4 GB
AHEAD = 256  # files handed to the threads at once: a million futures would fill memory
NAMED = 10  # files an error message names before it says how many more there are


def decode_images(
    where: Callable[[int], Path | IO[bytes]], pixels: np.ndarray | ImageRows
) -> dict[int, str]:
    """Fill `pixels` uint8 (N, C, S, S): row i from the image file where(i).

    Returns {row: reason} for what could not be read, pictures beyond Pillow's decompression-bomb
    limit among it. A full disk is not the image's fault: that LatentlabError is raised.
    """
    from PIL import Image
    from tqdm import tqdm

    channels, size = pixels.shape[1:3]

    def decode(row: int) -> str | None:
        try:
            with Image.open(where(row)) as image:
                fitted = fit_image(image, size, channels)
        except Exception as error:  # Pillow's plugins raise what they like on damaged files
            return reason(error)
        pixels[row] = fitted
        return None

    problems: dict[int, str] = {}
    with (
        strict_pillow(),
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(pixels), desc="images", unit="image", delay=1, disable=None) as bar,
    ):
        for start in range(0, len(pixels), AHEAD):
            rows = range(start, min(start + AHEAD, len(pixels)))
            told = zip(rows, pool.map(decode, rows), strict=True)
            problems |= {row: why for row, why in told if why}
            bar.update(len(rows))
    return problems


def reason(error: Exception) -> str:
    """Why an image cannot be read, in one line."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    return (f"{type(error).__name__}: {error}".splitlines() or [""])[0]


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Pillow's size warning becomes an error, its other warnings (odd metadata) are silenced."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def listed(problems: dict[str, str]) -> str:
    """The first few names with reasons, printable even where a name is not valid UTF-8."""
    shown = [f"{name} ({why})" if why else name for name, why in sorted(problems.items())[:NAMED]]
    more = [f"and {len(problems) - NAMED} more"] if len(problems) > NAMED else []
    return ", ".join(shown + more).encode("utf-8", "backslashreplace").decode()
