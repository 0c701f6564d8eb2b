"""Image files for a trained model: read and preprocessed as the training images were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentlab.contracts import ImageShape, to_float
from latentlab.data.decoding import decode_into, preprocess_frame
from latentlab.data.files.listing import list_folder
from latentlab.data.pixels.frames import frame_of_pillow
from latentlab.data.pixels.info import describe, require_white
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.problems import format_files, strict_pillow
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted

if TYPE_CHECKING:
    from PIL.Image import Image


def read_images(
    paths: Sequence[Path], image_shape: ImageShape, settings: PixelSettings | None = None
) -> tuple[list[str], Tensor]:
    """Read image files, and folders of image files, for a model of square images (C, H, H).

    `settings`: those of the training. Return the names and images float32 (N, C, H, H) in [0, 1].

    Raises:
        LatentlabError: no image, files that cannot be read, or integers deeper than 8 bits whose
            white is not known.
    """
    files: list[Path] = []
    problems: dict[str, str] = {}
    for path in paths:
        if path.is_dir():
            found = list_folder(path)
            files += [path / name for name in found.names]
            problems |= {str(path / name): why for name, why in found.refused.items()}
        elif path.exists():
            files.append(path)
        else:
            problems[str(path)] = "there is no such file"
    names = [str(path) for path in files]
    channels, size, _ = image_shape

    def array(count: int) -> np.ndarray:
        return np.zeros((count, channels, size, size), np.uint8)

    decoded = decode_into(names, files.__getitem__, array, settings or PixelSettings())
    problems |= decoded.problems
    if problems or not files:
        given = ", ".join(str(path) for path in paths)
        raise LatentlabError(
            f"{counted(len(problems), 'file')} cannot be read: {format_files(problems)}. Leave them"
            " out."
            if problems
            else f"There are no images in {given}. Give image files or folders of image files."
        )
    return decoded.names, to_float(torch.from_numpy(decoded.pixels))


def read_pillow(image: Image, image_shape: ImageShape, settings: PixelSettings) -> Tensor:
    """Convert an open Pillow image, its current frame, to float32 (1, C, H, H) in [0, 1].

    Raises:
        LatentlabError: an image that cannot be read, or whose white is not known.
    """
    channels, size, _ = image_shape
    try:
        with strict_pillow(settings.max_pixels):
            frame = frame_of_pillow(image)
            image.load()  # else a large JPEG would be decoded at a fraction, and stay so
            require_white({"A Pillow image": describe(frame)}, settings)
            pixels = preprocess_frame(frame, size, channels, settings)
    except (OSError, ValueError) as error:
        raise LatentlabError(f"A Pillow image cannot be used: {error}.") from None
    return to_float(torch.from_numpy(np.array(pixels)))[None]
