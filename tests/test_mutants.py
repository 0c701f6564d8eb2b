"""The runner of mutation tests: which tests it names, and how it counts."""

import json
import random
from collections import defaultdict

import pytest

import mutants
from mutants import Score, bare, changed_lines, count, mirror_tests, source_files
from wrong_edits import Result, Run


def test_changed_lines_are_without_indentation_and_comments():
    source = "def f(x):\n    y = x + 1  # one more\n    return y\n"
    assert changed_lines(source, source.replace("+", "-")) == ("y = x + 1", "y = x - 1")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x.sum(dim= -1)", "x.sum(dim=-1)"),
        ("x[- 0]", "x[-0]"),
        ("f( 3, a - b)", "f(3, a - b)"),
        ("  x = 3 * (a - 1)  # why", "x = 3 * (a - 1)"),
    ],
)
def test_spaces_before_changed_numbers_are_removed(line, expected):
    assert bare(line) == expected


def test_a_folder_stands_for_its_files(repo):
    files = source_files(["losses", "metrics/kid"], src=repo / "src")
    assert "latentlab/losses/adversarial.py" in files
    assert files[-1] == "latentlab/metrics/kid.py"
    assert not [file for file in files if file.endswith("__init__.py")]
    with pytest.raises(SystemExit, match="loss is no file or folder of code"):
        source_files(["loss"], src=repo / "src")


def test_a_file_is_tested_by_its_mirror_and_by_what_the_settings_add(repo):
    more = {"metrics": ["tests/a.py"], "metrics/fid": ["tests/b.py"], "losses": ["tests/c.py"]}
    found = mirror_tests("latentlab/metrics/fid/frechet.py", more, root=repo)
    assert found == ("tests/metrics/fid/test_frechet.py", "tests/a.py", "tests/b.py")
    assert mirror_tests("latentlab/metrics/absent.py", {}, root=repo) == ()


def test_survivors_are_printed_unless_they_are_equivalent(capsys):
    scores = defaultdict(Score)
    for code, new in ((1, "a"), (2, "b"), (-24, "c"), (0, "d"), (0, "e")):
        run = Run(json.dumps(["f.py", 3, "old", new]), (), "f.py")
        count(scores, Result(run, code, 0.1, ""), {("f.py", "old", "e")})
    assert scores == {"f.py": Score(killed=3, survived=1, equivalent=1)}
    assert str(scores["f.py"]).startswith("75.0 % killed")
    assert capsys.readouterr().out == "f.py:3\n  - old\n  + d\n"


def test_the_interval_of_a_sample_holds_the_true_share_of_killed_mutants():
    generator, inside = random.Random(0), 0
    for _ in range(1000):
        killed = sum(generator.random() < 0.93 for _ in range(200))
        low, high = Score(killed, 200 - killed, equivalent=3).interval()
        inside += low <= 93 <= high
    assert 930 < inside < 970


def test_a_survivor_is_tested_by_the_wider_tests_of_its_folder(monkeypatch):
    """Killed and equivalent mutants, and files of a folder without wider tests, are not."""
    names = [("models/a.py", "1"), ("models/a.py", "2"), ("models/b.py", "3"), ("losses/c.py", "4")]
    wanted = [Run(json.dumps([f"latentlab/{f}", 1, "0", new]), ("own",)) for f, new in names]
    killed, asked = {"1"}, []

    def run_all(runs, *, root):
        for run in list(runs):
            new = json.loads(run.name)[3]
            asked.append((new, run.tests))
            yield Result(run, int(new in killed or run.tests == ("wide",)), 0.1, "")

    monkeypatch.setattr(mutants, "run_all", run_all)
    equivalent = {("latentlab/models/a.py", "0", "2")}
    found = list(mutants.results(wanted, {"models": ["wide"]}, equivalent))
    codes = {json.loads(result.run.name)[3]: result.code for result in found}
    assert codes == {"1": 1, "2": 0, "3": 1, "4": 0}
    assert asked[4:] == [("3", ("wide",))]


def test_tests_that_fail_without_a_mutant_are_refused(monkeypatch):
    def run_all(runs, *, root):
        yield from (Result(run, int(run.name == "bad"), 0.1, "why") for run in runs)

    monkeypatch.setattr(mutants, "run_all", run_all)
    mutants.require_passing_tests([Run("a", ("good",)), Run("b", ("good",))])
    with pytest.raises(SystemExit, match="bad fails without a mutant:\nwhy"):
        mutants.require_passing_tests([Run("a", ("good",)), Run("b", ("bad",))])
