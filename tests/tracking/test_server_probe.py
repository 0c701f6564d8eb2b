"""Whether a tracking server answers: asked once, within seconds, before a training starts."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentlab import tracking
from latentlab.contracts import LatentlabError


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_server_that_answers_passes(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status) as place:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{place}/")
        tracking.check_store(tmp_path)


def test_a_broken_gateway_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(503) as place:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{place}")
        with pytest.raises(LatentlabError, match=rf"http://{place} .*503.*unset MLFLOW") as caught:
            tracking.check_store(tmp_path)
    assert "secret" not in str(caught.value)


def test_an_unreachable_server_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(LatentlabError, match=r"cannot be reached .*refused.*: start it"):
        tracking.check_store(tmp_path)


def test_a_silent_server_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking.store, "_PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(LatentlabError, match=r"cannot be reached \(.*timed out"):
            tracking.check_store(tmp_path)


def test_a_silent_name_server_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up of a name knows no time-out: the probe must not wait for it."""
    hang = threading.Event()

    def probe(uri: str) -> Iterator[str]:
        hang.wait(30)
        yield from ()

    monkeypatch.setattr(tracking.store, "_PROBE_SECONDS", -0.9)
    monkeypatch.setattr(tracking.store, "_probe", probe)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    with pytest.raises(LatentlabError, match="no answer"):
        tracking.check_store(tmp_path)
    hang.set()


@pytest.mark.parametrize("uri", ["postgresql://nowhere.invalid/db", "sqlite:////nowhere/x.db"])
def test_other_stores_are_not_probed(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking.check_store(tmp_path)


def test_a_failing_store_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{place}")
    with pytest.raises(LatentlabError, match=f"store http://{place} does not work") as caught:
        tracking.open_run(tmp_path, experiment="e", name="vae", params={}, tags={})
    assert "secret" not in str(caught.value)
