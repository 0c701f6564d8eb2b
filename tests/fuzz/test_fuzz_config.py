"""Any content of the two YAML files is loaded, or is a LatentlabError of one line."""

from __future__ import annotations

import copy
import math
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from latentlab.config import load_experiment, load_project, model_size
from latentlab.utils.errors import LatentlabError

REPO = Path(__file__).resolve().parents[2]
DATA_SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}
MODELS = sorted(path.stem for path in (REPO / "configs").glob("*.yaml"))
TEXTS = {
    str(path.relative_to(REPO)): path.read_text(encoding="utf-8")
    for path in (REPO / "params.yaml", *(REPO / "configs").glob("*.yaml"))
}
NEVER_IMPORTED = sorted(
    {"this", "antigravity", "turtledemo", "idlelib", "lib2to3", "nntplib", "mailbox", "telnetlib"}
    & sys.stdlib_module_names - set(sys.modules)
)


@pytest.fixture(scope="module", autouse=True)
def _small_machine():
    """Models of more than 4 million values do not fit: this tests reading, not building."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_size, "memory_limit", lambda: 4 * 4 * 4_000_000)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(REPO / "configs", root / "configs")
    return root


def load(root, model="vae", **files):
    """Write the files, the others unchanged; load them, and accept LatentlabError only."""
    for name, text in {**TEXTS, **files}.items():
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    for attempt in (load_project, lambda root: load_experiment(model, DATA_SPEC, root)):
        try:
            attempt(root)
        except LatentlabError as error:
            assert str(error).strip()  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            assert len(str(error)) < 5000  # noqa: PT017


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 32_000_000]),
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, 1e-320]),
    st.text(max_size=12),
    st.sampled_from(
        ["", "null", "nan", "1e-3", "[1, 2]", "{a: 1}", "os.system", "VAE", "=1+1", "a\nb", "\x00",
         "{class_path: os.system}", "latentlab.models.vae.VAE", "torch.nn.ReLU", "params.yaml",
         "latentlab", "torch.hub.load", "../../etc/passwd", "é🙂"]
    ),
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8"))))
def test_any_bytes(root, content):
    load(root, **{"params.yaml": content})


YAMLISH = st.lists(
    st.sampled_from(
        ["seed", "data", "trainer", "model", "models", "class_path", "init_args", "0", ": ", ":\n",
         "\n", "  ", "    ", "- ", "? ", "[", "]", "{", "}", ", ", "&a ", "*a", "<<", "!!int ",
         "!!binary ", "!!set ", "!!timestamp ", "!!python/name:os.system ", "|", ">", "'", '"', "#",
         "---", "...", "%YAML 9.9", "\t", "~", "0x", "0b1", "1:30", "2020-13-45", ".nan", "-.inf"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(YAMLISH, st.booleans())
def test_pieces_of_yaml(root, text, shared):
    load(root, **{"params.yaml" if shared else "configs/vae.yaml": text})


@given(
    trees, st.sampled_from(["", "data", "trainer", "evaluation", "hardware", "model", "sampler"])
)
def test_any_tree_in_any_place(root, tree, section):
    file = "configs/vae.yaml" if section in ("model", "sampler") else "params.yaml"
    content = yaml.safe_load(TEXTS[file])
    content = {**content, section: tree} if section else tree
    load(root, **{file: yaml.safe_dump(content, allow_unicode=True)})


def places(tree, path=()):
    """Every path to a value of a tree."""
    branches = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in branches:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@st.composite
def mutated(draw):
    """(model, file, tree): a real file with one to three keys deleted, renamed, changed, added."""
    model = draw(st.sampled_from(MODELS))
    file = draw(st.sampled_from(["params.yaml", f"configs/{model}.yaml"]))
    tree = copy.deepcopy(yaml.safe_load(TEXTS[file]))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(tree))
        if not found:
            break
        *above, last = draw(st.sampled_from(found))
        parent = tree
        for key in above:
            parent = parent[key]
        what = draw(st.sampled_from(["delete", "rename", "value", "tree", "list", "add"]))
        if what == "delete":
            parent.pop(last)
        elif what == "rename" and isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = parent.pop(last)
        elif what == "add" and isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = draw(scalars)
        elif what == "list":
            parent[last] = [parent[last]] * draw(st.integers(0, 3))
        else:
            parent[last] = draw(scalars if what == "value" else trees)
    return model, file, tree


@given(mutated())
def test_a_real_file_with_changed_keys(root, case):
    model, file, tree = case
    load(root, model, **{file: yaml.safe_dump(tree, allow_unicode=True)})


@given(st.data())
def test_a_real_file_with_changed_characters(root, data):
    model = data.draw(st.sampled_from(MODELS))
    file = data.draw(st.sampled_from(["params.yaml", f"configs/{model}.yaml"]))
    text = TEXTS[file]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 30))
        text = text[:at] + data.draw(st.one_of(st.text(max_size=4), YAMLISH)) + text[at + cut :]
    load(root, model, **{file: text})


@st.composite
def smuggled(draw):
    """A class of a module that is never imported, in place of a class, a number or a list."""
    name = draw(st.sampled_from(NEVER_IMPORTED)) + draw(st.sampled_from([".x", ".x.Y", "", "."]))
    spec = draw(
        st.sampled_from(
            [
                name,
                {"class_path": name},
                {"class_path": name, "init_args": {}},
                f"{{class_path: {name}}}",
                [{"class_path": name}],
                {"x.class_path": name},
                {"class_path": "latentlab.samplers.StandardNormal", "init_args": {"x": name}},
                {"class_path": "torch.nn.Sequential", "init_args": {"args": {"class_path": name}}},
            ]
        )
    )
    places = ["model", "sampler", "latent_dim", "network", "likelihood", "new"]
    where = draw(st.sampled_from(places))
    return where, spec


@given(smuggled())
def test_a_module_that_is_not_allowed_is_never_imported(root, case):
    where, spec = case
    content = yaml.safe_load(TEXTS["configs/vae.yaml"])
    place = content if where in ("model", "sampler") else content["model"]["init_args"]
    place[where] = spec
    load(root, **{"configs/vae.yaml": yaml.safe_dump(content)})
    assert not set(NEVER_IMPORTED) & set(sys.modules)
