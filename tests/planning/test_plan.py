"""Models and tasks of a goal, and the table of a plan."""

import pytest

from latentlab.config import load_task
from latentlab.config.goals import GOALS, find_goal, goal_lines
from latentlab.config.selection import model_names, task_names
from latentlab.planning.budget import Budget
from latentlab.planning.plan import Plan, candidates, plan_table
from latentlab.planning.probe import Cost
from latentlab.report.metrics import METRICS
from latentlab.utils.errors import LatentlabError

LABELLED = {
    *("anomaly_detection", "classification", "fine_tuning"),
    *("linear_svm", "pretraining", "retrieval"),
}


@pytest.mark.parametrize("name", GOALS)
def test_goals_name_models_tasks_and_columns_that_exist(repo, name) -> None:
    goal = GOALS[name]
    assert set(goal.models) <= set(model_names(repo))
    assert set(goal.tasks) <= set(task_names(repo))
    assert set(goal.columns) <= {metric.key for metric in METRICS}
    assert 4 <= len(goal.columns) <= 5


def test_a_misspelt_goal_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(LatentlabError, match="--goal is 'genrate'; did you mean 'generate'"):
        find_goal("genrate")
    with pytest.raises(LatentlabError, match="Choose one of: generate, reconstruct, features,"):
        find_goal("x")
    assert "  conv_ae            fast; codes are sampled from a mixture" in goal_lines()


def test_tasks_say_if_they_need_labels(repo) -> None:
    needs = {name for name in task_names(repo) if load_task(name, repo)[0].needs_labels}
    assert needs == LABELLED


def test_tasks_that_check_for_labels_say_so(repo) -> None:
    folder = repo / "src" / "latentlab" / "tasks"
    checks = {path.stem for path in folder.glob("*.py") if "require_classes(" in path.read_text()}
    assert checks == LABELLED


def test_without_labels_their_tasks_are_left_out(repo) -> None:
    why, tasks = candidates(repo, "features", 10)
    assert tasks == ["dimensionality_reduction", "retrieval", "linear_svm"]
    assert candidates(repo, "features", 0)[1] == ["dimensionality_reduction"]
    assert list(why)[:2] == ["linear_ae", "denoising_ae"]


def test_a_task_brings_its_model(repo) -> None:
    why, _ = candidates(repo, "anomalies", 2)
    assert "stacked_ae" in why


def test_without_a_goal_the_models_are_those_of_params(repo) -> None:
    why, tasks = candidates(repo, None, 10)
    assert why["vae"] == "Variational autoencoder"
    assert why["conv_ae"] == "Convolutional autoencoder, transposed convolutions"
    assert "anomaly_detection" in tasks


def plan(**values) -> Plan:
    cost = Cost(1e-4, 1e-5, 64, 40 * 1000, 40, True, False, False)
    seconds = {"prepare": 30.0, "train@vae": 60.0, "evaluate@vae": 30.0, "tasks@t": 60.0}
    epochs = {"vae": values.pop("epochs", 20)}
    return Plan(
        budget=Budget(epochs, seconds, ["dcgan", "ddpm"], enough=541.0),
        costs={"vae": cost},
        tasks=["t"],
        why={"vae": "a likelihood"},
        left_out={"conditional_gan": "no labels"},
        counts={},
        jobs=1,
    )


def test_the_table_has_a_row_for_each_model_and_the_whole_time() -> None:
    assert plan_table(plan(), 5).splitlines() == [
        "model         epochs  minutes  why",
        "vae         20 of 40      1.5  a likelihood",
        "t                         1.0  a task",
        "data, page                0.5  all models need it",
        "left out: conditional_gan: no labels",
        "left out: dcgan, ddpm: too slow for these minutes; --minutes 10 would do for all",
        "about 3.0 minutes in all, with one stage at a time on this machine; asked for: 5.",
    ]
    assert plan_table(plan(epochs=40), 5).endswith("asked for: 5. No training is shortened.")
    assert plan_table(plan(), None).endswith("on this machine.")


def test_values_of_the_config() -> None:
    assert plan().config_values("vae") == {"trainer.batch_size": 64, "trainer.max_epochs": 20}
    assert plan(epochs=40).config_values("vae") == {"trainer.batch_size": 64}
