"""Many image files → one array, in several threads. Files that cannot be read get a reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from latentlab.data.disk_array import DiskArray
from latentlab.data.preprocessing import preprocess_image

THREADS = 4  # each has one image of full size in memory, at most about 0.4 GB
AHEAD = 256  # files in the queue of the threads; a million futures would fill the memory
MAX_NAMES = 10  # files that an error message lists by name


def decode_images(
    file_of: Callable[[int], Path | IO[bytes]], pixels: np.ndarray | DiskArray
) -> dict[int, str]:
    """Fill `pixels` uint8 (N, C, S, S): row i gets the preprocessed image of the file file_of(i).

    Returns {row: reason} for files that cannot be read. Images beyond Pillow's limit for
    decompression bombs are among them.

    Raises:
        LatentlabError: the disk is full.
    """
    from PIL import Image
    from tqdm import tqdm

    channels, size = pixels.shape[1:3]

    def decode(row: int) -> str | None:
        try:
            with Image.open(file_of(row)) as image:
                content = preprocess_image(image, size, channels)
        except Exception as error:  # Pillow's plugins raise any exception for damaged files
            return reason(error)
        pixels[row] = content
        return None

    problems: dict[int, str] = {}
    with (
        strict_pillow(),
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(pixels), desc="images", unit="image", delay=1, disable=None) as bar,
    ):
        for start in range(0, len(pixels), AHEAD):
            rows = range(start, min(start + AHEAD, len(pixels)))
            results = zip(rows, pool.map(decode, rows), strict=True)
            problems |= {row: why for row, why in results if why}
            bar.update(len(rows))
    return problems


def reason(error: Exception) -> str:
    """Return the reason why an image cannot be read, in one line."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    return (f"{type(error).__name__}: {error}".splitlines() or [""])[0]


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Turn Pillow's warning about the image size into an error. Ignore its other warnings."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def format_files(problems: dict[str, str]) -> str:
    """Format {file name: reason} as text, at most 10 names. Invalid UTF-8 in names is escaped."""
    first = sorted(problems.items())[:MAX_NAMES]
    parts = [f"{name} ({why})" if why else name for name, why in first]
    if len(problems) > MAX_NAMES:
        parts.append(f"and {len(problems) - MAX_NAMES} more")
    return ", ".join(parts).encode("utf-8", "backslashreplace").decode()
