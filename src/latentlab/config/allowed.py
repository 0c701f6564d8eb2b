"""Which packages a configuration may name. Importing a module runs it, so names are checked first.

A configuration may come from somebody else. Classes of latentlab and torch are always allowed. The
user allows other packages by `allow: [my_models]` at the top of params.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentlab.utils.errors import LatentlabError

PACKAGES = ("latentlab", "torch")


def packages(allow: Any) -> tuple[str, ...]:
    """Return the value of `allow` as a tuple. Raise LatentlabError if it is no list of packages."""
    listed = allow or []
    if isinstance(listed, list) and all(map(_is_package, listed)):
        return tuple(listed)
    raise LatentlabError(
        f"params.yaml: allow is {allow!r}; it must be a list of packages whose code you trust, such"
        " as [my_models]"
    )


def check_class_paths(tree: Any, allowed: Sequence[str], files: str, at: str) -> None:
    """Raise LatentlabError for a class_path outside of `allowed`, and for integers above 64 bits.

    `at`: the key of `tree` in the YAML file. The message names the key below it.
    """
    if isinstance(tree, Mapping):
        branches = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        branches = [(str(index), value) for index, value in enumerate(tree)]
    else:
        if isinstance(tree, int) and not -(2**63) <= tree < 2**63:
            raise LatentlabError(f"{files}: {at} is an integer of more than 64 bits")
        return
    for key, value in branches:
        here = f"{at}.{key if key.isprintable() else repr(key)}"
        if here.endswith(".class_path") and not _within(value, allowed):
            raise not_allowed(str(value), files, here)
        check_class_paths(value, allowed, files, here)


def not_allowed(name: str, files: str, at: str = "a value") -> LatentlabError:
    """Return the error for a class that is named at the key `at` and is not allowed."""
    shown, package = name[:100], name.split(".")[0][:100]
    if "." not in name:
        return LatentlabError(
            f"{files}: {at} is {shown!r}; it must be the full name of a class, with its module,"
            " such as latentlab.networks.mlp.MLP"
        )
    return LatentlabError(
        f"{files}: {at} names {shown!r}, which was not imported. Allowed are classes of"
        f" {' and '.join(PACKAGES)}, by their full name. If you trust this code, write"
        f" `allow: [{package}]` at the top of your own params.yaml"
    )


def _within(name: Any, allowed: Sequence[str]) -> bool:
    """True if a dotted name starts with one of the packages. A bare class name does not."""
    return isinstance(name, str) and any(name.startswith(f"{package}.") for package in allowed)


def _is_package(entry: Any) -> bool:
    parts = entry.split(".") if isinstance(entry, str) else [""]
    return all(part.isidentifier() for part in parts) and parts[0] != "jsonargparse"
