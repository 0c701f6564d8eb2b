"""MLflow's interface over the project's store, for this machine only."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from latentlab.tracking.errors import mistake
from latentlab.tracking.store import (
    artifacts_uri,
    is_server,
    open_store,
    shown,
    tracking_uri,
)


def ui_command(root: Path, port: int = 5000) -> list[str]:
    """The command that shows the store's runs on http://127.0.0.1:port, to this machine only."""
    uri = tracking_uri(root)
    return [
        *(sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri),
        *("--default-artifact-root", artifacts_uri(root)),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]


def main(argv: list[str] | None = None) -> None:
    """`python -m latentlab.tracking ui`: create or repair the store, print the address, serve.

    A tracking server has an interface of its own: only its address is printed. Raises
    LatentlabError outside of a project, if the store does not work, or if no port is free.
    """
    summary = (main.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser("python -m latentlab.tracking", description=summary)
    parser.add_argument("command", choices=["ui"])
    parser.parse_args(argv)
    here = Path.cwd()
    root = next((p for p in (here, *here.parents) if (p / "params.yaml").is_file()), None)
    if root is None:
        raise mistake(f"no params.yaml in {here} or above it: call this inside a project")
    uri = tracking_uri(root)
    if is_server(uri):
        print(f"the runs are on the server of MLFLOW_TRACKING_URI: {shown(uri)}")
        return
    with open_store(root):  # made under the lock, before `mlflow ui` makes it without one
        pass
    port = free_port(5000)
    print(f"MLflow: http://127.0.0.1:{port} (Ctrl-C stops it)", flush=True)
    os.execv(sys.executable, ui_command(root, port))


def free_port(first: int) -> int:
    """The first of the hundred ports from `first` that nothing listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise mistake(f"the ports {first} to {first + 99} are all in use: stop one of the servers")
