"""`make ui` in a real browser: the runs of three families, side by side."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from latentlab import tracking

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
FAMILIES = ("linear_ae", "vae", "dcgan")
METRICS = ("fid", "reconstruction_mse", "probe_accuracy", "train/loss")
# MLflow asks who is logged in, and a server without accounts answers 404: not ours to mend
IGNORED = "/ajax-api/2.0/mlflow/users/current"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: apt install chromium)"),
]


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, str]:
    """Ids by name of three finished runs with the same metrics, in the project `tmp_path`."""
    (tmp_path / "params.yaml").touch()
    Image.new("L", (48, 16), 200).save(tmp_path / "x.png")
    ids = {}
    for number, name in enumerate(FAMILIES):
        described = {"params": {"model": {"latent_dim": 8 + number}}, "tags": {}}
        run = tracking.open_run(tmp_path, experiment="digits", name=name, **described)
        for step in range(4):
            run.log({"train/loss": 1 / (1 + step + number)}, step)
        run.log_final(dict.fromkeys(METRICS[:3], number + 0.25))
        run.log_artifact(tmp_path / "x.png", "report")
        assert run.finish()
        ids[name] = run.id
    return ids


@pytest.fixture
def address(runs: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address that `python -m latentlab.tracking ui` prints, once it answers."""
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
                urllib.request.urlopen(url + "/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.25)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=20)


def test_runs_are_compared_side_by_side(address: str, runs: dict[str, str], tmp_path: Path) -> None:
    from playwright.sync_api import Page, Request, Route, expect, sync_playwright

    errors: list[str] = []
    outward: list[str] = []

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
        page.route(lambda url: not url.startswith((address, "data:", "blob:")), stop)

    def stop(route: Route, request: Request) -> None:
        outward.append(request.url)
        route.abort()

    experiment = tracking_client(tmp_path).get_run(runs["vae"]).info.experiment_id
    chosen = f"runs={quote(json.dumps([*runs.values()]))}&experiments=%5B%22{experiment}%22%5D"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        page = browser.new_page(viewport={"width": 1600, "height": 1400})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        watch(page)
        page.goto(f"{address}/#/compare-runs?{chosen}")
        expect(page.get_by_text("Comparing 3 Runs from 1 Experiment")).to_be_visible()
        for name in FAMILIES:
            expect(page.get_by_role("cell", name=name, exact=True)).to_be_visible()
        for name in METRICS:
            expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
        expect(page.get_by_text("2.25", exact=True).first).to_be_visible()  # dcgan's numbers
        page.goto(f"{address}/#/experiments/{experiment}/runs/{runs['vae']}/artifacts/report/x.png")
        picture = page.get_by_role("img", name="x.png")
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") == 48
        browser.close()
    assert errors == []
    assert outward == []


def tracking_client(root: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking.tracking_uri(root))
