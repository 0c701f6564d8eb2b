"""Stages as jobs of submitit. Its local executor takes the place of SLURM."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from latentlab.config.settings import ClusterSettings
from latentlab.pipeline.cluster import Cluster, run_stage
from latentlab.pipeline.graph import changed_stages, read_graph
from latentlab.pipeline.progress import Progress
from latentlab.pipeline.scheduler import Scheduler
from latentlab.utils.errors import LatentlabError

SLOW = "trap 'echo yes > stopped; exit 1' TERM; echo 1 > on; sleep 60 & wait"


def wait_for(path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} does not appear")


def processes(text: str) -> list[int]:
    """The numbers of the processes whose command line contains `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_bytes().decode(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    return found


def job(root, stage="a"):
    cluster = Cluster("local", root / "cluster", minutes=5)
    return cluster.make_job(stage, root, root / "logs" / f"{stage}.log", {})


def ended(job) -> int:
    for _ in range(600):
        if (code := job.poll()) is not None:
            return code
        time.sleep(0.1)
    raise AssertionError(job.log.read_text())


def test_a_pipeline_runs_as_jobs_in_the_order_of_its_needs(pipeline) -> None:
    root = pipeline({"a": ("echo 1 > a", []), "b": ("cat a a > b", ["a"]), "c": ("exit 3", ["a"])})
    graph = read_graph(root)
    cluster = Cluster("local", root / "cluster")
    outcome = Scheduler(
        graph,
        graph.with_all_users(changed_stages(root)),
        root=root,
        jobs=3,
        devices=[],
        progress=Progress(3),
        make_job=cluster.make_job,
    ).run()
    assert outcome.ended == ["a", "b"]
    assert list(outcome.failed) == ["c"]
    assert (root / "b").read_text() == "1\n1\n"
    assert changed_stages(root) == {"c"}


def test_a_stage_sees_its_threads_but_no_launcher(pipeline, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    root = pipeline({"a": ('echo "$OMP_NUM_THREADS $SLURM_NTASKS." > a', [])})
    cluster = Cluster("local", root / "cluster", cpus=3)
    running = cluster.make_job("a", root, root / "a.log", {})
    assert ended(running) == 0
    assert (root / "a").read_text() == "3 .\n"
    assert running.has_run()
    assert not running.is_waiting


def test_a_cancelled_job_ends_its_stage(pipeline) -> None:
    root = pipeline({"a": (SLOW, [])})
    running = job(root)
    wait_for(root / "on")
    running.stop(signal.SIGINT)
    assert ended(running) == 128 + signal.SIGTERM
    wait_for(root / "stopped")


def test_a_job_that_disappears_is_a_failed_stage_with_a_sentence(pipeline) -> None:
    root = pipeline({"a": ("echo 1 > on; sleep 60", [])})
    running = job(root)
    wait_for(root / "on")
    for number in processes(str(root / "cluster")):  # as if the machine had failed
        os.kill(number, signal.SIGKILL)
    assert ended(running) == 1
    assert "has ended without a result" in running.tail()
    assert not running.try_again()


def test_a_stage_that_is_asked_to_stop_passes_it_on(pipeline) -> None:
    root = pipeline({"a": (SLOW, [])})
    code = f"""
import sys
from pathlib import Path
from latentlab.pipeline.cluster import run_stage
root = Path({str(root)!r})
sys.exit(run_stage("a", root, root / "a.log", {{}}))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_for(root / "on")
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert (root / "stopped").exists()


def test_the_environment_of_the_launcher_is_back_afterwards(pipeline, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    root = pipeline({"a": ("echo 1 > a", [])})
    assert run_stage("a", root, root / "a.log", {}) == 0
    assert os.environ["SLURM_JOB_ID"] == "7"


def test_no_slurm_and_no_submitit_are_errors_in_words(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LatentlabError, match="finds no `srun`"):
        Cluster("slurm", tmp_path)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(LatentlabError, match=r"pip install 'latentlab\[cluster\]'"):
        Cluster("local", tmp_path)


@pytest.mark.parametrize("key", ["cpus", "memory_gb", "minutes", "jobs"])
def test_resources_are_checked(key) -> None:
    with pytest.raises(LatentlabError, match=rf"hardware.cluster.{key} is 0; it must be ≥ 1"):
        ClusterSettings(**{key: 0})


def test_jobs_that_wait_in_the_queue_are_shown_apart_from_running_ones() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)

    def shown(is_waiting):
        job = SimpleNamespace(
            stage="train@vae", is_waiting=is_waiting, fraction=lambda: None, seconds=3.0
        )
        progress = Progress(5, console)
        with progress:
            progress.show([job], lambda: 60.0)
            with console.capture() as captured:
                console.print(progress.live.get_renderable())
        return captured.get()

    assert "1 waiting in the queue" in shown(True)
    assert "waiting" in shown(True).splitlines()[1]
    assert "waiting" not in shown(False)
