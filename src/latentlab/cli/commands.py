"""The commands that make a project. The docstring of each is its help."""

from __future__ import annotations

import argparse

from latentlab.cli.output import require_writable
from latentlab.cli.start import next_steps, status_line
from latentlab.utils.names import counted


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
    request = Request(
        args.images, args.goal, args.minutes, args.size, args.channels, seeds=args.seeds
    )
    request.check(args.folder)
    require_writable(args.folder, is_folder=True)
    if request.is_plain:
        from latentlab.config.template import write_project
        from latentlab.planning.new_folder import new_folder

        with new_folder(args.folder):
            write_project(args.folder, version=__version__)
        print(f"new project in {args.folder}. {next_steps(args.folder)}")
        return
    from latentlab.planning.survey import survey_of

    found = survey_of(request)  # before the slow imports: a wrong folder is refused at once
    from latentlab.pipeline.scheduler import default_jobs, gpu_numbers
    from latentlab.planning.project import make_project
    from latentlab.utils.imports import import_lightning_lean

    import_lightning_lean()
    jobs = default_jobs(gpu_numbers())
    with status_line() as say:
        text = make_project(
            args.folder, request, version=__version__, jobs=jobs, found=found, say=say
        )
    print(f"{text}\n\n{next_steps(args.folder)}")


def select(args: argparse.Namespace) -> None:
    """Choose what the pipeline runs: rewrite the sections `models` and `tasks` of params.yaml.

    A task also selects the model that it needs.
    """
    from latentlab.config import find_root
    from latentlab.config.selection import select as select_names

    models, tasks = select_names(find_root(args.project), args.names)
    print(f"models: {', '.join(models) or 'none'}\ntasks: {', '.join(tasks) or 'none'}")


def shard(args: argparse.Namespace) -> None:
    """Pack a folder of images into tar files, for `data.name: shards`. Sub-folders are classes."""
    from latentlab.data.shards.write import pack_folder

    require_writable(args.out, is_folder=True)
    manifest = pack_folder(
        args.folder,
        args.out,
        size=args.size,
        per_shard=args.per_shard,
        on_unreadable=args.on_unreadable,
    )
    size = sum(each.bytes for each in manifest.shards)
    classes = counted(len(manifest.classes), "class") if manifest.classes else "no classes"
    skipped = f", {len(manifest.skipped)} unreadable skipped" if manifest.skipped else ""
    images, shards = counted(manifest.num_images, "image"), counted(len(manifest.shards), "shard")
    print(f"{images}, {classes}{skipped}: {shards}, {size / 1e6:.1f} MB in {args.out}")
