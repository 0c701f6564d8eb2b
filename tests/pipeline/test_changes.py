"""One process answers what `dvc dag` and `dvc status` answer."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from latentlab.pipeline.graph import changed_stages, read_graph, read_pipeline
from latentlab.pipeline.unchanged import MARGIN, PLACE, marks, read_unchanged
from latentlab.utils.errors import LatentlabError

STAGES = {
    "a": ("echo 1 > a", ["code"]),
    "b": ("mkdir -p b && cat a > b/x", ["a", "code"]),
    "c": ("cat a > c", ["a", "code", "file"]),
    "d": ("cat c > d", ["c"]),
    "e": ("cat c > e", ["c"]),
    "f": ("cat c > f", ["c"]),
}


@pytest.fixture
def project(pipeline):
    """A project whose stages have run; `c` watches a parameter."""
    root = pipeline(STAGES)
    (root / "code").mkdir()
    (root / "code" / "one.py").write_text("1")
    (root / "file").write_text("1")
    edit_stage(root, "c", params=["seed"])
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=root, check=True)
    return root


def edit_stage(root, name, **changes):
    content = yaml.safe_load((root / "dvc.yaml").read_text())
    content["stages"].setdefault(name, {}).update(changes)
    (root / "dvc.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_every_change_is_found_as_dvc_finds_it(project) -> None:
    graph, changed = read_pipeline(project)
    assert changed == set()
    assert graph == read_graph(project)

    edit_stage(project, "d", cmd="cat c >  d")  # another command
    edit_stage(project, "new", cmd="echo 1 > new", outs=["new"])  # never run
    (project / "e").unlink()  # a missing output
    (project / "f").write_text("2")  # an output that is not the one of the last run
    (project / "b" / "x").write_text("2")
    assert read_pipeline(project)[1] == {"b", "d", "e", "f", "new"} == changed_stages(project)

    (project / "params.yaml").write_text("seed: 1\n")
    assert "c" in read_pipeline(project)[1]
    (project / "params.yaml").write_text("seed: 0\n")
    assert "c" not in read_pipeline(project)[1]
    (project / "code" / "two.py").write_text("2")  # a file that several stages read
    shutil.rmtree(project / ".dvc" / "cache")
    assert read_pipeline(project)[1] == changed_stages(project) == {*STAGES, "new"}


def test_what_dvc_refuses_is_the_error_of_dvc(project) -> None:
    edit_stage(project, "d", outs=["e"])
    with pytest.raises(LatentlabError, match=r"`dvc dag --dot` failed: .*'e'"):
        read_pipeline(project)
    edit_stage(project, "d", outs=["d"], cmd=3)
    with pytest.raises(LatentlabError, match=r"`dvc dag --dot` failed"):
        read_pipeline(project)
    (project / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(LatentlabError, match=r"dvc\.yaml is missing or has no stages"):
        read_pipeline(project)


def test_without_a_change_of_any_file_dvc_is_not_asked(project, monkeypatch) -> None:
    (project / ".checkpoints").mkdir()
    (project / ".dvcignore").write_text(".checkpoints\n")  # as in all projects
    time.sleep(MARGIN)  # files that are as new as this could still change
    answer = read_pipeline(project)
    assert answer == (read_graph(project), set())

    def is_known() -> bool:
        return read_unchanged(project) is not None

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", None)
        assert read_pipeline(project) == answer

    cached = next(path for path in (project / ".dvc" / "cache").rglob("*") if path.is_file())
    watched = [project / name for name in ("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config")]
    watched += [cached, *(project / name for name in ("a", "b/x", "b", "code/one.py", "code"))]
    for path in watched:
        assert is_known()
        before = path.stat()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert not is_known(), path
        accept(project)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    assert not is_known()


def test_a_cut_list_of_the_files_in_use_stops_nothing(project) -> None:
    """A kill of DVC while it writes the list leaves an empty file."""
    (project / "code" / "one.py").write_text("2")
    place = project / ".dvc" / "tmp" / "rwlock"
    for content in ("", '{"write": {'):
        place.write_text(content)
        with pytest.raises(LatentlabError, match=r"`dvc status --json` failed: .*RWLock"):
            changed_stages(project)
        assert read_pipeline(project)[1] == {"a", "b", "c"} == changed_stages(project)


def accept(project) -> None:
    """Store the present times of all files, as if DVC had looked at them."""
    place = project / PLACE
    stored = json.loads(place.read_text())
    place.write_text(json.dumps({**stored, "marks": marks(stored["marks"])}))
