"""Write files and folders that appear complete or not at all; say how a file is damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from latentlab.utils.errors import LatentlabError

try:
    import fcntl
except ImportError:  # Windows has no flock: do not run two writers of one folder at once
    fcntl = None  # type: ignore[assignment]

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
PERMISSION_ERRORS = {errno.EACCES, errno.EPERM}
NO_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder. After the block it is synced and replaces `folder`.

    If the block raises, `folder` is unchanged. A second process that writes the same folder waits;
    the last one replaces the others. Raises LatentlabError if the disk is full or read-only.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    with disk_errors_reported(folder), _locked_empty_folder(partial):
        try:
            yield partial
            for path in partial.rglob("*"):
                if path.is_file():
                    sync(path)
            _replace_folder(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`. A reader sees the old file or the new one, never a part of it.

    Raises LatentlabError if the disk is full or read-only, or the folder is not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors_reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                flush(file.fileno())
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON that ends with a newline."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write NumPy arrays as a compressed .npz file, without pickle. Equal arrays: equal bytes."""
    import numpy as np

    with path.open("wb") as file:  # NumPy gives all members of the archive the same date
        np.savez_compressed(file, allow_pickle=False, **dict(sorted(arrays.items())))


@contextmanager
def disk_errors_reported(path: Path) -> Iterator[None]:
    """Raise LatentlabError that names `path`, if a full or read-only disk stopped the block."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError from an OSError
        reason = _disk_error(error, path)
        if reason is None:
            raise
        raise LatentlabError(
            f"{path} cannot be written ({reason}), and its old content is unchanged. Free disk"
            " space or choose a writable folder, then run the command again"
        ) from error


def _disk_error(error: BaseException | None, path: Path) -> str | None:
    """Return the system's reason, if the error or one of its causes is about the disk of `path`."""
    while error is not None:
        if isinstance(error, OSError):
            inside = str(error.filename or "").startswith(str(path.parent))
            if error.errno in DISK_ERRORS or (error.errno in PERMISSION_ERRORS and inside):
                return error.strerror
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _locked_empty_folder(folder: Path) -> Iterator[None]:
    """Create and empty the folder, and lock it. The lock ends with the process."""
    if fcntl is None:  # Windows opens no folders
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield
        return
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # the file system has no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_same(handle, folder):
                continue  # another process has renamed the folder in the meantime
            for leftover in folder.iterdir():  # from a killed process
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield
            return
        finally:
            os.close(handle)


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _replace_folder(source: Path, folder: Path) -> None:
    """Rename `source` to `folder`. The old folder is renamed first, and back if that fails."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(source, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Flush the content of a file, or the renames in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    handle = os.open(path, os.O_RDONLY)
    try:
        flush(handle)
    finally:
        os.close(handle)


def flush(handle: int) -> None:
    """os.fsync. Some network shares refuse it: when data reach the disk is then their decision."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise


def damage(path: Path, error: Exception) -> str:
    """What is wrong with a file of tensors, if `error` stopped reading it, without a full stop."""
    if path.stat().st_size == 0:
        return "the file is empty"
    lines = [line.strip() for line in str(error).splitlines()]
    if lines and isinstance(error, ValueError):
        return lines[0]
    if len(lines) > 1 and lines[0].startswith("Error(s) in loading"):  # of load_state_dict
        return lines[1][:300].rstrip(". ")
    return "the file is truncated, damaged or no file of tensors"
