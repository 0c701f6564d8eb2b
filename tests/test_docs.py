"""The documentation: its commands run, its links lead somewhere, its table equals the docstrings.

Lines of ```bash blocks and ```python blocks of README.md and docs/quick-start.md are executed in a
git repository with a small project of 8×8 digits. ```yaml blocks are parsed by the config classes.
Blocks without a language are not executed: they show output, or need a network, a server or a
cluster.
"""

import argparse
import contextlib
import json
import re
import shutil
import socket
import time
import tomllib
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import latentlab
from latentlab.cli.arguments import parser
from latentlab.config.project import SECTIONS, load_project
from latentlab.evaluation.model_card import describe

REPO = Path(__file__).parents[1]
README = REPO / "README.md"
PAGES = [README, *sorted((REPO / "docs").rglob("*.md")), REPO / "CONTRIBUTING.md"]
EXECUTED = [README, REPO / "docs" / "quick-start.md"]
CODE_FOLDERS = (REPO, REPO / "src" / "latentlab", REPO / "docs")
GENERATED = ("data/", "mlruns/", "reports/", "results/", "runs/", "site/", "my_", "path/")

# Lines that create the environment, run everything or serve a page: see the test of them.
NOT_EXECUTED = {"make repro", "make test", "make ui", "source .venv/bin/activate"}


def blocks(page, language):
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.S | re.M)


def shell_lines(page):
    """The commands of the ```bash blocks, without comments."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    commands = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    return [command for command in commands if command and not command.startswith("#")]


def code_spans(page):
    """Inline code, and the lines of the fenced blocks."""
    text = page.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.S | re.M)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))
    return [*inline, *(line for block in fenced for line in block.splitlines())]


def make_targets():
    return set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.M))


# --- commands and programs ---


def spend_little(project):
    """A short training of beta_vae. `tiny` has trained the other models that the pages use."""
    project.edit("configs/beta_vae.yaml", trainer__total_images=2000)
    models = {name: f"src/latentlab/models/{name}.py" for name in ("vae", "dcgan")}
    project.edit("params.yaml", models=models)


@pytest.fixture
def clone(fork, monkeypatch):
    """The trained project as a clone: a git repository, with DVC in its usual mode."""
    (fork.root / ".dvc" / "config.local").unlink()
    shutil.copy(REPO / ".dvc" / ".gitignore", fork.root / ".dvc")
    shutil.copy(REPO / ".gitignore", fork.root)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    run(fork, "git init --quiet")
    run(fork, "dvc commit --force --quiet")  # what `tiny` trained counts as reproduced
    spend_little(fork)
    run(fork, "git add --all && git commit --quiet --message start")
    return fork


def run(project, command):
    """Run a line of a shell. It must exit with 0."""
    process = project.start("bash", "-c", command)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, f"{command}\n{output}"
    return output


@pytest.mark.docs
def test_the_commands_and_programs_run(clone, capsys):
    output = {}
    for page in EXECUTED:
        for line in shell_lines(page):
            is_repeated = line in output and not line.startswith("git")
            if line not in NOT_EXECUTED and not is_repeated:
                output[line] = run(clone, line)
        for block in blocks(page, "python"):
            with contextlib.chdir(clone.root):
                exec(compile(block, str(page), "exec"), {})
    assert "evaluate@beta_vae" in output["dvc repro"]
    assert re.search(r"^vae +VAE", output["latentlab results"], re.M)
    assert (clone.root / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert "beta_vae" in output["latentlab select all"]
    assert "beta_vae" not in (clone.root / "params.yaml").read_text(), "git restored the file"
    assert "torch.Size([16, " in capsys.readouterr().out


SERVING = REPO / "docs" / "serving.md"


@pytest.fixture
def server(fork):
    """`latentlab serve` of the page, on a free port: its process, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (line,) = (block for block in blocks(SERVING, "bash") if "serve" in block)
    process = fork.start("bash", "-c", f"exec {line.replace('5001', str(port))}")
    try:
        for _ in range(240):
            assert process.poll() is None, process.stdout.read()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            time.sleep(0.5)
        yield process, port
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def quiet(block, port):
    """For the port, without curl's progress, which would stand between the lines of the answer."""
    return block.replace("curl ", "curl -sS ").replace("5001", str(port))


