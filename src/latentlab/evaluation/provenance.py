"""When a result was measured, and with what: shown on the comparison page."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latentlab.utils.versions import version_of


def provenance(run: Path, commit: str) -> dict[str, Any]:
    """Return time (UTC), commit, versions and MLflow run of a result of the run folder `run`.

    `commit`: the git commit of the code, empty if it is not known.
    """
    identifier = run / "mlflow_run_id"
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "versions": {
            "latentlab": version_of("latentlab"),
            "torch": version_of("torch"),
            "Python": platform.python_version(),
        },
        "mlflow_run_id": identifier.read_text().strip() if identifier.exists() else "",
    }
