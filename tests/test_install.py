"""install.py, which `make setup` runs: settings of pip for uv. Nothing is installed here."""

import importlib.util
import os
import subprocess
import sys

import pytest

LOCK = """# made by uv
torch==2.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via latentlab
uv==0.9.1 ; sys_platform == 'linux' \\
    --hash=sha256:cc \\
    --hash=sha256:dd
    # via latentlab:dev
uvicorn==1.0 \\
    --hash=sha256:ee
"""


@pytest.fixture
def install(repo):
    spec = importlib.util.spec_from_file_location("install", repo / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_package_of_the_lock_with_its_hashes(install) -> None:
    assert install.locked(LOCK, "uv").splitlines() == [
        "uv==0.9.1 ; sys_platform == 'linux' \\",
        "    --hash=sha256:cc \\",
        "    --hash=sha256:dd",
    ]
    assert install.locked(LOCK, "pip") is None


def test_pip_reads_a_block_of_our_lock(install, repo, tmp_path) -> None:
    block = install.locked((repo / "requirements.lock").read_text(), "filelock")
    assert block.startswith("filelock==")
    assert block.count("--hash=sha256:") >= 2
    assert not block.rstrip().endswith("\\")


def test_the_environment_wins_over_the_files_of_pip(install) -> None:
    listed = (
        ":env:.index-url='https://c/simple'\n"
        "global.cert='/certs.pem'\n"
        "global.index-url='https://a/simple'\n"
        "install.index-url='https://b/simple'\n"
    )
    assert install.pip_settings(listed) == {"index-url": "https://c/simple", "cert": "/certs.pem"}
    assert install.pip_settings("") == {}


def test_pip_prints_what_is_parsed(install, tmp_path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nextra-index-url =\n    https://a/\n    https://b/\n"
    )
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={**os.environ, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_TIMEOUT": "7"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    settings = install.pip_settings(listed)
    assert settings["extra-index-url"].split() == ["https://a/", "https://b/"]
    assert settings["timeout"] == "7"


def test_uv_gets_the_settings_of_pip_and_a_cache_of_its_own(install, tmp_path) -> None:
    settings = {"find-links": "/a /b", "extra-index-url": "https://a\nhttps://b", "cert": "/c.pem"}
    environment = {"XDG_CACHE_HOME": str(tmp_path), "SSL_CERT_FILE": "/mine.pem"}
    found = install.uv_environment(settings, environment, tmp_path / "cache")
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert found["UV_INDEX"] == "https://a https://b"
    assert found["SSL_CERT_FILE"] == "/mine.pem"  # the user's own
    assert found["UV_CACHE_DIR"] == str(tmp_path / "cache")
    (tmp_path / "uv").mkdir()
    assert "UV_CACHE_DIR" not in install.uv_environment(settings, environment, tmp_path / "cache")


def test_without_uv_pip_installs(install, monkeypatch) -> None:
    monkeypatch.setattr(install, "find_uv", lambda: None)
    assert not install.install_by_uv()
