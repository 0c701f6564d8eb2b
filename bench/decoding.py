"""CPU seconds of one large JPEG photo → a small image, decoded at a fraction and in full.

    python bench/decoding.py PHOTO.jpg [--size 64]

Prints both times, their ratio, and the largest difference of the values. Without a photo, noise of
24 megapixels on a smooth image is used.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from latentlab.data.preprocessing import preprocess_image

REPEATS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", nargs="?", type=Path)
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    content = args.photo.read_bytes() if args.photo else synthetic(4000, 6000)
    (fraction, small), (full, exact) = (measure(content, args.size, whole) for whole in (0, 1))
    difference = np.abs(small.astype(int) - exact).max()
    print(f"at a fraction {fraction:.3f} s, in full {full:.3f} s: {full / fraction:.1f} times")
    print(f"largest difference {difference} of 255")


def synthetic(height: int, width: int) -> bytes:
    """A JPEG photo of random smooth colours and noise."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 100, width // 100, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth) + generator.normal(0, 4, (height, width, 3)).astype(np.float32)
    target = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(target, "jpeg", quality=92)
    return target.getvalue()


def measure(content: bytes, size: int, whole: int) -> tuple[float, np.ndarray]:
    """Return the mean CPU seconds and the result; `whole`: Pillow decodes in full first."""
    start = time.process_time()
    for _ in range(REPEATS):
        image = Image.open(io.BytesIO(content))
        if whole:
            image.load()
        result = preprocess_image(image, size, 3)
    return (time.process_time() - start) / REPEATS, result


if __name__ == "__main__":
    main()
