"""YAML files are read strictly: what PyYAML accepts silently is an error with its line."""

import pytest

from latentlab.config import load_experiment, load_project
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
        ("seed: 0\nmodels: {on: vae}\n", r"line 2: the key 'on' is not read as text: put it in q"),
        ("[" * 3000, r"nested too deeply"),
        ("seed: 2020-13-45\n", r"params.yaml is not valid YAML: month must be in"),
        ("seed: !!python/object/apply:os.getcwd []\n", r"could not determine a constructor"),
        ("seed: 0\n#" + "x" * 2**20, r"params.yaml has 1,048,585 bytes; at most 1,048,576"),
        ("- 1\n", r"params.yaml is \[1\]; it must be a mapping of sections"),
        (b"seed: \xff\n", r"params.yaml is not valid YAML: 'utf-8' codec"),
    ],
    ids=range(12),
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
