"""Open the image files of a project before stage prepare does, for `latentlab check`."""

from __future__ import annotations

from latentlab.config import Project
from latentlab.config.data_facts import DataFacts
from latentlab.config.problems import Report
from latentlab.config.suitability import count_problems
from latentlab.data.decoding import decode_files
from latentlab.data.files.find import find_files
from latentlab.data.files.listing import evenly_spaced
from latentlab.data.partition import partition
from latentlab.data.problems import format_files
from latentlab.data.settings import DataSettings
from latentlab.data.shards.manifest import read_manifest
from latentlab.data.sources import SOURCES, load_source, own_place
from latentlab.data.sources.folder import MAX_LOOK
from latentlab.data.summary import require_allowed, sentences, summarize
from latentlab.utils.errors import LatentlabError

MAX_FILES = MAX_LOOK  # of more files, a sample is opened


def check_image_files(project: Project, report: Report) -> None:
    """Add to `report` what stage prepare would say about the user's image files.

    Up to MAX_FILES files are read as `prepare` reads them. Of more files, a sample is opened: files
    that cannot be read are found in it, but no copies and no classes without images. Nothing is
    done for public data sets, and if the folder is missing, which `check_project` reports.
    """
    settings, root = project.data, project.root
    if not SOURCES[settings.name].needs_size or not (root / settings.folder).exists():
        return
    try:
        notes = _notes(project)
    except LatentlabError as error:
        if str(error) not in {problem.message for problem in report.problems}:
            report.add(settings.folder, str(error))
    else:
        report.notes += [f"{settings.folder}: {note}" for note in notes]


def _notes(project: Project) -> list[str]:
    """Read the files. Raise LatentlabError for what stops stage prepare."""
    settings, place = project.data, own_place(project.root, project.data.folder)
    if settings.name == "shards":
        manifest = read_manifest(place)
        if manifest is None or manifest.num_images > MAX_FILES:
            return ["the images in the shards were not opened; stage prepare opens them"]
    else:
        found = find_files(place, project.root / "data")
        names = [name for name in found.names if name != settings.split_file]
        if len(names) > MAX_FILES:
            chosen = evenly_spaced(names, MAX_FILES)
            decoded = decode_files(
                chosen, lambda row: found.open(chosen[row]), settings, project.root / "data"
            )
            read = f"{len(chosen):,} of {len(names):,} files were opened, evenly spaced"
            problems = found.refused | decoded.problems
            return [read, *_unreadable(settings, problems, f"{read}. ")]
    return _notes_of_all(project)


def _unreadable(settings: DataSettings, problems: dict[str, str], read: str) -> list[str]:
    if not problems:
        return []
    listed = f"{len(problems)} cannot be read: {format_files(problems)}"
    if settings.on_unreadable == "skip":
        return [f"{listed}. They will be skipped (data.on_unreadable)"]
    raise LatentlabError(
        f"{read}{listed}. There can be others. Repair or remove these files, or set"
        " data.on_unreadable to skip."
    )


def _notes_of_all(project: Project) -> list[str]:
    """Do what stage prepare does before it writes."""
    source = load_source(project.data, project.root)
    parts = partition(source, project.data, project.seed)
    summary = summarize(source, parts, project.data)
    require_allowed(summary, project.data)
    _, channels, height, width = source.train.pixels.shape
    facts = DataFacts((channels, height, width), len(source.classes or ()), summary.counts)
    if problems := list(count_problems(facts, project.evaluation)):
        raise LatentlabError("; ".join(problems))
    skipped = source.unreadable
    listed = f" and {len(skipped)} skipped: {format_files(dict.fromkeys(skipped, ''))}"
    count = f"all {len(source.train.names):,} images were read{listed if skipped else ''}"
    return [count, *sentences(summary)]
