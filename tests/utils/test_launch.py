"""Launchers: which process is the main one, and how many processes were started."""

import os

import pytest

from latentlab.stages import __main__ as stages
from latentlab.utils import launch

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
JOB = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1"}
SRUN = {**JOB, "SLURM_STEP_ID": "0"}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    """Delete the variables of torchrun, srun and Lightning's launcher."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name.endswith(("RANK", "WORLD_SIZE")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("names", "main", "launched"),
    [
        ({}, True, None),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0", "WORLD_SIZE": "2"}, True, None),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, False, None),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, True, (1, 2)),
        ({**TORCHRUN, "RANK": "1", "LOCAL_RANK": "0"}, False, (1, 2)),
        ({**SRUN, "SLURM_PROCID": "0"}, True, (1, 2)),
        ({**SRUN, "SLURM_PROCID": "1"}, False, (1, 2)),
        ({**SRUN, "SLURM_PROCID": "1", "SLURM_JOB_NAME": "bash"}, True, None),
        ({**JOB, "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train.sh"}, True, None),
        ({**SRUN, **TORCHRUN, "SLURM_PROCID": "1", "RANK": "0"}, True, (1, 2)),
        ({**SRUN, **TORCHRUN, "SLURM_PROCID": "0", "RANK": "1"}, False, (1, 2)),
    ],
)
def test_one_process_is_the_main_one(monkeypatch, names, main, launched):
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert launch.is_main_process() == main
    assert launch.launched_processes() == launched


@pytest.mark.parametrize("stage", ["prepare", "evaluate", "report"])
def test_stage_of_one_process_runs_in_the_main_process_only(tmp_path, monkeypatch, capsys, stage):
    monkeypatch.chdir(tmp_path)  # no project, so a stage that runs exits with an error
    monkeypatch.setattr("latentlab.utils.memory.keep_freed_memory", lambda: True)
    monkeypatch.setattr("latentlab.tracking.start_worker", lambda: None)
    monkeypatch.setattr("sys.argv", ["stages", stage, *["vae"] * (stage == "evaluate")])
    for rank in "10":
        for name, value in {**TORCHRUN, "RANK": rank}.items():
            monkeypatch.setenv(name, value)
        if rank == "1":
            stages.main()
            assert capsys.readouterr() == ("", "")
        else:
            with pytest.raises(SystemExit) as stopped:
                stages.main()
            assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("names", "tasks"),
    [
        ({}, 0),
        (JOB, 2),
        (SRUN, 0),
        ({**SRUN, "SLURM_JOB_NAME": "bash"}, 2),
        ({**JOB, **TORCHRUN}, 0),
    ],
)
def test_the_tasks_of_a_job_that_srun_did_not_start(monkeypatch, names, tasks):
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert launch.tasks_without_srun() == tasks
