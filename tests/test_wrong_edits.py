"""The runner of wrong edits on a package of one function, and what its list contains."""

import subprocess
import sys

import pytest
import yaml

from wrong_edits import EditError, apply_edit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses fork")
SOURCE = "def double(x):\n    return 2 * x\n\n\ndef forever():\n    while False:\n        pass\n"
TESTS = """
from sample.numbers import double, forever

def test_double():
    forever()
    assert double(0) == 0

def test_two():
    assert double(1) == 2
"""


def write(folder, *edits):
    """A project with one package and the given edits, each (old, new, tests)."""
    package = folder / "src" / "sample"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "numbers.py").write_text(SOURCE)
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-q'\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_numbers.py").write_text(TESTS)
    content = [
        {
            "file": "sample/numbers.py",
            "old": old,
            "new": new,
            "tests": [f"tests/{name}"],
            "why": new,
        }
        for old, new, name in edits
    ]
    (folder / "tests" / "wrong_edits.yaml").write_text(yaml.safe_dump({"edits": content}))


def run(repo, folder):
    command = [sys.executable, str(repo / "tests" / "wrong_edits.py"), "--root", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_an_edit_is_caught_if_a_named_test_fails(repo, tmp_path):
    write(tmp_path, ("2 * x", "3 * x", "test_numbers.py"))
    found = run(repo, tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 wrong edits, 0 problems" in found.stdout
    assert (tmp_path / "src" / "sample" / "numbers.py").read_text() == SOURCE


def test_everything_else_is_a_problem(repo, tmp_path):
    write(
        tmp_path,
        ("2 * x", "3 * x", "test_numbers.py::test_double"),
        ("2 * x", "2 *", "test_numbers.py"),
    )
    found = run(repo, tmp_path)
    assert found.returncode == 1
    assert "3 * x  NOT CAUGHT: no test fails. Add a test" in found.stdout
    assert "2 *  pytest ended with 2. A test must fail (1)." in found.stdout
    assert "2 wrong edits, 2 problems" in found.stdout


def test_tests_that_do_not_exist_are_named_before_any_test_runs(repo, tmp_path):
    write(
        tmp_path,
        ("2 * x", "3 * x", "test_numbers.py::test_absent[1]"),
        ("2 * x", "4 * x", "test_absent.py"),
    )
    found = run(repo, tmp_path)
    assert found.returncode == 1
    assert "3 * x: no test tests/test_numbers.py::test_absent[1]" in found.stderr
    assert "4 * x: no test tests/test_absent.py" in found.stderr
    assert not found.stdout


def test_the_tests_must_pass_without_an_edit(repo, tmp_path):
    write(tmp_path, ("2 * x", "3 * x", "test_numbers.py"))
    (tmp_path / "src" / "sample" / "numbers.py").write_text(SOURCE.replace("2 * x", "1 + 2 * x"))
    found = run(repo, tmp_path)
    assert found.returncode == 1
    assert "no edit  the tests fail without an edit" in found.stdout
    assert "1 wrong edits, 1 problems" in found.stdout


def test_all_texts_that_do_not_occur_once_are_named(repo, tmp_path):
    write(
        tmp_path,
        ("5 * x", "3 * x", "test_numbers.py"),
        ("2 * x", "3 * x", "test_numbers.py"),
        ("def", "class", "test_numbers.py"),
    )
    found = run(repo, tmp_path)
    assert found.returncode == 1
    assert "'5 * x' occurs 0 times. It must occur exactly once" in found.stderr
    assert "'def' occurs 2 times. It must occur exactly once" in found.stderr
    assert found.stdout == ""


def test_an_edit_that_changes_nothing_is_refused():
    with pytest.raises(EditError, match="changes nothing"):
        apply_edit("a b", "b", "b", file="c.py")


@pytest.fixture(scope="module")
def edits(repo):
    return yaml.safe_load((repo / "tests" / "wrong_edits.yaml").read_text())["edits"]


def test_each_player_of_each_gan_climbs_its_loss_in_one_edit(edits, repo):
    files = sorted((repo / "src" / "latentlab" / "models").glob("*.py"))
    games = [file for file in files if "latentlab.optim.adversarial" in file.read_text()]
    players = {(edit["file"], edit.get("player")) for edit in edits if edit.get("kind") == 1}
    assert len(games) == 11
    expected = {(f"latentlab/models/{game.name}", player) for game in games for player in "DG"}
    assert expected <= players


def test_each_kind_of_wrong_edit_and_each_folder_has_one(edits):
    assert {edit["kind"] for edit in edits if "kind" in edit} == set(range(1, 11))
    folders = {edit["file"].split("/")[1] for edit in edits}
    assert folders >= {"models", "losses", "optim", "metrics", "samplers", "evaluation"}
