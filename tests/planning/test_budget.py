"""Epochs that fit into some minutes, for costs that are given."""

import pytest

from latentlab.planning.budget import LEAST, choose_budget
from latentlab.planning.probe import Cost

COUNTS = {"train": 3500, "val": 500, "test": 1000}


def cost(seconds: float, *, epochs=40, **flags) -> Cost:
    """A model whose training takes so many seconds in all."""
    images = epochs * 3456
    flags = {"has_encoder": True, "has_likelihood": False, "best_checkpoint": False, **flags}
    return Cost(seconds / images, 0.0, 128, images, epochs, **flags)


def choose(costs, *, tasks=(), **asked):
    asked = {"seconds": None, "jobs": 2, **asked}
    return choose_budget(costs, list(tasks), counts=COUNTS, values=784, **asked)


def test_without_a_limit_all_models_keep_their_epochs() -> None:
    budget = choose({"classifier": cost(30), "a": cost(100), "b": cost(1000, epochs=7)})
    assert budget.epochs == {"a": 40, "b": 7}
    assert budget.too_slow == []
    assert budget.seconds["train@b"] > 1000
    assert budget.seconds["classifier"] > 30
    assert budget.total(1) > 1130 > budget.total(4) > 1000  # b alone takes 1000 s


def test_with_enough_time_nothing_is_shortened() -> None:
    assert choose({"a": cost(100)}, seconds=10_000).epochs == {"a": 40}


def test_a_limit_shortens_all_models_alike_and_is_kept() -> None:
    costs = {name: cost(200) for name in "abcd"}
    budget = choose(costs, seconds=360)
    assert len({*budget.epochs.values()}) == 1
    assert 40 * LEAST <= budget.epochs["a"] < 40
    assert 0.85 * 360 < budget.total(2) <= 360


def test_models_that_would_train_too_little_are_left_out_the_last_ones_first() -> None:
    costs = {"first": cost(100), "slow": cost(100_000), "last": cost(100)}
    budget = choose(costs, seconds=200)
    assert list(budget.epochs) == ["first", "last"]
    assert budget.too_slow == ["slow"]
    assert "evaluate@slow" not in budget.seconds
    order = choose({name: cost(150) for name in "abcdef"}, seconds=200)
    assert list(order.epochs) == list("abcdef")[: len(order.epochs)]
    assert order.too_slow


def test_no_model_fits() -> None:
    assert choose({"a": cost(100)}, seconds=5).epochs == {}


def test_more_places_leave_more_epochs() -> None:
    costs = {name: cost(200) for name in "abcd"}
    assert choose(costs, seconds=400, jobs=4).epochs["a"] > choose(costs, seconds=400).epochs["a"]


@pytest.mark.parametrize("flags", [{"has_encoder": False}, {"has_likelihood": True}])
def test_inversion_and_likelihood_make_an_evaluation_longer(flags) -> None:
    plain = Cost(1e-4, 1e-3, 128, 3456, 1, True, False, False)
    values = {"has_encoder": True, "has_likelihood": False, **flags}
    other = Cost(1e-4, 1e-3, 128, 3456, 1, **values, best_checkpoint=False)
    seconds = choose({"plain": plain, "other": other}).seconds
    assert seconds["evaluate@other"] > 10 + seconds["evaluate@plain"]


def test_the_classifier_gets_a_fifth_of_the_time() -> None:
    costs = {"classifier": cost(300, epochs=15), "a": cost(100)}
    assert choose(costs).classifier_epochs == 15
    budget = choose(costs, seconds=600)
    assert budget.classifier_epochs == 6  # 120 s
    assert budget.epochs == {"a": 40}
    assert choose(costs, seconds=120).classifier_epochs == 3  # no less
    assert choose({"a": cost(100)}, seconds=600).classifier_epochs == 0


def test_tasks_take_time() -> None:
    costs = {"a": cost(100)}
    assert choose(costs, tasks=["retrieval"]).total(1) > choose(costs).total(1) + 5


def test_each_training_of_a_model_takes_its_time() -> None:
    """Two trainings of each of four models take as long as one of each of eight, but for one thing.

    The second training of a model begins when the first one has ended.
    """
    four, eight = ({name: cost(200) for name in names} for names in ("abcd", "abcdefgh"))
    assert choose(four, trainings=2).total(1) == pytest.approx(choose(eight).total(1))
    alone = choose({"a": cost(200)}, trainings=3)
    one = choose({"a": cost(200)})
    assert alone.total(8) == pytest.approx(one.total(8) + one.seconds["train@a"])
    assert (
        choose(four, seconds=800, trainings=3).epochs["a"] < choose(four, seconds=800).epochs["a"]
    )
