"""`latentlab repro` on small DVC pipelines of shell commands."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from latentlab.pipeline.durations import Durations, usual_seconds
from latentlab.pipeline.graph import changed_stages, read_graph
from latentlab.pipeline.progress import Progress, clock
from latentlab.pipeline.scheduler import Scheduler, default_jobs, gpu_numbers
from latentlab.utils.errors import LatentlabError


def run(root, jobs=2, **options):
    graph = read_graph(root)
    pending = graph.with_all_users(changed_stages(root))
    progress = Progress(len(pending))
    options = {"devices": [], "progress": progress, **options}
    return Scheduler(graph, pending, root=root, jobs=jobs, **options).run()


def start_repro(root):
    command = [sys.executable, "-m", "latentlab.cli", "repro", "-j", "2", "--project", str(root)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(path) -> None:
    for _ in range(300):
        if path.exists() and path.read_text().strip():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} does not appear")


def is_alive(number: int) -> bool:
    """True if the process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


def test_stages_run_after_those_they_need_and_the_second_call_runs_nothing(pipeline) -> None:
    root = pipeline(
        {
            "a": ("echo 1 > a", []),
            "b": ("cat a > b", ["a"]),
            "c": ("cat a > c", ["a"]),
            "d": ("cat b c > d", ["b", "c"]),
        }
    )
    outcome = run(root)
    assert (outcome.ended[0], outcome.ended[-1]) == ("a", "d")
    assert sorted(outcome.ended) == ["a", "b", "c", "d"]
    assert (root / "d").read_text() == "1\n1\n"
    assert set(yaml.safe_load((root / "dvc.lock").read_text())["stages"]) == {"a", "b", "c", "d"}
    assert changed_stages(root) == set()


def test_two_jobs_run_at_the_same_time(pipeline) -> None:
    # each stage waits for the file of the other: with one job at a time, both would fail
    wait = "touch {0}.now; for i in $(seq 100); do [ -e {1}.now ] && break; sleep 0.1; done; "
    root = pipeline(
        {
            name: (wait.format(name, other) + f"[ -e {other}.now ] && echo 1 > {name}", [])
            for name, other in (("a", "b"), ("b", "a"))
        }
    )
    assert sorted(run(root).ended) == ["a", "b"]


def test_a_failure_stops_what_needs_it_and_nothing_else(pipeline, capfd) -> None:
    root = pipeline(
        {
            "bad": ("echo the reason; exit 7", []),
            "needs_bad": ("echo 1 > needs_bad", ["bad"]),
            "other": ("echo 1 > other", []),
            "last": ("echo 1 > last", ["other"]),
        }
    )
    outcome = run(root, jobs=1)
    assert list(outcome.failed) == ["bad"]
    assert outcome.skipped == ["needs_bad"]
    assert sorted(outcome.ended) == ["last", "other"]
    assert "the reason" in capfd.readouterr().err


def test_threads_are_one_and_a_gpu_is_given_to_each_job(pipeline, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    command = "echo $OMP_NUM_THREADS $CUDA_VISIBLE_DEVICES > {0}; sleep 1"
    root = pipeline({name: (command.format(name), []) for name in ("a", "b")})
    graph = read_graph(root)
    scheduler = Scheduler(
        graph, set(graph.needs), root=root, jobs=2, devices=["4", "6"], progress=Progress(2)
    )
    scheduler.run()
    found = sorted((root / name).read_text().split() for name in ("a", "b"))
    assert found == [["1", "4"], ["1", "6"]]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_all_stages(pipeline, number, code) -> None:
    root = pipeline({"a": ("echo $$ > started; sleep 60; echo 1 > a", [])})
    process = start_repro(root)
    wait_for(root / "started")
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert "stopped; the same command continues" in errors
    assert "failed" not in errors
    assert not is_alive(int((root / "started").read_text()))
    assert not (root / "a").exists()
    assert changed_stages(root) == {"a"}  # the lock of DVC is free


def test_a_second_signal_kills_a_stage_that_ignores_the_first(pipeline) -> None:
    root = pipeline({"a": ("trap '' INT TERM; echo $$ > started; sleep 60; sleep 60", [])})
    process = start_repro(root)
    wait_for(root / "started")
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert not is_alive(int((root / "started").read_text()))


def test_a_stage_whose_dvc_is_killed_has_failed_and_leaves_no_process(pipeline) -> None:
    kill = "echo $$ > started; kill -9 $PPID; sleep 60; echo 1 > a"
    root = pipeline({"a": (kill, []), "b": ("echo 1 > b", [])})
    outcome = run(root)
    assert outcome.failed == {"a": 137}
    assert outcome.ended == ["b"]
    assert not is_alive(int((root / "started").read_text()))


def test_an_error_of_the_scheduler_leaves_no_process(pipeline) -> None:
    long = "echo $$ > started; sleep 60; echo 1 > long"
    root = pipeline({"long": (long, []), "short": ("echo 1 > short", [])})

    def fail(_stage):
        wait_for(root / "started")
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(root, on_end=fail)
    assert not is_alive(int((root / "started").read_text()))


def test_a_project_without_stages_is_an_error(tmp_path, pipeline) -> None:
    root = pipeline({})
    with pytest.raises(LatentlabError, match=r"dvc\.yaml is missing or has no stages"):
        read_graph(root)


def test_durations_survive_and_a_damaged_file_is_ignored(tmp_path) -> None:
    path = tmp_path / "folder" / "seconds.json"
    Durations(path).note("train@vae", 12.349)
    assert Durations(path)["train@vae"] == 12.35
    assert Durations(path)["train@gan"] == usual_seconds("train@gan")
    assert (
        usual_seconds("train@linear_ae")
        < usual_seconds("train@of_my_own")
        < usual_seconds("train@gan")
    )
    assert usual_seconds("some_stage") > 0
    assert Durations(path)["train_seed@vae-1"] == 12.35, "as the first training"
    Durations(path).note("train_seed@vae-1", 14.0)
    assert Durations(path)["train_seed@vae-1"] == 14.0
    for damaged in ("{", "[]", '{"train@vae": "x"}', '{"train@vae": null}'):
        path.write_text(damaged)
        assert Durations(path)["train@vae"] > 0


def test_gpus_are_those_that_are_visible(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert gpu_numbers() == ["1", "3"]
    assert default_jobs(["1", "3"]) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 2,-1,3")
    assert gpu_numbers() == ["0", "2"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert gpu_numbers() == []
    assert default_jobs([]) >= 1


def test_a_clock_has_minutes_and_seconds() -> None:
    assert [clock(s) for s in (0, 59.6, 130, 3723)] == ["0:00", "1:00", "2:10", "1:02:03"]
