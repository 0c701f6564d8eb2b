"""Look at a folder or an archive of images before a project uses it.

Without torch: `latentlab init` refuses a wrong folder before its slow imports.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latentlab.data.decoding import preprocess_frame
from latentlab.data.files.find import find_files
from latentlab.data.files.layout import read_layout
from latentlab.data.files.listing import ImageFiles, evenly_spaced, image_names
from latentlab.data.pixels.frames import Frame, open_frames
from latentlab.data.pixels.info import DecodedInfo, describe, require_white
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.pixels.values import RawImage
from latentlab.data.problems import format_files, reason, strict_pillow
from latentlab.planning.request import Request
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import counted

SAMPLE = 200  # files that are opened
SIZES = (8, 16, 24, 28, 32, 48, 64)  # pixels; multiples of 4, which suit convolutions
MIN_IMAGES = 30  # then the test split has six images, which precision and recall need
GREY = 2  # largest difference of the channels of a grey image, in levels of 0…255


@dataclass(frozen=True)
class Survey:
    """What a folder contains.

    Attributes:
        count: number of files, without those that are refused, such as links out of the folder.
        classes: number of class folders; 0 without labels.
        splits: the split of each image, by its folder; None without folders of splits.
        shorter: median of the shorter side of the sampled images, pixels.
        grey: True if all sampled images are grey.
        sampled: number of files that were opened.
        unreadable: {file: reason} of sampled files that cannot be read.
        white: the error of stage prepare if data.white must be set for the sampled files; or "".
        pixels: uint8 (n, C, size, size), sampled images, as the project will have them.
    """

    count: int
    classes: int
    splits: list[str] | None
    shorter: int
    grey: bool
    sampled: int
    unreadable: dict[str, str]
    white: str
    pixels: np.ndarray


def survey_of(request: Request) -> Survey | None:
    """Open a sample of the images that `latentlab init` was given; None without."""
    if request.images is None:
        return None
    return survey(request.images, size=request.size, channels=request.channels)


def survey(folder: Path, *, size: int | None, channels: int | None) -> Survey:
    """Open a sample of the images. None: the size and the channels that suit the sample.

    Raises:
        LatentlabError: nothing there, a damaged archive, no images, too few images, images beside
            class folders.
    """
    if not (folder.is_dir() or folder.is_file()):
        found = "is neither a folder nor a file" if folder.exists() else "is missing"
        raise LatentlabError(
            f"--images {folder} {found}. Give a folder of images, or a zip or tar of one;"
            " sub-folders are classes"
        )
    files = find_files(folder, Path(tempfile.gettempdir()))
    names = files.names
    layout = read_layout(image_names(names), folder)
    chosen = evenly_spaced(names, SAMPLE)
    seen = _look(files, chosen)
    sides, problems = seen.sides, seen.problems
    if not sides:
        first = f" ({format_files(problems)})" if problems else ""
        raise LatentlabError(
            f"--images {folder} has no image that can be read{first}. Give a folder of images, such"
            " as PNG or JPEG files; sub-folders are classes"
        )
    readable = round(len(names) * len(sides) / len(chosen))
    if readable < MIN_IMAGES:
        first = f" ({len(problems)} cannot be read: {format_files(problems)})" if problems else ""
        raise LatentlabError(
            f"--images {folder} has {counted(readable, 'image')}{first}. At least {MIN_IMAGES} are"
            " needed: a fifth of them is the test split. Add images"
        )
    shorter, grey = int(statistics.median(sides)), all(seen.greys)
    size, channels = size or useful_size(shorter), channels or (1 if grey else 3)
    good = [name for name in chosen if name not in problems]
    pixels = _read(files, good, size, channels)
    return Survey(
        len(names),
        len(layout.class_names or ()),
        layout.splits,
        shorter,
        grey,
        len(chosen),
        problems,
        _white_problem(seen, folder),
        pixels,
    )


def useful_size(shorter: int) -> int:
    """Return the largest of SIZES that is not above `shorter` pixels; the smallest if all are."""
    return max((size for size in SIZES if size <= shorter), default=SIZES[0])


@dataclass
class _Seen:
    """Of each readable file: the shorter side, whether it is grey, and what it holds.

    `problems`: {file: reason} of unreadable files. `without_white`: of files for which data.white
    must be set.
    """

    sides: list[int] = field(default_factory=list)
    greys: list[bool] = field(default_factory=list)
    infos: dict[str, DecodedInfo] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    without_white: dict[str, str] = field(default_factory=dict)


def _look(files: ImageFiles, names: Sequence[str]) -> _Seen:
    """Open the files `names`."""
    seen = _Seen()
    with strict_pillow():
        for name in names:
            try:
                with open_frames(files.open(name)) as frames:
                    frame = frames.read(0)
                    side = min(frame.content.size)
                    colour = _pixels(frame, min(side, 64), 3).astype(int)
                    seen.infos[name] = describe(frame)
                    if isinstance(frame.content, RawImage) and (why := _needs_white(frame)):
                        seen.without_white[name] = why
            except Exception as error:  # Pillow's plugins raise any exception for damaged files
                seen.problems[name] = reason(error)
                continue
            seen.sides.append(side)
            seen.greys.append(int((colour.max(0) - colour.min(0)).max()) <= GREY)
    return seen


def _needs_white(frame: Frame) -> str:
    """Return why a readable frame cannot be used while data.white is null; "" if it can."""
    try:
        preprocess_frame(frame, 1, 1, PixelSettings())
    except ValueError as error:
        return str(error)
    return ""


def _white_problem(seen: _Seen, folder: Path) -> str:
    if problems := seen.without_white:
        files = counted(len(problems), "file")
        return f"{files} in {folder} cannot be read: {format_files(problems)}."
    try:
        require_white(seen.infos, PixelSettings())
    except LatentlabError as error:
        return str(error)
    return ""


def _read(files: ImageFiles, names: Sequence[str], size: int, channels: int) -> np.ndarray:
    pixels = np.empty((len(names), channels, size, size), np.uint8)
    with strict_pillow():
        for row, name in enumerate(names):
            with open_frames(files.open(name)) as frames:
                pixels[row] = _pixels(frames.read(0), size, channels)
    return pixels


def _pixels(frame: Frame, size: int, channels: int) -> np.ndarray:
    """uint8 (channels, size, size). The white of deep values is not known yet: their largest."""
    settings = PixelSettings(white="100%" if isinstance(frame.content, RawImage) else None)
    return preprocess_frame(frame, size, channels, settings)
