"""The commands that make and run a project. The docstring of each is its help."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from latentlab.cli.output import stop
from latentlab.cli.start import next_steps, status_line

if TYPE_CHECKING:
    from latentlab.config import Project


def init(args: argparse.Namespace) -> None:
    """Write a new project: params.yaml, dvc.yaml, configs/, requirements.txt and data/images.

    With options, models, image size and epochs are chosen, after measuring the speed of the models
    on this machine for some seconds, and a plan with times is printed.
    """
    from latentlab import __version__
    from latentlab.config.goals import goal_lines
    from latentlab.planning.request import Request

    if args.list:
        print("\n".join(goal_lines()))
        return
    request = Request(args.images, args.goal, args.minutes, args.size, args.channels)
    request.check(args.folder)
    if request.is_plain:
        from latentlab.config.template import write_project

        write_project(args.folder, version=__version__)
        print(f"new project in {args.folder}. {next_steps(args.folder)}")
        return
    from latentlab.pipeline.scheduler import default_jobs, gpu_numbers
    from latentlab.planning.project import make_project
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    with status_line() as say:
        text = make_project(
            args.folder, request, version=__version__, jobs=default_jobs(gpu_numbers()), say=say
        )
    print(f"{text}\n\n{next_steps(args.folder)}")


def select(args: argparse.Namespace) -> None:
    """Choose what the pipeline runs: rewrite the sections `models` and `tasks` of params.yaml.

    A task brings the model that it needs.
    """
    from latentlab.config import find_root
    from latentlab.config.selection import select as select_names

    models, tasks = select_names(find_root(args.project), args.names)
    print(f"models: {', '.join(models) or 'none'}\ntasks: {', '.join(tasks) or 'none'}")


def repro(args: argparse.Namespace) -> None:
    """Run the stages of dvc.yaml that changed, several at a time, each on one CPU thread or GPU.

    The results are those of `dvc repro` on one thread, for any number of jobs. The report page is
    written anew after each evaluation.
    """
    from latentlab import __version__
    from latentlab.config import load_project
    from latentlab.config.template import require_version
    from latentlab.pipeline.graph import changed_stages, read_graph
    from latentlab.pipeline.progress import Progress
    from latentlab.pipeline.scheduler import Scheduler

    project = load_project(args.project)
    root = project.root
    require_version(root, __version__)
    everything = read_graph(root)
    outdated = everything.with_all_users(changed_stages(root))
    graph = everything.select(args.targets or everything.needs)
    pending = outdated & set(graph.needs)
    if not pending:
        print("all stages are up to date")
        return
    progress = Progress(len(pending))
    with _places(args, project) as places:
        scheduler = Scheduler(
            graph,
            pending,
            root=root,
            progress=progress,
            **places,
            on_end=lambda stage: _update_page(
                project, stage, outdated - {*scheduler.outcome.ended}
            ),
        )
        outcome = scheduler.run()
    if outcome.stopped_by is not None:
        print("stopped; the same command continues", file=sys.stderr)
        raise SystemExit(128 + outcome.stopped_by)
    if outcome.failed:
        skipped = f" Not run, because they need it: {', '.join(outcome.skipped)}."
        stop(f"failed: {', '.join(outcome.failed)}.{skipped if outcome.skipped else ''}")


@contextlib.contextmanager
def _places(args: argparse.Namespace, project: Project) -> Iterator[dict[str, Any]]:
    """Yield arguments of Scheduler: how many stages run at a time, where, and how one starts."""
    from latentlab.pipeline.scheduler import default_jobs, gpu_numbers

    if args.executor is not None:
        from latentlab.pipeline.cluster import Cluster

        wanted = asdict(project.hardware.cluster)
        jobs = args.jobs or wanted["jobs"]
        del wanted["jobs"]
        cluster = Cluster(args.executor, project.root / ".checkpoints" / "cluster", **wanted)
        yield {"jobs": jobs, "devices": [], "variables": {}, "make_job": cluster.make_job}
        return
    from latentlab.pipeline.fork_server import job_variables

    devices = [] if project.hardware.accelerator == "cpu" else gpu_numbers()
    with job_variables(gpus=bool(devices)) as variables:
        jobs = args.jobs or default_jobs(devices)
        yield {"jobs": jobs, "devices": devices, "variables": variables}


def _update_page(project: Project, stage: str, waiting: Iterable[str]) -> None:
    """Write the page if `stage` has added results. Those of `waiting` stages are left out."""
    if not stage.startswith(("evaluate@", "tasks@")):
        return
    from latentlab.report.comparison import read_comparison
    from latentlab.report.files import write_reports
    from latentlab.utils.errors import LatentlabError

    outdated = {name for each in waiting for name in each.split("@")[1:]}
    # a file that another stage is writing now, or a full disk: stage report writes the page again
    with contextlib.suppress(LatentlabError, OSError):
        write_reports(read_comparison(project, outdated=outdated), project.root)


def shard(args: argparse.Namespace) -> None:
    """Pack a folder of images into tar files, for `data.name: shards`. Sub-folders are classes."""
    from latentlab.data.shards.write import pack_folder

    manifest = pack_folder(
        args.folder,
        args.out,
        size=args.size,
        per_shard=args.per_shard,
        on_unreadable=args.on_unreadable,
    )
    size = sum(each.bytes for each in manifest.shards)
    classes = f"{len(manifest.classes)} classes" if manifest.classes else "no classes"
    skipped = f", {len(manifest.skipped)} unreadable skipped" if manifest.skipped else ""
    print(
        f"{manifest.num_images} images, {classes}{skipped}: {len(manifest.shards)} shards, "
        f"{size / 1e6:.1f} MB in {args.out}"
    )
