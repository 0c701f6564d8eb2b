"""How many epochs of which models fit into some minutes, from the costs that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from latentlab.planning.probe import Cost

LEAST = 1 / 3  # of the budget of a config: a shorter training says little about a model
LEAST_CLASSIFIER = 0.2  # of the budget of the classifier
PACKED = 0.7  # stages side by side slow each other down, and the last one runs alone
START = 4.0  # seconds: the start of a stage, DVC included
MEASURE = 6.5  # seconds: all metrics of 1,000 small images, without the model itself
TASKS = {"gan_1d": 5.0, "dimensionality_reduction": 16.0, "retrieval": 10.0}  # seconds, mnist_5k
TASK = 25.0  # seconds: any other task
READ = 1e-3  # seconds: to read one image file
LIKELIHOOD = 255_000  # codes that the estimate of the likelihood decodes
SERIAL = ("prepare", "classifier", "reference", "report")  # stages beside which none runs

Places = tuple[int, int]  # stages at a time, trainings of each model


@dataclass(frozen=True)
class Budget:
    """`epochs`: model → epochs. `too_slow`: models that do not fit. `seconds`: stage → seconds.

    `classifier_epochs`: of the classifier whose features measure all models; 0 if it is not
    trained. `enough`: seconds into which all models fit. `trainings`: of each model, by its seeds;
    `seconds` has the first one.
    """

    epochs: dict[str, int]
    seconds: dict[str, float]
    too_slow: list[str] = field(default_factory=list)
    classifier_epochs: int = 0
    enough: float = 0.0
    trainings: int = 1

    def total(self, jobs: int) -> float:
        """Return the expected wall seconds of all stages, with `jobs` of them at a time."""
        serial = sum(self.seconds.get(name, 0.0) for name in SERIAL)
        work, longest = 0.0, 0.0
        for name, seconds in self.seconds.items():
            kind, _, model = name.partition("@")
            if kind == "tasks":
                work, longest = work + seconds, max(longest, seconds)
            elif kind == "train":
                measured = self.seconds.get(f"evaluate@{model}", 0.0)
                work += self.trainings * (seconds + measured)
                # the other trainings begin when the first one has ended
                longest = max(longest, min(self.trainings, 2) * seconds + measured)
        return serial + max(work / jobs / (PACKED if jobs > 1 else 1), longest)


def choose_budget(
    costs: Mapping[str, Cost],
    tasks: list[str],
    *,
    counts: Mapping[str, int],
    values: int,
    seconds: float | None,
    jobs: int,
    trainings: int = 1,
) -> Budget:
    """Choose models and epochs. The order of `costs` is that of importance.

    `costs` has "classifier" if it is trained. `values`: of one image. `seconds`: None keeps the
    budgets of the configs. With a limit, models are left out that do not get LEAST of their budget;
    all others get the same fraction of theirs. An empty `epochs` says that no model fits.
    `trainings`: of each model.
    """
    places = jobs, trainings
    models = {name: cost for name, cost in costs.items() if name != "classifier"}
    epochs = _classifier_epochs(costs.get("classifier"), seconds)
    fixed = _fixed(costs, epochs, tasks, counts, values)
    if seconds is None:
        chosen, fractions = list(models), dict.fromkeys(models, 1.0)
    else:
        chosen, fractions = _within(models, fixed, seconds, places)
    too_slow = [name for name in models if name not in chosen]
    enough = _total(models, dict.fromkeys(models, LEAST), fixed, places)
    budget = _budget(models, fractions, fixed, too_slow)
    return replace(budget, classifier_epochs=epochs, enough=enough, trainings=trainings)


def _classifier_epochs(cost: Cost | None, seconds: float | None) -> int:
    """The classifier gets a fifth of the time, as no other stage runs beside it."""
    if cost is None or seconds is None:
        return cost.epochs if cost else 0
    fraction = seconds / 5 / (cost.images * cost.seconds_per_image)
    return max(1, int(min(1.0, max(fraction, LEAST_CLASSIFIER)) * cost.epochs + 1e-9))


def _within(
    models: Mapping[str, Cost], fixed: Mapping[str, float], seconds: float, places: Places
) -> tuple[list[str], dict[str, float]]:
    """Return the models that fit, and the fraction of its budget that each of them gets."""
    chosen: list[str] = []
    for name in models:
        trial = [*chosen, name]
        if _total(models, dict.fromkeys(trial, LEAST), fixed, places) <= seconds:
            chosen = trial
    return chosen, _largest(models, chosen, fixed, seconds, places)


def _largest(
    models: Mapping[str, Cost],
    chosen: list[str],
    fixed: Mapping[str, float],
    seconds: float,
    places: Places,
) -> dict[str, float]:
    """The largest fraction of the configs' budgets that fits, by bisection."""
    low, high = LEAST, 1.0
    if _total(models, dict.fromkeys(chosen, high), fixed, places) <= seconds:
        low = high
    for _ in range(20):
        middle = (low + high) / 2
        fits = _total(models, dict.fromkeys(chosen, middle), fixed, places) <= seconds
        low, high = (middle, high) if fits else (low, middle)
    return dict.fromkeys(chosen, low)


def _total(
    models: Mapping[str, Cost],
    fractions: Mapping[str, float],
    fixed: Mapping[str, float],
    places: Places,
) -> float:
    jobs, trainings = places
    return replace(_budget(models, fractions, fixed, []), trainings=trainings).total(jobs)


def _budget(
    models: Mapping[str, Cost],
    fractions: Mapping[str, float],
    fixed: Mapping[str, float],
    too_slow: list[str],
) -> Budget:
    seconds = {
        stage: value
        for stage, value in fixed.items()
        if not stage.startswith("evaluate@") or stage.removeprefix("evaluate@") in fractions
    }
    epochs = {}
    for name, fraction in fractions.items():
        cost = models[name]
        epochs[name] = max(1, int(fraction * cost.epochs + 1e-9))
        images = cost.images * epochs[name] / cost.epochs
        seconds[f"train@{name}"] = START + images * cost.seconds_per_image
    return Budget(epochs, seconds, too_slow)


def _fixed(
    costs: Mapping[str, Cost],
    classifier_epochs: int,
    tasks: list[str],
    counts: Mapping[str, int],
    values: int,
) -> dict[str, float]:
    """Seconds of the stages whose length no budget changes."""
    size = values / 784
    stages = {
        "prepare": START + READ * sum(counts.values()),
        "classifier": START,
        "reference": START + MEASURE * (1 + counts["test"] / 1000),
        "report": START,
    }
    for name, cost in costs.items():
        if name == "classifier":
            part = classifier_epochs / cost.epochs
            stages[name] += part * cost.images * cost.seconds_per_image
        else:
            stages[f"evaluate@{name}"] = START + _evaluation(cost, counts)
    return stages | {f"tasks@{name}": START + TASKS.get(name, TASK) * size**0.5 for name in tasks}


def _evaluation(cost: Cost, counts: Mapping[str, int]) -> float:
    """Seconds of an evaluation: the metrics, and the codes that the model decodes for them.

    A step of latent inversion, the search for the code of an image, costs as much as three decoded
    images.
    """
    codes = 8.0 * counts["test"] + 0.5 * counts["train"]
    if not cost.has_encoder:
        codes += 2000 + 3 * 100 * min(1000, max(100, counts["test"] // 5), counts["test"])
    if cost.has_likelihood:
        codes += LIKELIHOOD
    return MEASURE * (0.5 + counts["test"] / 2000) + codes * cost.decode_seconds
