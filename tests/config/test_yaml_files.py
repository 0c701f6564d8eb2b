"""YAML files are read strictly: what PyYAML accepts silently is an error with its line."""

import dataclasses
import itertools
import random
import types
import typing

import pytest
from ruamel.yaml import YAML

from latentlab.config import load_experiment, load_project
from latentlab.config.project import Project
from latentlab.config.yaml_files import read_yaml
from latentlab.utils.errors import LatentlabError

DATA_SPEC = {"image_shape": (1, 8, 8), "num_classes": 10}


def load(project):
    return load_experiment("vae", DATA_SPEC, project.root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0\ndata: {}\nseed: 1\n", r"line 3: the key 'seed' is there twice"),
        ("seed: 0\ndata:\n  size: 8\n  size: 9\n", r"line 4: the key 'size' is there twice"),
        ("seed: &a 0\ndata: {size: *a}\n", r"line 2: aliases are not allowed: write the"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", r"aliases are not allowed"),
        ("seed: 0\ndata: {<<: {size: 8}}\n", r"the key '<<' is not read as text"),
        ("seed: 0\nmodels: {1: vae}\n", r"line 2: the key '1' is not read as text: put it in q"),
        ("seed: 0\ntrainer: {ema_decay: .nan}\n", r"line 2: NaN is not allowed: write null, or"),
        ("%YAML 1.1\n---\nseed: 0\n", r"params.yaml has a line %YAML; remove it"),
        ("[" * 3000, r"nested too deeply"),
        ("seed: 2020-13-45\n", r"params.yaml is not valid YAML: month must be in"),
        ("seed: !!python/object/apply:os.getcwd []\n", r"could not determine a constructor"),
        ("seed: 0\n#" + "x" * 2**20, r"params.yaml has 1,048,585 bytes; at most 1,048,576"),
        ("- 1\n", r"params.yaml is \[1\]; it must be a mapping of sections"),
        (b"seed: \xff\n", r"params.yaml is not valid YAML: 'utf-8' codec"),
    ],
    ids=range(14),
)
def test_the_error_names_the_file_and_the_line(project, text, message):
    content = text if isinstance(text, bytes) else text.encode()
    (project.root / "params.yaml").write_bytes(content)
    for attempt in (load_project, lambda root: load(project)):
        with pytest.raises(LatentlabError, match=message) as caught:
            attempt(project.root)
        assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(project, monkeypatch):
    path = project.root / "configs" / "vae.yaml"

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_text", refuse)
    with pytest.raises(LatentlabError, match=r"params.yaml cannot be read: .*Permission denied"):
        load_project(project.root)


SCALARS = [
    *("010", "0o10", "0x1F", "-0b11", "+3", "1_000", "08", "-0", "0o8", "0xg", "-_32", "1", "1.0"),
    *("1e-06", "1e6", "1E5", "1.0e-6", ".5", "5.", "-.5e-3", "1e", "1_0.5", ".inf", "-.INF", "inf"),
    *("1:30", "12:30:45", "2020-01-01", "0.1.2", "1,000", "--1", "yes", "no", "on", "off", "y"),
    *("Yes", "True", "TRUE", "false", "null", "~", "NULL", "nan", "text"),
]
ALPHABET = "0123456789abxoe+-.EnNtT"


def random_scalars(count):
    generator = random.Random(0)
    texts = ["".join(generator.choices(ALPHABET, k=generator.randint(1, 6))) for _ in range(count)]
    return [text for text in texts if text.strip("-")]


def test_every_scalar_is_read_as_dvc_reads_it(tmp_path):
    """DVC reads with ruamel, and compares these values to decide what to run."""
    scalars = [*SCALARS, *random_scalars(500)]
    path = tmp_path / "params.yaml"
    path.write_text("".join(f"k{n}: {text}\n" for n, text in enumerate(scalars)))
    for text, ours, dvcs in zip(
        scalars,
        read_yaml(path).values(),
        YAML(typ="safe").load(path.read_text()).values(),
        strict=True,
    ):
        assert type(ours) is type(dvcs), text
        assert ours == dvcs, text


def test_numbers_that_the_versions_of_yaml_read_in_two_ways(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: 010\nlr: 1e-06\ntime: 1:30\nname: no\n")
    assert read_yaml(path) == {"seed": 10, "lr": 1e-6, "time": "1:30", "name": "no"}


NUMBERS = (bool, int, float)


def settings_of(cls):
    """(class and argument, types) of the arguments of a class and of the settings inside them."""
    hints = typing.get_type_hints(cls if dataclasses.is_dataclass(cls) else cls.__init__)
    for name, hint in hints.items():
        options = typing.get_args(hint) if is_union(hint) else (hint,)
        yield f"{cls.__name__}.{name}", options
        for option in options:
            if dataclasses.is_dataclass(option):
                yield from settings_of(option)


def is_union(hint):
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union


def test_no_setting_means_something_else_as_1_as_1_0_or_as_true(repo):
    """These are equal to DVC: it would not see the change. So a setting has one type of number."""
    experiments = [
        load_experiment(path.stem, DATA_SPEC | {"image_shape": (1, 28, 28)}, repo)
        for path in sorted((repo / "configs").glob("*.yaml"))
    ]
    parts = [(type(e.model), type(e.sampler)) for e in experiments if e.sampler is not None]
    classes = {Project, *itertools.chain.from_iterable(parts)}
    seen = [entry for cls in classes for entry in settings_of(cls)]
    assert len(seen) > 200
    assert [name for name, options in seen if sum(o in NUMBERS for o in options) > 1] == []
