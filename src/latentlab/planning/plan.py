"""Which models and tasks a new project has, how long they train, and how it is printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentlab.config import load_task
from latentlab.config.goals import find_goal
from latentlab.config.selection import CLASSIFIER, task_entry
from latentlab.config.yaml_files import read_yaml
from latentlab.planning.budget import SERIAL, Budget, choose_budget
from latentlab.planning.probe import Cost, measure
from latentlab.utils.errors import LatentlabError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What the user asks for. `jobs`: stages that run at a time. `trainings`: of each model."""

    goal: str | None
    minutes: float | None
    jobs: int
    trainings: int = 1


@dataclass(frozen=True)
class Plan:
    """`why`: model → reason. `left_out`: model that cannot be built → reason."""

    budget: Budget
    costs: dict[str, Cost]
    tasks: list[str]
    why: dict[str, str]
    left_out: dict[str, str]
    counts: dict[str, int]
    jobs: int

    @property
    def models(self) -> list[str]:
        return list(self.budget.epochs)

    @property
    def is_crowded(self) -> bool:
        """True if most of the models that can be built do not fit into the minutes."""
        return len(self.budget.too_slow) > len(self.budget.epochs)

    @property
    def minutes(self) -> float:
        return self.budget.total(self.jobs) / 60

    def config_values(self, name: str) -> dict[str, Any]:
        """Return the values of configs/<name>.yaml that the plan changes: {dotted key: value}."""
        cost = self.costs[name]
        values: dict[str, Any] = {"trainer.batch_size": cost.batch_size}
        epochs = {**self.budget.epochs, CLASSIFIER: self.budget.classifier_epochs}.get(name)
        if epochs is not None and epochs < cost.epochs:
            values["trainer.max_epochs"] = epochs
        return values


def make_plan(
    root: Path,
    sample: Path,
    wish: Wish,
    *,
    counts: dict[str, int],
    num_classes: int,
    values: int,
    say: Say = lambda text: None,
) -> Plan:
    """Measure the models of a project and choose what fits. Nothing is written.

    `sample`: a folder of `probe.write_sample`. `values`: of one image. `say` gets the progress.

    Raises:
        LatentlabError: no model fits into the minutes, or none can be built for the images.
    """
    why, tasks = candidates(root, wish.goal, num_classes)
    costs: dict[str, Cost] = {}
    left_out: dict[str, str] = {}
    names = [*([CLASSIFIER] if num_classes >= 2 else []), *why]
    for number, name in enumerate(names, 1):
        say(f"measuring {name} ({number} of {len(names)})")
        try:
            costs[name] = measure(name, root, sample, counts)
        except LatentlabError as error:
            left_out[name] = _reason(str(error))
    tasks = [task for task in tasks if _model_of(root, task) in {*costs, CLASSIFIER}]
    budget = _fitting(root, costs, tasks, wish, counts, values)
    kept = {*budget.epochs, CLASSIFIER}
    tasks = [task for task in tasks if _model_of(root, task) in kept]
    return Plan(budget, costs, tasks, why, left_out, counts, wish.jobs)


def candidates(root: Path, goal: str | None, num_classes: int) -> tuple[dict[str, str], list[str]]:
    """Return {model: why} and the tasks of a goal; without a goal, those of params.yaml.

    A task also brings the model whose run it reads. Tasks that need labels are left out without.
    """
    if goal is None:
        listed = read_yaml(root / "params.yaml")
        why = {name: _summary(name, root) for name in listed["models"]}
        return why, _usable(listed["tasks"], root, num_classes)
    found = find_goal(goal)
    why, tasks = dict(found.models), _usable(found.tasks, root, num_classes)
    for task in tasks:
        if (model := _model_of(root, task)) != CLASSIFIER:
            why.setdefault(model, f"the task {task} reads it")
    return why, tasks


def _usable(tasks: Iterable[str], root: Path, num_classes: int) -> list[str]:
    """Leave out the tasks that need labels, if there are none."""
    if num_classes >= 2:
        return list(tasks)
    return [name for name in tasks if not getattr(load_task(name, root)[0], "needs_labels", False)]


