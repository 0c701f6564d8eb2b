"""Whole or not at all: files and folders that never look finished before they are."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from latentlab.contracts import LatentlabError

try:
    import fcntl
except ImportError:  # Windows: two processes at once are then the user's to avoid
    fcntl = None  # type: ignore[assignment]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
FORBIDDEN = {errno.EACCES, errno.EPERM}


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; sync and rename it into place if all went well.

    A second process that wants the same folder waits; the last one to finish stays. Raises
    LatentlabError where the disk is full or read-only; the old folder is then as it was.
    """
    fresh = folder.with_name(f".{folder.name}.partial")
    with writing(folder), _alone_in(fresh):
        try:
            yield fresh
            for path in fresh.rglob("*"):
                if path.is_file():
                    sync(path)
            _take_place(fresh, folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part.

    Raises LatentlabError where the disk is full, read-only or not permitted.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Indented JSON with a closing newline."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in a LatentlabError that `path` cannot be written, where the disk is why."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save raises its own, with the disk's behind
        reason = _of_the_disk(error, path)
        if reason is None:
            raise
        raise LatentlabError(
            f"{path} cannot be written ({reason}): make room or choose a folder that can be"
            " written, then run the command again; what stood there before is unchanged"
        ) from error


def _of_the_disk(error: BaseException | None, path: Path) -> str | None:
    while error is not None:
        if isinstance(error, OSError):
            ours = str(error.filename or "").startswith(str(path.parent))
            if error.errno in FULL or (error.errno in FORBIDDEN and ours):
                return error.strerror
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _alone_in(fresh: Path) -> Iterator[None]:
    """Hold `fresh`, made and emptied, against other processes; the kernel frees it if we die."""
    while True:
        fresh.mkdir(parents=True, exist_ok=True)
        handle = os.open(fresh, os.O_RDONLY)
        try:
            if fcntl is not None:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is(handle, fresh):
                continue  # the one before us has renamed it meanwhile
            for rest in fresh.iterdir():  # of a killed process
                shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
            yield
            return
        finally:
            os.close(handle)


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _take_place(fresh: Path, folder: Path) -> None:
    """Rename `fresh` to `folder`; the old one steps aside first and comes back if that fails."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(fresh, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Make a file's content, or the renames in a folder, survive a power cut."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
