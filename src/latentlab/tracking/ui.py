"""`python -m latentlab.tracking ui`: MLflow's web page with the runs of the project."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from latentlab.tracking.address import artifacts_uri, is_server, tracking_uri, without_password
from latentlab.tracking.store import open_store
from latentlab.tracking.view import TAG, view_address
from latentlab.utils.errors import LatentlabError


def ui_command(root: Path, port: int = 5000) -> list[str]:
    """Return the command that serves http://127.0.0.1:port. Other machines cannot reach it."""
    uri = tracking_uri(root)
    return [
        *(sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri),
        *("--default-artifact-root", artifacts_uri(root)),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]


def main(argv: list[str] | None = None) -> None:
    """Create or update the project's store, print the address, and serve MLflow's web page.

    If MLFLOW_TRACKING_URI is a tracking server, only its address is printed. Raises
    LatentlabError outside a project, if the store does not work, or if no port is free.
    """
    summary = (main.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser("python -m latentlab.tracking", description=summary)
    parser.add_argument("command", choices=["ui"])
    parser.parse_args(argv)
    here = Path.cwd()
    root = next((p for p in (here, *here.parents) if (p / "params.yaml").is_file()), None)
    if root is None:
        raise LatentlabError(
            f"no params.yaml in {here} or the folders above it: run this command in a project"
        )
    if is_server(tracking_uri(root)):
        print(f"the runs are on the server of MLFLOW_TRACKING_URI: {where_runs_are(root)}")
        return
    with open_store(root) as client:  # creates the database under the lock; `mlflow ui` has none
        experiments = newest_experiment(client)
    port = free_port(5000)
    address = f"http://127.0.0.1:{port}"
    for experiment in experiments:
        address = view_address(address, experiment)
    print(f"MLflow: {address} (Ctrl-C stops it)", flush=True)
    os.execv(sys.executable, ui_command(root, port))


def where_runs_are(root: Path) -> str:
    """The address of the runs on a server, or the command that serves the project's store.

    Both show the columns of view.py. A server that does not answer has its own address only.
    """
    uri = tracking_uri(root)
    if not is_server(uri):
        return "python -m latentlab.tracking ui"
    address, experiments = without_password(uri), []
    with suppress(LatentlabError), open_store(root) as client:
        experiments = newest_experiment(client)
    return view_address(address, experiments[0]) if experiments else address


def newest_experiment(client: Any) -> list[str]:
    """Return the id of the experiment that changed last, of those with the view; else nothing."""
    found = client.search_experiments(order_by=["last_update_time DESC"])
    return [experiment.experiment_id for experiment in found if TAG in experiment.tags][:1]


def free_port(first: int) -> int:
    """Return the first free port from `first` to `first + 99`. Raises LatentlabError if none is."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise LatentlabError(
        f"all ports from {first} to {first + 99} are in use: stop one of the servers"
    )