def _fitting(
    root: Path,
    costs: Mapping[str, Cost],
    tasks: list[str],
    wish: Wish,
    counts: Mapping[str, int],
    values: int,
) -> Budget:
    """Choose the budget; without the tasks, if no model fits beside them."""
    if not set(costs) - {CLASSIFIER}:
        raise LatentlabError(
            "no model of this list can be built for these images: try another --size or --goal"
        )
    seconds = None if wish.minutes is None else 60 * wish.minutes
    for kept in (tasks, []):
        budget = choose_budget(
            costs,
            kept,
            counts=counts,
            values=values,
            seconds=seconds,
            jobs=wish.jobs,
            trainings=wish.trainings,
        )
        if budget.epochs:
            break
    else:
        raise LatentlabError(_too_short(costs, wish, counts, values))
    return budget


def _too_short(
    costs: Mapping[str, Cost], wish: Wish, counts: Mapping[str, int], values: int
) -> str:
    """The message if no model fits: the minutes of the fastest one."""
    one = min(
        choose_budget(
            {k: v for k, v in costs.items() if k in (CLASSIFIER, name)},
            [],
            counts=counts,
            values=values,
            seconds=None,
            jobs=wish.jobs,
            trainings=wish.trainings,
        ).total(wish.jobs)
        for name in costs
        if name != CLASSIFIER
    )
    return (
        f"--minutes {wish.minutes:g} is too short: preparing {sum(counts.values()):,} images, and"
        f" one model with its evaluation, take about {one / 60:.1f} minutes. Use more minutes, or a"
        " smaller --size"
    )


def _model_of(root: Path, task: str) -> str:
    return task_entry(root, task)["model"]


def _summary(name: str, root: Path) -> str:
    """The title of a config, or the first words of its header comment."""
    content = read_yaml(root / "configs" / f"{name}.yaml")
    first = (root / "configs" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    text = str(content.get("title") or first.lstrip("# "))
    return text.split(":")[0].split(" (")[0].rstrip(".")


def _reason(message: str) -> str:
    """The part of an error that the table shows."""
    return (message.partition("): ")[2] or message).split(": ")[0]


def plan_table(plan: Plan, minutes: float | None) -> str:
    """Return the plan as text: a row for each model, what is left out, and the whole time.

    `minutes`: what the user asked for.
    """
    rows = [("model", "epochs", "minutes", "why")]
    seconds = plan.budget.seconds
    for name, epochs in plan.budget.epochs.items():
        of = _of(epochs, plan.costs[name].epochs)
        spent = plan.budget.trainings * (seconds[f"train@{name}"] + seconds[f"evaluate@{name}"])
        rows.append((name, of, f"{spent / 60:.1f}", plan.why[name]))
    for task in plan.tasks:
        rows.append((task, "", f"{seconds[f'tasks@{task}'] / 60:.1f}", "a task"))
    shared = sum(seconds.get(stage, 0.0) for stage in SERIAL)
    rows.append((*_classifier_cells(plan), f"{shared / 60:.1f}", "all models need it"))
    lines = _columns(rows)
    lines += [f"left out: {name}: {reason}" for name, reason in plan.left_out.items()]
    if plan.budget.too_slow:
        lines.append(
            f"left out: {', '.join(plan.budget.too_slow)}: too slow for these minutes;"
            f" --minutes {math.ceil(plan.budget.enough / 60)} would do for all"
        )
    lines.append(_whole_time(plan, minutes))
    return "\n".join(lines)


def _of(epochs: int, own: int) -> str:
    return f"{epochs} of {own}" if epochs < own else str(epochs)


def _classifier_cells(plan: Plan) -> tuple[str, str]:
    """Name and epochs of the stages that all models need."""
    if CLASSIFIER not in plan.costs:
        return "data, page", ""
    return "data, classifier, page", _of(
        plan.budget.classifier_epochs, plan.costs[CLASSIFIER].epochs
    )


def _whole_time(plan: Plan, minutes: float | None) -> str:
    places = f"{plan.jobs} stages at a time" if plan.jobs > 1 else "one stage at a time"
    seeds = (
        f", {plan.budget.trainings} trainings of each model" if plan.budget.trainings > 1 else ""
    )
    text = f"about {plan.minutes:.1f} minutes in all, with {places} on this machine{seeds}"
    if minutes is not None:
        text += f"; asked for: {minutes:g}"
        shortened = [n for n in plan.models if plan.budget.epochs[n] < plan.costs[n].epochs]
        text += "" if shortened else ". No training is shortened"
    return text + "."


def _columns(rows: Iterable[tuple[str, str, str, str]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return [
        f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows
    ]
