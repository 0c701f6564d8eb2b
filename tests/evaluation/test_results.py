"""Results: what is written is read back, and invalid files raise an error."""

import json
import math

import pytest

from latentlab.evaluation.results import Figure, Result, read_result, write_result
from latentlab.utils.errors import LatentlabError

RESULT = Result(
    title="A title",
    summary="A summary.",
    metrics={"psnr_db": 20.5, "diverged": math.nan},
    table={"model": {"FID": 1.0}},
    figures=[Figure("samples", "A caption", lambda path: path.write_bytes(b"PNG"))],
    warnings=["collapsed: 3 of 10 classes"],
)


def test_a_result_is_read_back(tmp_path):
    write_result(RESULT, tmp_path / "denoising")
    stored = read_result(tmp_path / "denoising")
    assert (stored.name, stored.title, stored.summary) == ("denoising", "A title", "A summary.")
    assert stored.metrics["psnr_db"] == 20.5
    assert math.isnan(stored.metrics["diverged"])
    assert stored.table == RESULT.table
    assert stored.warnings == RESULT.warnings
    ((caption, path),) = stored.figures
    assert caption == "A caption"
    assert path.read_bytes() == b"PNG"


def test_the_name_of_a_task_is_that_of_its_folder(tmp_path):
    write_result(RESULT, tmp_path / "retrieval" / "result")
    assert read_result(tmp_path / "retrieval" / "result").name == "retrieval"


def test_an_existing_folder_is_not_overwritten(tmp_path):
    with pytest.raises(FileExistsError):
        write_result(RESULT, tmp_path)


@pytest.mark.parametrize("key", ["title", "summary", "metrics", "table", "warnings", "figures"])
def test_a_file_without_a_key_raises_an_error(key, tmp_path):
    write_result(RESULT, tmp_path / "task")
    content = json.loads((tmp_path / "task" / "result.json").read_text())
    del content[key]
    (tmp_path / "task" / "result.json").write_text(json.dumps(content))
    with pytest.raises(LatentlabError, match=r"not a stored result.*dvc repro -f"):
        read_result(tmp_path / "task")


def test_a_missing_file_raises_an_error(tmp_path):
    folder = tmp_path / "results" / "vae" / "novelty"
    with pytest.raises(LatentlabError, match=r"results/vae/novelty/result\.json is not"):
        read_result(folder)


def test_a_figure_cannot_leave_the_folder(tmp_path):
    write_result(RESULT, tmp_path / "task")
    content = json.loads((tmp_path / "task" / "result.json").read_text())
    content["figures"] = [["../../secret", "A caption"]]
    (tmp_path / "task" / "result.json").write_text(json.dumps(content))
    assert read_result(tmp_path / "task").figures[0][1] == tmp_path / "task" / "secret.png"
