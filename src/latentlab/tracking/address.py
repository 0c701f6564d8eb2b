"""The address of the MLflow store, and a check of it before time is spent."""

from __future__ import annotations

import os
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from latentlab.utils.errors import LatentlabError

_PROBE_SECONDS = 5
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


def tracking_uri(root: Path) -> str:
    """Return $MLFLOW_TRACKING_URI, or the address of the database in the project `root`.

    $DVC_ROOT replaces `root` if it is set: `dvc exp run --queue` runs in a temporary copy of the
    project. Raises LatentlabError if an SQLite address cannot contain the path.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(root)


def check_store(root: Path) -> None:
    """Check the address of the store, and send one request to a server, with a time limit.

    Any HTTP status below 500 passes, because a server may require a login for every page. Raises
    LatentlabError for an address that MLflow does not accept, and with the server's address if the
    server does not answer within 6 s.
    """
    uri = tracking_uri(root)
    _require_supported(uri)
    if os.environ.get("MLFLOW_RUN_ID"):
        print("MLFLOW_RUN_ID is not used: each training and task is a run", file=sys.stderr)
    if not is_server(uri):
        return
    reasons: list[str] = []
    # in a thread, because a timeout does not cover the DNS lookup of the host name
    probe = threading.Thread(target=lambda: reasons.extend(_probe(uri)), daemon=True)
    probe.start()
    probe.join(_PROBE_SECONDS + 1)
    if probe.is_alive():
        reasons = [f"no answer in {_PROBE_SECONDS} s"]
    if reasons:
        raise LatentlabError(
            f"the tracking server {without_password(uri)} of MLFLOW_TRACKING_URI cannot be reached"
            f" ({reasons[0]}): start it (`mlflow server --host … --port …`), or"
            " `unset MLFLOW_TRACKING_URI` to use the database in the project"
        )


def _require_supported(uri: str) -> None:
    """Raise LatentlabError for a folder of files, which MLflow 3 refuses, and an unknown scheme."""
    scheme = urlsplit(uri).scheme or (uri if uri.startswith("databricks") else "")
    if scheme == "file" or len(scheme) < 2:  # C: is a folder of Windows
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
            return
        raise LatentlabError(
            f"MLFLOW_TRACKING_URI is the folder {uri}, and MLflow does not write into folders of"
            " files any more: move its runs into a database with `mlflow migrate-filestore`, and"
            " set MLFLOW_TRACKING_URI to it (sqlite:///PATH/mlflow.db). Or set"
            " MLFLOW_ALLOW_FILE_STORE=true to use the folder as it is"
        )
    if scheme.split("+")[0].removesuffix("-uc") not in SCHEMES:
        raise LatentlabError(
            f"MLFLOW_TRACKING_URI is {without_password(uri)}: MLflow has no store with {scheme}://."
            f" Addresses begin with {', '.join(SCHEMES)}. Correct it, or"
            " `unset MLFLOW_TRACKING_URI` to use the database in the project"
        )


def _probe(uri: str) -> Iterator[str]:
    """Yield the reason why the server does not answer. Yield nothing if it answers."""
    address = without_password(uri).rstrip("/") + "/health"
    try:
        urllib.request.urlopen(address, timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            if error.code >= 500:
                yield f"HTTP status {error.code}"
    except (OSError, ValueError) as error:  # ValueError: not a valid address
        yield str(getattr(error, "reason", error))


def sqlite_uri(root: Path) -> str:
    database = store_folder(root) / "mlflow.db"
    if forbidden := set("?%") & set(str(database)):
        raise LatentlabError(
            f"the project's folder {database.parents[1]} contains {min(forbidden)!r}, which is not"
            " allowed in an SQLite address: rename the folder, or set MLFLOW_TRACKING_URI to"
            " another store"
        )
    return f"sqlite:///{database}"


def store_folder(root: Path) -> Path:
    """Return the absolute path of the project's folder mlruns, also if it does not exist yet."""
    return Path(os.environ.get("DVC_ROOT") or root).resolve() / "mlruns"


def artifacts_uri(root: Path) -> str:
    """Return the address of the folder that holds the artifacts of a local store."""
    return (store_folder(root) / "artifacts").as_uri()


def is_server(uri: str) -> bool:
    """Return True if the store is an HTTP server."""
    return urlsplit(uri).scheme in ("http", "https")


def without_password(uri: str) -> str:
    """Return an address without its user name and password."""
    return re.sub(r"//[^/@]*@", "//", uri)
