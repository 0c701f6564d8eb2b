"""Download one public file, with time-outs, retries, mirrors and verification."""

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

from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import flush

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
    """Download a file from one of the mirrors `urls`, verify it, and write it to `target`.

    The write is atomic. `verify(path)` raises LatentlabError if the content is wrong. One round
    tries every mirror. There are at most `tries` rounds, with a pause of `pause_s` seconds, and
    only one if no mirror responds. Time-outs in seconds: `open_s` to connect to a mirror, `read_s`
    between two blocks of data.

    Raises:
        LatentlabError: all attempts failed, or `target` cannot be written.
    """
    _need_writable(target.parent)
    reasons: dict[str, None] = {}  # ordered and without duplicates
    for attempt in range(tries):
        responded = False
        for url in urls:
            try:
                response = _open(url, open_s, read_s)
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError):
                    responded = True
                    error.close()  # the error contains the open connection
                reasons[f"{url}: {error}"] = None
                continue
            responded = True
            try:
                return _store(response, target, verify)
            except (OSError, http.client.HTTPException, LatentlabError) as error:
                reasons[f"{url}: {error}"] = None
        if not responded:
            break
        if attempt < tries - 1:
            time.sleep(pause_s)
    raise LatentlabError(
        f"{target.name} could not be downloaded ({'; '.join(reasons)}). Check the network."
    )


def file_md5(path: Path) -> str:
    """MD5 of a file in hex, for archives with a published MD5. It is not used for security."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _open(url: str, open_s: float, read_s: float) -> http.client.HTTPResponse:
    """Open a URL within `open_s` seconds. A socket time-out does not include the DNS look-up."""
    response: queue.Queue[http.client.HTTPResponse | Exception] = queue.Queue()

    def request() -> None:
        try:
            response.put(urllib.request.urlopen(url, timeout=read_s))
        except Exception as error:  # raised in the waiting thread
            response.put(error)

    threading.Thread(target=request, daemon=True).start()
    try:
        result = response.get(timeout=open_s)
    except queue.Empty:
        raise TimeoutError(f"no response within {open_s:g} s") from None
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
            f"{folder} cannot be written ({error}). Make it writable, or set the environment "
            "variable LATENTLAB_DATA to another folder."
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
            flush(file.fileno())
        verify(partial)
        partial.chmod(0o644)  # mkstemp creates 0600: only one user of a shared folder could read it
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
