"""`latentlab init`: a new project for images, a goal and some minutes."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from latentlab.config import load_project
from latentlab.config.data_facts import DataFacts
from latentlab.config.selection import CLASSIFIER, select
from latentlab.config.suitability import count_problems
from latentlab.config.template import write_project
from latentlab.config.yaml_edit import set_values
from latentlab.data.prepared import read_meta
from latentlab.data.sources import load_source
from latentlab.data.splits import split_indices
from latentlab.planning.new_folder import new_folder
from latentlab.planning.plan import Plan, Wish, make_plan, plan_table
from latentlab.planning.probe import write_sample
from latentlab.planning.request import Request
from latentlab.planning.survey import Survey, survey_of, useful_size
from latentlab.utils.errors import LatentlabError
from latentlab.utils.files import write_atomic
from latentlab.utils.names import counted

# pipeline.durations.PLACE: `latentlab repro` estimates the time left from it
DURATIONS = ".checkpoints/repro/seconds.json"
SMALL = 32  # pixels: used if larger images leave too little time
SAMPLED = 500  # images of a built-in data set for the measurement


def make_project(
    folder: Path,
    request: Request,
    *,
    version: str,
    jobs: int,
    found: Survey | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Write a project into `folder`. Return what the user should read.

    With options, models are measured first, in a temporary project: if that fails, nothing is
    written. `version`: of latentlab. `jobs`: stages that will run at a time. `found`: the result of
    `survey_of(request)`; None: it is made here.

    Raises:
        LatentlabError: an option is not allowed, `folder` has a project, or nothing fits.
    """
    request.check(folder)
    draft = _draft(folder, request, found or survey_of(request), version, jobs, say)
    if request.can_shrink and draft.size > SMALL and (draft.plan is None or draft.plan.is_crowded):
        small = replace(request, size=SMALL)
        draft = _draft(folder, small, survey_of(small), version, jobs, say)
    if draft.plan is None:
        raise LatentlabError(draft.problem)
    values = draft.data | ({"goal": request.goal} if request.goal else {})
    if request.seeds:
        values["more_seeds"] = list(range(1, request.seeds))
    with new_folder(folder):
        write_project(folder, version=version)
        _apply(folder, draft.plan, values)
    lines = _found_lines(request, draft)
    return "\n".join([*lines, "", plan_table(draft.plan, request.minutes)])


@dataclass(frozen=True)
class _Draft:
    """A plan, or the problem that there is none. `data`: values of params.yaml."""

    found: Survey | None
    data: dict[str, Any]
    size: int
    plan: Plan | None
    problem: str = ""


def _draft(
    folder: Path,
    request: Request,
    found: Survey | None,
    version: str,
    jobs: int,
    say: Callable[[str], None],
) -> _Draft:
    """Measure and plan in a temporary project."""
    wish = Wish(request.goal, request.minutes, jobs, request.seeds or 1)
    data = _data_values(request, found, folder)
    with tempfile.TemporaryDirectory() as temporary, _one_thread():
        project, sample = Path(temporary) / "project", Path(temporary) / "prepared"
        write_project(project, version=version)
        set_values(project / "params.yaml", data)
        counts, classes = _sample(project, found, sample)
        shape = read_meta(sample).image_shape
        facts = DataFacts(shape, classes, counts)
        if problems := list(count_problems(facts, load_project(project).evaluation)):
            raise LatentlabError("; ".join(problems))
        try:
            plan = make_plan(
                project,
                sample,
                wish,
                counts=counts,
                num_classes=classes,
                values=math.prod(shape),
                say=say,
            )
        except LatentlabError as error:
            return _Draft(found, data, shape[-1], None, str(error))
    return _Draft(found, data, shape[-1], plan)


def _data_values(request: Request, found: Survey | None, folder: Path) -> dict[str, Any]:
    """The values of the section `data` in params.yaml."""
    if request.images is None or found is None:
        given = {"data.size": request.size, "data.channels": request.channels}
        return {key: value for key, value in given.items() if value is not None}
    images, root = request.images.resolve(), folder.resolve()
    inside = images.is_relative_to(root)
    return {
        "data.name": "image_folder",
        "data.folder": images.relative_to(root).as_posix() if inside else str(images),
        "data.size": int(found.pixels.shape[-1]),
        "data.channels": int(found.pixels.shape[1]),
    }


def _sample(draft: Path, found: Survey | None, sample: Path) -> tuple[dict[str, int], int]:
    """Write the images for the measurement. Return images per split, and the classes."""
    project = load_project(draft)
    if found is not None:
        write_sample(found.pixels, found.classes, project.data, sample)
        return split_counts(found.count, project.data, found.splits), found.classes
    source = load_source(project.data, draft)
    classes = len(source.classes or ())
    settings = replace(project.data, name=source.name)
    pixels = np.asarray(source.train.pixels[:SAMPLED])
    write_sample(pixels, classes, settings, sample)
    return split_counts(len(source.train.pixels), settings), classes


def split_counts(count: int, settings: Any, given: Sequence[str] | None = None) -> dict[str, int]:
    """Images per split, without labels. `given`: the split of each image; None draws all splits."""
    import torch

    rows = split_indices(
        count if given is None else len(given),
        None,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        generator=torch.Generator(),
        assigned=None if given is None else np.array(given),
    )
    return {split: len(part) for split, part in rows.items()}


def _apply(folder: Path, plan: Plan, values: dict[str, Any]) -> None:
    """Write the choices into params.yaml and configs/, and the times for `latentlab repro`."""
    set_values(folder / "params.yaml", values)
    select(folder, [*plan.models, *plan.tasks])
    for name in [*plan.models, *([CLASSIFIER] if CLASSIFIER in plan.costs else [])]:
        set_values(folder / "configs" / f"{name}.yaml", plan.config_values(name))
    content = {stage: round(seconds, 1) for stage, seconds in plan.budget.seconds.items()}
    write_atomic(folder / DURATIONS, json.dumps(content).encode())


def _found_lines(request: Request, draft: _Draft) -> list[str]:
    found = draft.found
    if found is None:
        return ["data: mnist_5k, 5,000 handwritten digits"]
    size, channels = draft.size, draft.data["data.channels"]
    classes = counted(found.classes, "class")
    labels = classes if found.classes else "no class folders, so no labels"
    colour = "grey" if channels == 1 else "colour"
    lines = [
        f"{found.count:,} files in {request.images}, {labels}; {found.sampled} were opened: the"
        f" shorter side has {found.shorter} pixels (median).",
        f"The project uses them as {size}×{size} pixels, {colour}. The files are not copied.",
    ]
    if request.size is None and size < (usual := useful_size(found.shorter)):
        lines.append(
            f"With {usual} pixels, most models do not fit into {request.minutes:g} minutes; --size"
            f" {usual} uses them all the same."
        )
    if found.unreadable:
        first, why = next(iter(found.unreadable.items()))
        lines.append(
            f"{len(found.unreadable)} of {found.sampled} opened files cannot be read, such as"
            f" {first!r} ({why}). Remove them, or set data.on_unreadable: skip in params.yaml."
        )
    if found.white:
        sure = "will stop" if found.sampled == found.count else "will stop if all files are alike"
        lines.append(f"Stage prepare {sure}: {found.white}")
    return lines


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one CPU thread, as each stage of `latentlab repro` does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
