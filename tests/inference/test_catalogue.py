"""`latentlab.models`: the models of a project."""

import pytest

import latentlab
from latentlab.utils.errors import LatentlabError


@pytest.fixture
def models(tiny):
    return latentlab.models(tiny.root)


def test_every_config_is_listed_with_its_state(models, tiny):
    expected = sorted(p.stem for p in (tiny.root / "configs").glob("*.yaml"))
    expected.remove("classifier")
    assert models.names == expected
    assert {m.name for m in models if m.trained} == {"linear_ae", "vae", "dcgan"}
    by_name = {m.name: m for m in models}
    assert (by_name["vae"].family, by_name["vae"].title) == ("VAE", "Variational autoencoder")
    assert by_name["beta_vae"].title == "β-VAE", "the title of the config"
    conditional = [m.name for m in models if m.conditional]
    assert conditional == ["conditional_gan", "conditional_vae"]


def test_it_prints_as_a_table(models):
    lines = repr(models).splitlines()
    assert lines[0].split() == ["name", "family", "trained", "title"]
    assert len(lines) == 1 + len(models)
    html = models._repr_html_()
    assert html.count("<tr>") == 1 + len(models)
    assert "<td>Variational autoencoder</td>" in html


def test_a_class_of_another_package_is_not_imported(project):
    project.edit("configs/vae.yaml", model__class_path="antigravity.Model")
    entry = next(m for m in latentlab.models(project.root) if m.name == "vae")
    assert (entry.family, entry.trained) == ("", False)


def test_outside_of_a_project(tmp_path):
    with pytest.raises(LatentlabError, match=r"no params\.yaml in"):
        latentlab.models(tmp_path)


def test_the_name_is_also_the_package_of_the_models(tiny):
    """`import latentlab.models.vae` must not hide the function, and the other way round."""
    from latentlab.models.vae import VAE

    assert latentlab.models.vae.VAE is VAE
    assert "vae" in latentlab.models(tiny.root).names
