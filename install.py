"""Install the packages of requirements.lock into .venv: `make setup` runs it with .venv's Python.

uv installs them several times faster than pip. It is one of the packages of requirements.lock, so
its hash is checked as well. If uv cannot be had or fails, pip installs the rest. The index and the
certificates of pip's settings are used for both.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

LOCK = Path(__file__).parent / "requirements.lock"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
SIZE = "7 GB"
VARIABLES = {  # setting of pip → (variable of uv, what separates several values)
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "proxy": ("ALL_PROXY", " "),
}
COMPILED = "torch, lightning, mlflow, dvc.cli, dvc.repo, sklearn.manifold, matplotlib.figure"


def main() -> None:
    print(f"installing {SIZE} of packages into {sys.prefix}: some minutes", flush=True)
    if not install_by_uv():
        subprocess.run([*PIP, "install", "--quiet", "--require-hashes", "-r", LOCK], check=True)
    # compile once what every stage imports: uv does not, and the first stages would do it in each
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", f"import {COMPILED}"], env=environment, check=True)


def install_by_uv() -> bool:
    """Return False if pip has to install the packages."""
    uv = find_uv()
    if uv is None:
        return False
    settings = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout
    own = pip_settings(settings)
    with tempfile.TemporaryDirectory(prefix="uv-", dir=sys.prefix) as cache:
        environment = uv_environment(own, os.environ, Path(cache))
        done = subprocess.run(
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "-r",
                LOCK,
                "--python",
                sys.executable,
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    if done.returncode:
        print("uv could not install the packages; pip tries it, which takes longer", flush=True)
    return done.returncode == 0


def find_uv() -> str | None:
    """Return the program uv: of PATH, or installed now with its hash checked; None without it."""
    if (found := shutil.which("uv")) is not None:
        return found
    block = locked(LOCK.read_text(encoding="utf-8"), "uv")
    if block is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uv.txt"
        path.write_text(block, encoding="utf-8")
        done = subprocess.run([*PIP, "install", "--quiet", "--require-hashes", "-r", path])
    return (
        shutil.which("uv", path=str(Path(sys.executable).parent)) if not done.returncode else None
    )


def locked(lock: str, name: str) -> str | None:
    """Return the lines of one package in requirements.lock, hashes included; None without it."""
    found = re.search(rf"^{re.escape(name)}==[^\n]*(\n[ \t]+[^\n#]*)*", lock, re.MULTILINE)
    return found[0].rstrip(" \\\n") + "\n" if found else None


def pip_settings(listed: str) -> dict[str, str]:
    """Parse `pip config list`. The environment wins over [install], and that over [global]."""
    ranked: dict[str, tuple[int, str]] = {}
    for line in listed.splitlines():
        place, _, value = line.partition("=")
        section, _, key = place.rpartition(".")
        rank = {"global": 0, "install": 1, ":env:": 2}.get(section, -1)
        if rank >= ranked.get(key, (0, ""))[0] and value:
            ranked[key] = (rank, str(ast.literal_eval(value)))
    return {key: value for key, (_, value) in ranked.items()}


def uv_environment(
    settings: Mapping[str, str], environment: Mapping[str, str], cache: Path
) -> dict[str, str]:
    """Return the environment of uv, which does not read pip's settings. The user's variables win.

    `cache`: used if the user has no cache of uv. It lies beside the packages, so that they are
    linked and not copied, and it is removed afterwards.
    """
    chosen = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # as pip; hashes decide what is accepted
    for key, (variable, separator) in VARIABLES.items():
        if values := settings.get(key, "").split():
            chosen[variable] = separator.join(values)
    usual = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
    if not usual.is_dir():
        chosen["UV_CACHE_DIR"] = str(cache)
    return {**chosen, **environment}


if __name__ == "__main__":
    main()
