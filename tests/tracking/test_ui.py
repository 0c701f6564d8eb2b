"""The command that serves MLflow's web page, and the page in a real browser."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from latentlab import tracking
from latentlab.utils.errors import LatentlabError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
FAMILIES = ("linear_ae", "vae", "dcgan")
METRICS = ("fid", "kid", "reconstruction_mse", "probe_accuracy", "train/loss")
# MLflow's page asks for the current user; a server without accounts answers 404
IGNORED = "/ajax-api/2.0/mlflow/users/current"


def test_web_page_is_served_to_this_machine_only(tmp_path: Path) -> None:
    command = tracking.ui_command(tmp_path, 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"
    assert command[command.index("--backend-store-uri") + 1] == tracking.tracking_uri(tmp_path)


def test_address_of_a_tracking_server_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "params.yaml").touch()
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@host/mlflow")
    tracking.ui.main(["ui"])
    assert capsys.readouterr().out.endswith(": https://host/mlflow\n")


def test_ui_outside_a_project_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        LatentlabError, match=r"no params\.yaml in .* run this command in a project"
    ):
        tracking.ui.main(["ui"])


def test_command_prints_the_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tracking", "ui"])
    with pytest.raises(SystemExit, match=r"^2$"):
        runpy.run_module("latentlab.tracking", run_name="__main__")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no params.yaml in ")


def test_used_port_is_skipped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        used = server.getsockname()[1]
        assert tracking.ui.free_port(used) > used


# --- in a browser ---


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, str]:
    """The ids, by name, of three finished runs with the same metrics in the project `tmp_path`."""
    (tmp_path / "params.yaml").touch()
    Image.new("L", (48, 16), 200).save(tmp_path / "x.png")
    (tmp_path / "samples").mkdir()
    for percent in (50, 100):
        np.save(tmp_path / "samples" / f"{percent}.npy", np.full((16, 8, 8, 1), percent, np.uint8))
    ids = {}
    for number, name in enumerate(FAMILIES):
        arguments = {"params": {"model": {"latent_dim": 8 + number}}, "tags": {}}
        run = tracking.open_run(tmp_path, experiment="digits", name=name, **arguments)
        for step in range(4):
            run.log({"train/loss": 1 / (1 + step + number)}, step)
        run.log_final(dict.fromkeys(METRICS[:4], number + 0.25))
        run.log_artifact(tmp_path / "x.png", "report")
        run.log_images(tmp_path / "samples", key="samples")
        assert run.finish()
        ids[name] = run.id
    return ids


@pytest.fixture
def address(runs: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address that `python -m latentlab.tracking ui` prints. The server answers there."""
    command = [sys.executable, "-m", "latentlab.tracking", "ui"]
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(tracking.__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        for _ in range(240):
            try:
                urllib.request.urlopen(url.partition("#")[0] + "health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.25)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=20)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: apt install chromium)")
def test_page_compares_three_runs(address: str, runs: dict[str, str], tmp_path: Path) -> None:
    from playwright.sync_api import Page, Request, Route, expect, sync_playwright

    errors: list[str] = []
    requests_outside: list[str] = []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(f"{message.text} {message.location['url']}")
                if message.type == "error" and IGNORED not in message.location["url"]
                else None
            ),
        )
        page.route(
            lambda url: not url.startswith((address.partition("#")[0], "data:", "blob:")), stop
        )

    def stop(route: Route, request: Request) -> None:
        requests_outside.append(request.url)
        route.abort()

    experiment = tracking_client(tmp_path).get_run(runs["vae"]).info.experiment_id
    chosen = f"runs={quote(json.dumps([*runs.values()]))}&experiments=%5B%22{experiment}%22%5D"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        page = browser.new_page(viewport={"width": 1600, "height": 1400})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        watch(page)
        page.goto(address)  # the printed link
        for name in METRICS[:4]:
            expect(page.locator(f"[role=columnheader][col-id='metrics.`{name}`']")).to_be_visible()
        links = [page.get_by_role("link", name=name, exact=True) for name in FAMILIES]
        for link in links:
            expect(link).to_be_visible()
        tops = [box["y"] for link in links if (box := link.bounding_box())]
        assert tops == sorted(tops), "the lowest FID first"
        page.goto(f"{address}&compareRunsMode=CHART")
        expect(page.get_by_text("samples during training")).to_be_visible()
        expect(page.locator("img[src*='samples%2Bstep%2B100']").first).to_be_visible()
        server = address.partition("/#")[0]
        page.goto(f"{server}/#/compare-runs?{chosen}")
        expect(page.get_by_text("Comparing 3 Runs from 1 Experiment")).to_be_visible()
        for name in FAMILIES:
            expect(page.get_by_role("cell", name=name, exact=True)).to_be_visible()
        for name in METRICS:
            expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
        expect(page.get_by_text("2.25", exact=True).first).to_be_visible()  # a metric of dcgan
        page.goto(f"{server}/#/experiments/{experiment}/runs/{runs['vae']}/artifacts/report/x.png")
        figure = page.get_by_role("img", name="x.png")
        expect(figure).to_be_visible()
        assert figure.evaluate("image => image.naturalWidth") == 48
        browser.close()
    assert errors == []
    assert requests_outside == []


def tracking_client(root: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking.tracking_uri(root))