@pytest.mark.docs
def test_the_requests_of_the_page_about_serving_are_answered(server, fork):
    _, port = server
    sample, encode, misspelt = (
        json.loads(re.sub(r"^.*?(?=\{\")", "", run(fork, quiet(block, port)), flags=re.S))
        for block in blocks(SERVING, "bash")
        if "curl" in block
    )
    images = np.array(sample["predictions"])
    assert images.shape == (4, 1, 8, 8)
    vae = latentlab.load("vae", project=fork.root)
    np.testing.assert_allclose(images, vae.sample(4, seed=1).numpy(), atol=1e-5)
    codes = vae.encode(vae.sample(2)).numpy()
    np.testing.assert_allclose(np.array(encode["predictions"]), codes, atol=1e-4)
    assert "no param 'tsak' (did you mean 'task'?)" in misspelt["message"]
    assert not (fork.root / "mlflow.db").exists(), "MLflow's default store"


@pytest.mark.docs
def test_the_exports_of_the_page_about_serving_are_loaded(fork):
    for block in blocks(SERVING, "bash"):
        if "export" in block:
            run(fork, block)
    here = latentlab.load("vae", project=fork.root)
    there = latentlab.load(fork.root / "exported")
    assert torch.equal(there.sample(2), here.sample(2))
    assert (fork.root / "exported_programs" / "decode.pt2").is_file()


def test_lines_that_are_not_executed_run_in_ci():
    ci = (REPO / ".ci" / "run").read_text().splitlines()
    workflow = (REPO / ".github" / "workflows" / "ci.yml").read_text()
    for line in ("make repro", "make test"):
        assert any(command.startswith(line) for command in ci), line
        assert f"- run: {line}\n" in workflow
    assert "ui" in make_targets()
    assert "VENV := .venv" in (REPO / "Makefile").read_text()
    assert {line for page in EXECUTED for line in shell_lines(page)} | {"make ui"} >= NOT_EXECUTED


# --- settings ---


def settings_blocks():
    """The ```yaml blocks that have sections of params.yaml only, as parameters of a test."""
    found = []
    for page in PAGES:
        for block in blocks(page, "yaml"):
            if set(yaml.safe_load(block)) <= {"allow", *SECTIONS} - {"model", "sampler"}:
                found.append(pytest.param(block, id=f"{page.name}-{block.splitlines()[0][:20]}"))
    return found


@pytest.mark.parametrize("block", settings_blocks())
def test_the_settings_are_accepted(block, project):
    """Each block, put into params.yaml, is read without an error."""
    sections = yaml.safe_load(block)
    path = project.root / "params.yaml"
    content = yaml.safe_load(path.read_text())
    for section, values in sections.items():
        if section not in ("models", "tasks", "allow"):
            content[section] = (
                {**content[section], **values} if isinstance(values, dict) else values
            )
    path.write_text(yaml.safe_dump(content))
    loaded = load_project(project.root)
    for key, value in sections.get("data", {}).items():
        assert getattr(loaded.data, key) == value


def test_settings_of_all_pages_are_found():
    pages = {param.id.partition("-")[0] for param in settings_blocks()}
    assert {"README.md", "quick"} <= pages


def test_an_unknown_setting_is_not_accepted(project):
    """The check of the blocks can fail."""
    project.edit("params.yaml", data__folders="x")
    with pytest.raises(Exception, match="folders"):
        load_project(project.root)


