"""The command that serves the interface; test_mlflow_ui.py opens it in a browser."""

from __future__ import annotations

import runpy
import socket
import sys
from pathlib import Path

import pytest

from latentlab import tracking
from latentlab.contracts import LatentlabError


def test_the_interface_listens_to_this_machine_only(tmp_path: Path) -> None:
    command = tracking.ui_command(tmp_path, 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"
    assert command[command.index("--backend-store-uri") + 1] == tracking.tracking_uri(tmp_path)


def test_the_interface_of_a_server_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "params.yaml").touch()
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@host/mlflow")
    tracking.ui.main(["ui"])
    assert capsys.readouterr().out.endswith(": https://host/mlflow\n")


def test_the_interface_needs_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LatentlabError, match=r"no params\.yaml in .* or above it"):
        tracking.ui.main(["ui"])


def test_the_command_line_tells_the_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tracking", "ui"])
    with pytest.raises(SystemExit, match=r"^2$"):
        runpy.run_module("latentlab.tracking", run_name="__main__")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no params.yaml in ")


def test_a_taken_port_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert tracking.ui.free_port(taken) > taken
