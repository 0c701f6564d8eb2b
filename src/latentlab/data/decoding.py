"""Many image files → one array, in several threads. Files that cannot be read get a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Generic, TypeVar

import numpy as np

from latentlab.data.disk_array import DiskArray, temporary_array
from latentlab.data.pixels.frames import Frame, open_frames
from latentlab.data.pixels.info import DecodedInfo, describe, require_white
from latentlab.data.pixels.settings import PixelSettings
from latentlab.data.preprocessing import preprocess_image
from latentlab.data.problems import reason, strict_pillow
from latentlab.utils.errors import LatentlabError
from latentlab.utils.names import some

if TYPE_CHECKING:
    from latentlab.data.settings import DataSettings

THREADS = 4  # each has one image of full size in memory, at most about 0.4 GB
AHEAD = 256  # files in the queue of the threads; a million futures would fill the memory
FileOf = Callable[[int], Path | IO[bytes]]
Array = TypeVar("Array", np.ndarray, DiskArray, np.ndarray | DiskArray)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoded(Generic[Array]):
    """The images of many files.

    Attributes:
        pixels: uint8 (N, C, S, S).
        names: the name of each image: of its file, or such as "stack.tif#3" for the third of
            several frames.
        files: the name of the file of each image. Images of one file belong on one side of a split.
        rows: the place of this file in the list of files, int (N,).
        infos: {file name: DecodedInfo} of the files that can be read.
        problems: {file name: reason} of the files that cannot be read.
        whites: white levels of integers deeper than 8 bits whose range the images use.
    """

    pixels: Array
    names: list[str]
    files: list[str]
    rows: list[int]
    infos: dict[str, DecodedInfo]
    problems: dict[str, str]
    whites: tuple[int, ...] = ()


def decode_files(
    names: Sequence[str], file_of: FileOf, settings: DataSettings, folder: Path
) -> Decoded[DiskArray]:
    """Decode the files `names`; file_of(i) is the content of names[i].

    The pixels are in a temporary file in `folder`. Images keep the order of the files.

    Raises:
        LatentlabError: the disk is full, a white level that must be set (data.white), or no
            settings.size for images that are not squares of one size.
    """
    size = settings.size or common_size(names, file_of, settings.pixels)
    shape = (settings.channels or 3, size, size)

    def array(count: int) -> DiskArray:
        return temporary_array((count, *shape), folder)

    return decode_into(names, file_of, array, settings.pixels)


def common_size(names: Sequence[str], file_of: FileOf, settings: PixelSettings) -> int:
    """Return the height and width in pixels of all images, for data.size null. Nothing is decoded.

    Files that cannot be opened are left out; 1 if there is no other.

    Raises:
        LatentlabError: the images have different sizes, or are no squares.
    """

    def sizes(row: int) -> tuple[tuple[int, int], ...]:
        with open_frames(file_of(row), settings.max_pixels) as frames:
            return frames.sizes[:1] if settings.frames == "first" else frames.sizes

    found: dict[tuple[int, int], str] = {}  # size → the first file that has it
    with strict_pillow(settings.max_pixels):
        for name, result in zip(names, _in_threads(sizes, range(len(names)), "sizes"), strict=True):
            for size in () if isinstance(result, str) else result:
                found.setdefault(size, name)
    if len(found) < 2 and all(width == height for width, height in found):
        return next(iter(found))[0] if found else 1
    listed = some(f"{width} × {height} ({name})" for (width, height), name in found.items())
    raise LatentlabError(
        "data.size is null, which keeps the size of square images that all have one size. The sizes"
        f" here: {listed}. Set data.size to the height and width in pixels that all images shall"
        f" have, for example {min(64, *map(min, found))}; data.fit crops or pads them."
    )


def decode_into(
    names: Sequence[str],
    file_of: FileOf,
    array: Callable[[int], Array],
    settings: PixelSettings,
) -> Decoded[Array]:
    """Decode as `decode_files`; array(N) makes the array (N, C, S, S) that is filled."""
    infos: dict[str, DecodedInfo] = {}
    same: dict[DecodedInfo, DecodedInfo] = {}  # most files are alike: one object for all of them
    image_names: list[str] = []
    file_rows: list[int] = []
    with strict_pillow(settings.max_pixels):
        counts: list[int]
        counts, problems = _count_images(names, file_of, settings)
        starts: list[int] = np.cumsum([0, *counts]).tolist()
        pixels = array(starts[-1])

        def decode(row: int) -> DecodedInfo:
            return _decode(file_of(row), pixels, range(starts[row], starts[row + 1]), settings)

        rows = [row for row, count in enumerate(counts) if count]
        for row, result in zip(rows, _in_threads(decode, rows, "images"), strict=True):
            name = names[row]
            if isinstance(result, str):
                problems[name] = result
                continue
            infos[name] = same.setdefault(result, result)
            for old in range(starts[row], starts[row + 1]):  # close the gaps: new ≤ old
                if len(file_rows) != old:
                    pixels[len(file_rows)] = pixels[old]
                several = settings.frames == "all" and result.frames > 1
                image_names.append(f"{name}#{old - starts[row] + 1}" if several else name)
                file_rows.append(row)
    count = len(file_rows)
    first = pixels.first(count) if isinstance(pixels, DiskArray) else pixels[:count]
    files = [names[row] for row in file_rows]
    whites = require_white(infos, settings)
    return Decoded(first, image_names, files, file_rows, infos, problems, whites)


def without(decoded: Decoded[DiskArray], left_out: Sequence[bool]) -> Decoded[DiskArray]:
    """Return `decoded` without some images. The rows of its array are moved up in place."""
    kept = [row for row, out in enumerate(left_out) if not out]
    if len(kept) == len(decoded.names):
        return decoded
    for new, old in enumerate(kept):
        if new != old:
            decoded.pixels[new] = decoded.pixels[old]
    return replace(
        decoded,
        pixels=decoded.pixels.first(len(kept)),
        names=[decoded.names[row] for row in kept],
        files=[decoded.files[row] for row in kept],
        rows=[decoded.rows[row] for row in kept],
    )


def _count_images(
    names: Sequence[str], file_of: FileOf, settings: PixelSettings
) -> tuple[list[int], dict[str, str]]:
    """Return the number of images of each file, 0 if it cannot be opened, and the reasons."""
    if settings.frames == "first":
        return [1] * len(names), {}

    def count(row: int) -> int:
        with open_frames(file_of(row), settings.max_pixels) as frames:
            return frames.count

    found = list(_in_threads(count, range(len(names)), "frames"))
    problems = {names[row]: why for row, why in enumerate(found) if isinstance(why, str)}
    return [0 if isinstance(result, str) else result for result in found], problems


def _decode(
    file: Path | IO[bytes],
    pixels: np.ndarray | DiskArray,
    rows: range,
    settings: PixelSettings,
) -> DecodedInfo:
    """Fill pixels[rows] with the first frames of a file. The range is that of all frames."""
    channels, size = pixels.shape[1:3]
    infos = []
    with open_frames(file, settings.max_pixels) as frames:
        for place, row in enumerate(rows):
            frame = frames.read(place)
            infos.append(describe(frame, frames.count, frames.count - len(rows)))
            pixels[row] = preprocess_frame(frame, size, channels, settings)
    largest = [info.largest for info in infos if info.largest is not None]
    return replace(infos[0], largest=max(largest, default=None))


def preprocess_frame(frame: Frame, size: int, channels: int, settings: PixelSettings) -> np.ndarray:
    """One frame → uint8 (channels, size, size). Raise ValueError as `preprocess_image`."""
    if frame.deep and settings.white not in (None, 2**16 - 1):
        raise ValueError("only 8 of 16 bits can be read, so data.white cannot be used; convert it")
    return preprocess_image(frame.content, size, channels, settings, orientation=frame.orientation)


def _in_threads(
    work: Callable[[int], Result], rows: Sequence[int], title: str
) -> Iterator[Result | str]:
    """Yield work(row) of each row in order, or the reason why its file cannot be read."""
    from tqdm import tqdm

    def attempt(row: int) -> Result | str:
        try:
            return work(row)
        except LatentlabError:  # the disk is full
            raise
        except Exception as error:  # Pillow's plugins raise any exception for damaged files
            return reason(error)

    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(rows), desc=title, unit="image", delay=1, disable=None) as bar,
    ):
        for start in range(0, len(rows), AHEAD):
            some = rows[start : start + AHEAD]
            for result in pool.map(attempt, some):
                yield result
                bar.update()
