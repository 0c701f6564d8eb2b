"""When a result was measured, and with what: shown on the comparison page."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def provenance(run: Path, commit: str) -> dict[str, Any]:
    """Return time (UTC), commit, versions and MLflow run of a result of the run folder `run`.

    `commit`: the git commit of the code, empty if it is not known.
    """
    identifier = run / "mlflow_run_id"
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "versions": {
            "latentlab": _version("latentlab"),
            "torch": _version("torch"),
            "Python": platform.python_version(),
        },
        "mlflow_run_id": identifier.read_text().strip() if identifier.exists() else "",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # the source folder is on the path, and nothing is installed
        return "–"
