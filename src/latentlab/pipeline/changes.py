"""The stages of a project, what each one needs, and which have changed: by DVC, in one process.

    python -m latentlab.pipeline.changes     # in the project's folder; prints JSON

The answers are those of `dvc dag` and `dvc status`, by the same code of DVC. Most stages read the
same files, such as the code that all trainings use. DVC looks at a file once for each stage that
reads it. Here it does so once in all, as no file changes between: see `look_once`.

Only graph.py starts this. If it fails, graph.py asks the commands of DVC, which report the error.
If nothing has changed, all that DVC has looked at is noted: see unchanged.py.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from latentlab.pipeline.unchanged import everything_in, store_unchanged

NAMES = ("dvc.yaml", "dvc.lock", "params.yaml", ".dvcignore", ".gitignore")


def main() -> None:
    from dvc.repo import Repo, lock_repo

    look_once()
    with Repo() as repo, lock_repo(repo):
        mend_rwlock(repo)
        graph, different = needs(repo), changed(repo)
        if not different and is_local(repo):
            store_unchanged(Path(repo.root_dir), graph, sorted(set(looked_at(repo))))
    print(json.dumps({"needs": graph, "changed": different}))
    sys.stdout.flush()
    os._exit(0)  # freeing all stages would take a tenth of a second


def mend_rwlock(repo: Any) -> None:
    """Remove DVC's list of the files in use if a command was killed while it wrote the list.

    DVC (3.67) writes it in place. If it is cut, DVC refuses every later command.
    """
    from dvc.lock import make_lock

    path = Path(repo.tmp_dir) / "rwlock"
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with make_lock(f"{path}.lock", tmp_dir=repo.tmp_dir, hardlink_lock=hardlink):
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:
            return
        except ValueError:
            path.unlink()


def needs(repo: Any) -> dict[str, list[str]]:
    """Return stage → the stages whose outputs it reads, in the order of dvc.yaml."""
    graph = repo.index.graph
    return {
        stage.addressing: [before.addressing for before in graph.successors(stage)]
        for stage in repo.index.stages
    }


def changed(repo: Any) -> list[str]:
    """Return the stages that `dvc status` lists. Its lock of the files is taken once for all."""
    from dvc.dependency.db import AbstractDependency
    from dvc.dependency.repo import RepoDependency
    from dvc.rwlock import rwlock
    from dvc.stage import Stage

    stages = repo.index.stages
    used = [each for stage in stages for each in (*stage.deps, *stage.outs)]
    unlocked = (RepoDependency, AbstractDependency)  # as in DVC: nothing writes them
    paths = list({each.fs_path for each in used if not isinstance(each, unlocked)})
    hardlink = repo.config["core"].get("hardlink_lock", False)
    status = Stage.status.__wrapped__
    with rwlock(repo.tmp_dir, repo.fs, "latentlab repro", paths, [], hardlink):
        return [name for stage in stages for name in status(stage, check_updates=True)]


def is_local(repo: Any) -> bool:
    """Return True if DVC's answer depends on files of this machine only, all of them known."""
    from dvc.dependency import Dependency, ParamsDependency
    from dvc.output import Output

    stages = repo.index.stages
    used = [each for stage in stages for each in (*stage.deps, *stage.outs)]
    return (
        all(type(each) in (Dependency, ParamsDependency, Output) for each in used)
        and all(each.protocol == "local" for each in used)
        # `vars` of dvc.yaml names more files
        and not any(b"vars" in Path(path).read_bytes() for path in {each.path for each in stages})
    )


def looked_at(repo: Any) -> Iterator[str]:
    """Yield the paths that decide about DVC's answer."""
    stages, outs = repo.index.stages, {out.fs_path for out in repo.index.outs}
    yield from repo.config.files.values()
    yield str(Path(repo.root_dir) / ".git" / "info" / "exclude")
    for folder, folders, files in repo.dvcignore.walk(repo.fs, repo.root_dir, followlinks=False):
        yield folder  # a new file changes its time
        for name in files:
            if name in NAMES or name.endswith(".dvc"):
                yield os.path.join(folder, name)
        paths = {name: os.path.join(folder, name) for name in folders}
        folders[:] = [
            name
            for name, path in paths.items()
            if path not in outs and not repo.scm.is_ignored(f"{path}{os.sep}")
        ]
    for path in {each.fs_path for stage in stages for each in (*stage.deps, *stage.outs)}:
        yield from everything_in(path)
        for folder in Path(path).parents:
            yield from (str(folder / name) for name in (".dvcignore", ".gitignore"))
            if str(folder) == repo.root_dir:
                break
    yield from _cached(out for out in repo.index.outs if out.use_cache and out.hash_info)


def _cached(outs: Iterable[Any]) -> Iterator[str]:
    """Yield the paths of outputs in DVC's cache."""
    for out in outs:
        yield out.cache_path
        if out.hash_info.isdir:
            yield from (out.cache.oid_to_path(found.value) for _, _, found in out.get_obj())


def look_once() -> None:
    """Let DVC look at each file once. Only for a process that ends before a file changes."""
    import dvc.dependency.param
    from dvc.output import Output

    once(
        Output,
        "_get_hash_meta",
        lambda out: (id(out.fs), out.fs_path, out.hash_name, out.use_cache),
    )
    once(
        dvc.dependency.param,
        "read_param_file",
        lambda fs, path, keys=None, flatten=False: (path, tuple(keys or ()), flatten),
    )


def once(owner: Any, name: str, key: Callable[..., Any]) -> None:
    """Replace a function by one that is called once for arguments with equal keys."""
    function, known = getattr(owner, name), {}

    @wraps(function)
    def remembering(*args: Any, **kwargs: Any) -> Any:
        wanted = key(*args, **kwargs)
        if wanted not in known:
            known[wanted] = function(*args, **kwargs)
        return known[wanted]

    setattr(owner, name, remembering)


if __name__ == "__main__":
    main()
