"""Places of output that cannot be written: the message names the path that the user gave."""

import errno
import subprocess
import sys

import pytest

from latentlab.cli import main
from latentlab.planning.new_folder import new_folder
from latentlab.utils.errors import LatentlabError

PROC = pytest.mark.skipif(sys.platform != "linux", reason="/proc and /dev/full are of Linux")
ENDINGS = {"sample": "png", "reconstruct": "png", "anomalies": "png", "encode": "npz",
           "compress": "latentz"}  # fmt: skip


def command(name, out, folder):
    """A command line that writes to `out`. `folder`: exists, with a file."""
    return {
        "init": ["init", out],
        "shard": ["shard", folder, out],
        "decompress": ["decompress", folder / "file", "-o", out],
        "sample": ["sample", "vae", "-o", out],
        "export": ["export", "vae", "-o", out],
    }.get(name, [name, "vae", folder, "-o", out])


@pytest.fixture
def fails(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tiny.root)
    (tmp_path / "file").touch()

    def call(name, out):
        with pytest.raises(SystemExit) as stopped:
            main([str(each) for each in command(name, out, tmp_path)])
        assert stopped.value.code == 2
        return capsys.readouterr().err

    return call


@PROC
@pytest.mark.parametrize("name", [*ENDINGS, "decompress", "export", "init", "shard"])
def test_a_place_where_nothing_can_be_written(fails, name):
    out = f"/proc/new/x.{ENDINGS[name]}" if name in ENDINGS else "/proc/new/x"
    expected = f"error: {out} cannot be written (No such file or directory). Choose a path in a"
    assert fails(name, out).startswith(expected)


@pytest.mark.parametrize("name", [*ENDINGS, "decompress", "export", "init", "shard"])
def test_a_file_in_place_of_a_folder(fails, tmp_path, name):
    out = tmp_path / "file" / f"x.{ENDINGS.get(name, '')}".rstrip(".")
    assert f"{out} cannot be written: {tmp_path / 'file'} is a file. Choose" in fails(name, out)


@pytest.mark.parametrize("name", ENDINGS)
def test_a_folder_in_place_of_a_file(fails, tmp_path, name):
    out = tmp_path / f"x.{ENDINGS[name]}"
    out.mkdir()
    assert f"{out} is a folder: give the name of a new .{ENDINGS[name]} file" in fails(name, out)


@pytest.mark.parametrize("name", ["export", "decompress"])
def test_a_folder_that_exists(fails, tmp_path, name):
    assert f"{tmp_path} exists already: choose a new folder with -o" in fails(name, tmp_path)


@PROC
@pytest.mark.parametrize("argv", [["results", "--csv"], ["compare", "vae", "dcgan"]])
def test_a_full_disk_behind_the_standard_output(tiny, argv):
    with open("/dev/full", "w") as full:
        ran = run_in(tiny, argv, stdout=full)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: the output cannot be written (No space left on device)")
    assert ran.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of Unix")
def test_a_closed_standard_output_is_no_traceback(tiny):
    line = 'exec "$0" -m latentlab "$@" >&-'
    ran = run_in(tiny, ["results"], start=["sh", "-c", line, sys.executable])
    assert (ran.returncode, ran.stderr) == (0, "")


def run_in(project, argv, start=(sys.executable, "-m", "latentlab"), stdout=None):
    return subprocess.run(
        [*start, *argv],
        cwd=project.root,
        env=project.environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", ["new", "."])
def test_a_project_that_does_not_fit_the_disk_is_removed_if_its_folder_is_new(tmp_path, name):
    folder = tmp_path / name

    @new_folder(folder)
    def write():
        (folder / "configs").mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LatentlabError, match="No space left on device") as stopped:
        write()
    assert str(stopped.value).startswith(f"{folder} cannot be written")
    assert folder.exists() == ("left in it: remove them" in str(stopped.value)) == (name == ".")
