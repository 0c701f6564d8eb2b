"""The order of the stages, and which of them must run."""

import pytest

from latentlab.pipeline.graph import Graph
from latentlab.utils.errors import LatentlabError

GRAPH = Graph(
    {
        "prepare": frozenset(),
        "train@vae": frozenset({"prepare"}),
        "train@gan": frozenset({"prepare"}),
        "evaluate@vae": frozenset({"prepare", "train@vae"}),
        "evaluate@gan": frozenset({"prepare", "train@gan"}),
        "report": frozenset({"evaluate@vae", "evaluate@gan"}),
    }
)


def test_a_target_brings_all_that_it_needs_and_nothing_else() -> None:
    assert list(GRAPH.select(["evaluate@vae"]).needs) == ["prepare", "train@vae", "evaluate@vae"]


def test_a_foreach_without_a_name_is_all_its_stages() -> None:
    assert list(GRAPH.select(["train"]).needs) == ["prepare", "train@vae", "train@gan"]


def test_all_that_uses_a_changed_stage_may_have_to_run() -> None:
    assert GRAPH.with_all_users(["train@gan"]) == {"train@gan", "evaluate@gan", "report"}
    assert GRAPH.with_all_users([]) == set()


def test_an_unknown_stage_names_the_nearest() -> None:
    with pytest.raises(LatentlabError, match=r"'evalute@vae' is not a stage\. .*'evaluate@vae'"):
        GRAPH.select(["evalute@vae"])


def test_other_seeds_are_a_group_and_no_part_of_the_first_training() -> None:
    needs = {
        "train@vae": [],
        "train_seed@vae-1": ["train@vae"],
        "train_seed@vae-2": ["train@vae"],
        "evaluate@vae": ["train@vae"],
        "evaluate_seed@vae-1": ["train_seed@vae-1"],
    }
    graph = Graph({stage: frozenset(before) for stage, before in needs.items()})
    assert list(graph.select(["evaluate@vae"]).needs) == ["train@vae", "evaluate@vae"]
    assert list(graph.select(["train"]).needs) == ["train@vae"]
    assert list(graph.select(["train_seed"]).needs) == list(needs)[:3]
    chosen = graph.select(["evaluate_seed@vae-1"])
    assert list(chosen.needs) == ["train@vae", "train_seed@vae-1", "evaluate_seed@vae-1"]