# --- names ---


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_and_paths_exist(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"link to {target}"
            if page.parent != REPO:
                assert (page.parent / target).resolve().is_relative_to(REPO / "docs"), target
    for span in [*code_spans(page), *page.read_text().splitlines()]:
        for path in named_paths(span):
            assert any((folder / path).exists() for folder in CODE_FOLDERS), f"{path} in `{span}`"


def named_paths(span):
    """Paths of this repository in a piece of code: those that begin with one of its folders."""
    top = "bench|configs|docs|examples|findings|src|tests"
    inside = "|".join(p.name for p in (REPO / "src" / "latentlab").iterdir() if p.is_dir())
    found = re.findall(rf"(?<![\w./<>-])(?:{top}|{inside})/[\w./<>{{}}$-]+", span)
    found += re.findall(
        r"^(?:[A-Z]+|params|dvc|mkdocs|pyproject|requirements)\.(?:md|yaml|yml|toml|lock)$", span
    )
    return [
        path.rstrip(".")
        for path in found
        if not re.search(r"[<>{}$]|new|NAME|my_", path) and not path.startswith(GENERATED)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_make_targets_and_commands_exist(page):
    for span in code_spans(page):
        for target in re.findall(r"(?:^|[\s;])make ([a-z-]+)", span.partition("#")[0]):
            assert target in make_targets(), span
        for command, arguments in re.findall(r"(?:^|\s)latentlab ([a-z]+)([^#|]*)", span):
            assert_accepts(command, arguments, span)


def subparsers():
    (action,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return action.choices


def assert_accepts(command, arguments, span):
    assert command in subparsers(), span
    known = {option for a in subparsers()[command]._actions for option in a.option_strings}
    options = re.findall(r"(?:^|\s)(--?[a-z][\w-]*)", arguments)
    assert set(options) <= known, span


def test_the_site_has_every_page_and_loads_nothing_from_the_network():
    text = (REPO / "mkdocs.yml").read_text()
    config = yaml.safe_load(text)
    pages = {str(page.relative_to(REPO / "docs")) for page in (REPO / "docs").rglob("*.md")}
    assert set(re.findall(r"[\w/-]+\.md", text)) == pages
    assert config["theme"]["font"] is False
    assert "offline" not in config["plugins"], "it loads a script from unpkg.com"
    assert not {"extra_css", "extra_javascript"} & set(config)


def dependencies_of_the_page():
    """{package: (floor, pinned versions)} from the table of docs/dependencies.md."""
    found = {}
    for line in (REPO / "docs" / "dependencies.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 5 and cells[3] not in ("", "floor"):
            names, floors, pins = (cells[i].split(", ") for i in (0, 3, 4))
            floors = floors if len(floors) == len(names) else floors * len(names)
            pins = [[pin] for pin in pins] if len(pins) == len(names) else [pins]
            for name, floor, pinned in zip(names, floors, pins, strict=True):
                found[name] = (floor, {pin.split()[0] for pin in pinned})
    return found


def test_the_table_of_dependencies_equals_pyproject_and_the_lock():
    config = tomllib.loads((REPO / "pyproject.toml").read_text())
    groups = [config["project"]["dependencies"], *config["dependency-groups"].values()]
    requirements = {r.name: r for group in groups for r in map(Requirement, group)}
    table = dependencies_of_the_page()
    assert set(table) == set(requirements)
    lock = (REPO / "requirements.lock").read_text()
    for name, (floor, pinned) in table.items():
        floors = [s.version for s in requirements[name].specifier if s.operator == ">="]
        expected = floors[0] if floors else None
        assert (floor == "–") == (expected is None), name
        assert expected is None or Version(floor) == Version(expected), name
        assert pinned == set(re.findall(rf"^{name.lower()}==(\S+)", lock, re.M)), name


def test_the_api_pages_list_every_model():
    listed = re.findall(
        r"^::: latentlab\.models\.(\w+)$", (REPO / "docs/api/models.md").read_text(), re.M
    )
    assert listed == sorted(p.stem for p in (REPO / "src/latentlab/models").glob("[a-z]*.py"))


def test_the_readme_is_a_guide_of_120_lines():
    assert len(README.read_text().splitlines()) <= 120


def test_the_table_of_models_equals_the_docstrings():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", README.read_text(), re.M)
    files = {path.stem: path for path in (REPO / "src/latentlab/models").glob("[a-z]*.py")}
    del files["classifier"]  # not a generative model: its stage trains it
    assert [name for name, *_ in rows] == sorted(files)
    for name, title, paper, summary in rows:
        source = compile(files[name].read_text(), name, "exec")
        described = describe(source.co_consts[0])
        assert (title, summary) == (described.title, described.summary.rstrip(".")), name
        assert re.fullmatch(r".+ \d{4}", paper), name
        assert re.match(rf"{re.escape(paper)}[a-z]?,", described.papers[0]), name
