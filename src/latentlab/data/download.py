"""Fetch one public file: time-outs, retries over mirrors, verified before it gets its name."""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from latentlab.contracts import LatentlabError

CHUNK_BYTES = 1 << 16


def download(
    urls: Sequence[str],
    target: Path,
    verify: Callable[[Path], object],
    *,
    tries: int = 3,
    open_s: float = 8.0,
    read_s: float = 15.0,
    pause_s: float = 1.0,
) -> None:
    """Write the file behind one of the mirrors `urls` to `target`, atomically and verified.

    `verify(path)` raises LatentlabError if the bytes are wrong. A round asks every mirror; further
    rounds (up to `tries`) follow only while some mirror answers, so that an offline machine learns
    it after one round: at most `open_s` seconds a mirror. `read_s` bounds each silence afterwards.

    Raises:
        LatentlabError: every attempt failed, with the reasons, or `target` cannot be written.
    """
    _need_writable(target.parent)
    reasons: dict[str, None] = {}  # a dict keeps the order and drops repetitions
    for attempt in range(tries):
        answered = False
        for url in urls:
            try:
                response = _open(url, open_s, read_s)
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError):
                    answered = True
                    error.close()  # it carries the open connection
                reasons[f"{url}: {error}"] = None
                continue
            answered = True
            try:
                return _store(response, target, verify)
            except (OSError, http.client.HTTPException, LatentlabError) as error:
                reasons[f"{url}: {error}"] = None
        if not answered:
            break
        if attempt < tries - 1:
            time.sleep(pause_s)
    raise LatentlabError(f"{target.name} could not be downloaded ({'; '.join(reasons)}).")


def file_md5(path: Path) -> str:
    """The MD5 of a file in hex: what the publishers of the older archives give; not for secrecy."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _open(url: str, open_s: float, read_s: float) -> http.client.HTTPResponse:
    """urlopen within `open_s`, name look-up included, which a socket time-out does not cover."""
    answer: queue.Queue[http.client.HTTPResponse | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=read_s))
        except Exception as error:  # handed to the waiting thread, which raises it
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        result = answer.get(timeout=open_s)
    except queue.Empty:
        raise TimeoutError(f"no answer within {open_s:g} s") from None
    if isinstance(result, Exception):
        raise result
    return result


def _need_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LatentlabError(
            f"{folder} cannot be written ({error}); make it writable, or let the environment "
            "variable LATENTLAB_DATA name another folder."
        ) from error


def _store(
    response: http.client.HTTPResponse, target: Path, verify: Callable[[Path], object]
) -> None:
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=target.name, dir=target.parent)
    partial = Path(name)
    try:
        with response, os.fdopen(handle, "wb") as file:
            _copy(response, file, target.name)
            file.flush()
            os.fsync(file.fileno())
        verify(partial)
        partial.chmod(0o644)  # mkstemp's 0600 would keep a shared data folder to one user
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _copy(response: http.client.HTTPResponse, file: IO[bytes], label: str) -> None:
    from tqdm import tqdm

    total = int(response.headers.get("Content-Length") or 0) or None
    with tqdm(total=total, unit="B", unit_scale=True, desc=label, disable=None) as bar:
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
