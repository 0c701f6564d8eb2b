"""Downloads from a local server with faults."""

import http.server
import socket
import threading
import time
from collections import Counter

import pytest

from latentlab.data.download import download
from latentlab.utils.errors import LatentlabError

BODY = b"the complete file" * 1000


class FaultyServer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests[self.path] += 1
        first = self.server.requests[self.path] == 1
        if self.path == "/silent":
            time.sleep(1.5)
            return
        if self.path == "/gone" or (self.path == "/flaky" and first):
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.path == "/stalls":
            self.wfile.write(BODY[:100])
            self.wfile.flush()
            time.sleep(1.5)
            return
        self.wfile.write(BODY[: len(BODY) // 2] if self.path == "/short" and first else BODY)

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), FaultyServer) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def url(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server.requests = Counter()
    return f"http://127.0.0.1:{server.server_port}"


def verify(path) -> None:
    if path.read_bytes() != BODY:
        raise LatentlabError("is truncated")


@pytest.mark.parametrize("path", ["/good", "/flaky", "/short"])
def test_a_file_is_complete_after_retries(url, server, tmp_path, path) -> None:
    target = tmp_path / "new" / "file.gz"
    download([url + path], target, verify, pause_s=0)
    assert target.read_bytes() == BODY
    assert server.requests[path] == (1 if path == "/good" else 2)
    assert [file.name for file in target.parent.iterdir()] == ["file.gz"]


def test_the_next_mirror_is_tried(url, tmp_path) -> None:
    download([url + "/gone", url + "/good"], tmp_path / "file", verify)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_wrong_file_is_an_error_and_leaves_no_files(url, server, tmp_path) -> None:
    def refuse(_path) -> None:
        raise LatentlabError("has the wrong checksum")

    with pytest.raises(LatentlabError, match=r"file could not be downloaded \(.*wrong checksum"):
        download([url + "/good"], tmp_path / "file", refuse, pause_s=0)
    assert server.requests["/good"] == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "open_s", "read_s", "reason"),
    [("/silent", 0.3, 30, "no response within 0.3 s"), ("/stalls", 30, 0.3, "timed out")],
)
def test_a_server_without_response_is_an_error(url, tmp_path, path, open_s, read_s, reason) -> None:
    with pytest.raises(LatentlabError, match=reason):
        download([url + path], tmp_path / "f", verify, tries=1, open_s=open_s, read_s=read_s)
    assert not list(tmp_path.iterdir())


def test_an_unreachable_server_is_tried_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with pytest.raises(LatentlabError, match="could not be downloaded"):
        download([f"http://127.0.0.1:{port}/x"], tmp_path / "x", verify)
    assert waits == []


def test_an_unwritable_folder_is_an_error(tmp_path) -> None:
    (tmp_path / "file").write_text("a file instead of a folder")
    with pytest.raises(LatentlabError, match=r"cannot be written .* LATENTLAB_DATA"):
        download(["http://127.0.0.1:1/x"], tmp_path / "file" / "x", verify)
