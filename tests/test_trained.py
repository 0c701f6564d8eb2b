"""What `latentlab.load` returns, on models that the whole pipeline has trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import latentlab
from latentlab.contracts import LatentlabError, to_float
from latentlab.data.prepared import read_split

SHAPE = (1, 8, 8)
CODES = {"linear_ae": 32, "vae": 20, "dcgan": 16}


@pytest.fixture(params=sorted(CODES))
def trained(request, tiny):
    return latentlab.load(request.param, project=tiny.root)


@pytest.fixture(scope="module")
def x(tiny):
    return to_float(read_split(tiny.root / "data" / "prepared", "test").images[:6])


def test_every_family_does_everything(trained, x):
    codes = trained.encode(x)
    assert codes.shape == (6, CODES[trained.name])
    assert trained.has_encoder == (trained.name != "dcgan")
    for images in (trained.reconstruct(x), trained.decode(codes), trained.sample(6)):
        assert images.shape == (6, *SHAPE)
        assert images.dtype == torch.float32
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        assert not images.requires_grad
    assert torch.equal(trained.reconstruct(x), trained.decode(codes))
    assert trained.features(x).shape[0] == 6


def test_samples_belong_to_their_seed_and_spare_the_global_one(trained):
    state = torch.get_rng_state()
    first = trained.sample(5, seed=3)
    assert torch.equal(first, trained.sample(5, seed=3))
    assert not torch.equal(first, trained.sample(5, seed=4))
    assert torch.equal(torch.get_rng_state(), state)


def test_each_image_is_treated_alone(trained, x):
    """Batch normalisation rests, and many images pass through in blocks."""
    z = trained.draw(1203)
    together = trained.decode(z)
    assert len(together) == 1203
    assert torch.allclose(together[1200:], trained.decode(z[1200:]), atol=1e-5)
    assert torch.allclose(trained.features(x)[2:3], trained.features(x[2:3]), atol=1e-4)
    assert not trained.module.training


def test_no_images_reconstruct_to_none_and_no_samples_are_a_mistake(trained):
    assert trained.reconstruct(torch.empty(0, *SHAPE)).shape == (0, *SHAPE)
    for count in (0, -1):
        with pytest.raises(LatentlabError, match=rf"{count} codes cannot be drawn: ask for 1"):
            trained.sample(count)


def test_the_search_for_codes_beats_the_nearest_draw(tiny, x):
    gan = latentlab.load("dcgan", project=tiny.root)
    draws = gan.decode(gan.draw(gan.evaluation.inversion_draws, seed=gan.evaluation.seed))
    nearest = torch.cdist(x.flatten(1), draws.flatten(1)).min(1).values.square()
    found = (gan.reconstruct(x) - x).square().flatten(1).sum(1)
    assert (found <= nearest + 1e-4).all()
    assert found.sum() < nearest.sum()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 9, 8), r"shape \(2, 1, 9, 8\) do not fit .*: it needs \(N, 1, 8, 8\)"),
        (torch.zeros(1, 8, 8), r"shape \(1, 8, 8\) do not fit"),
        (torch.zeros(2, *SHAPE, dtype=torch.uint8), r"must be float in \[0, 1\], got torch.uint8"),
        (torch.full((2, *SHAPE), 1.01), r"must be float in \[0, 1\]"),
        (torch.full((2, *SHAPE), -0.01), r"must be float in \[0, 1\]"),
        (torch.full((2, *SHAPE), torch.nan), r"must be float in \[0, 1\]"),
    ],
    ids=["pixels", "one image", "uint8", "above", "below", "nan"],
)
def test_images_that_do_not_fit(trained, x, message):
    for use in (trained.encode, trained.reconstruct, trained.features):
        with pytest.raises(LatentlabError, match=message):
            use(x)


def test_codes_that_do_not_fit(trained):
    size = CODES[trained.name]
    message = rf"codes of shape \(2, {size + 1}\) do not fit {trained.name}: it needs \(N, {size}\)"
    with pytest.raises(LatentlabError, match=message):
        trained.decode(torch.zeros(2, size + 1))


def test_names_that_are_unknown_or_untrained_list_what_exists(tiny):
    have = "trained: dcgan, judge, linear_ae, vae"
    message = f"unknown model 'vea': {have}; configs: .*dcgan, .*judge, .*vae"
    with pytest.raises(LatentlabError, match=message):
        latentlab.load("vea", project=tiny.root)
    message = f"'stacked_ae' is not trained yet: `dvc repro train@stacked_ae`; {have}"
    with pytest.raises(LatentlabError, match=message):
        latentlab.load("stacked_ae", project=tiny.root)


def test_nothing_trained_says_so(project):
    with pytest.raises(LatentlabError, match=r"unknown model 'x': trained: none yet"):
        latentlab.load("x", project=project.root)
    with pytest.raises(LatentlabError, match="'judge' is not trained yet: `dvc repro judge`"):
        latentlab.load("judge", project=project.root)


def test_a_classifier_describes_but_does_not_draw(tiny, x):
    judge = latentlab.load("judge", project=tiny.root)
    assert judge.features(x).shape == (6, 128)
    for use in (lambda: judge.sample(3), lambda: judge.encode(x), lambda: judge.reconstruct(x)):
        with pytest.raises(LatentlabError, match=r"judge has no latent sampler.*features"):
            use()


def test_a_device_that_is_not_there(tiny):
    with pytest.raises(LatentlabError, match=r"device 'warp:3' cannot be used.*cpu"):
        latentlab.load("vae", project=tiny.root, device="warp:3")


@pytest.fixture
def alone(tiny, tmp_path):
    """A run folder carried off to where there is no project."""
    return Path(shutil.copytree(tiny.root / "runs" / "linear_ae", tmp_path / "elsewhere"))


def test_a_run_folder_stands_on_its_own(alone, tiny, x, monkeypatch):
    monkeypatch.chdir(alone.parent)
    there, here = latentlab.load("elsewhere"), latentlab.load("linear_ae", project=tiny.root)
    assert torch.equal(there.encode(x), here.encode(x))
    assert torch.equal(there.sample(4), here.sample(4)), "the fitted sampler came along"


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["weights.pt", "sampler.pt"])
def test_a_pickle_in_place_of_weights_is_refused_unexecuted(alone, tmp_path, name):
    torch.save({"encoder.weight": Payload(tmp_path / "executed")}, alone / name)
    with pytest.raises(LatentlabError, match=rf"{name} does not hold this model's weights"):
        latentlab.load(alone)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"encoder.weight": torch.zeros(1)}, "cut", "text"])
def test_weights_of_something_else_are_refused_by_name(alone, content):
    path = alone / "weights.pt"
    if content == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif content == "text":
        path.write_text("no weights")
    else:
        torch.save(content, path)
    with pytest.raises(LatentlabError, match=r"weights.pt does not hold this model's weights"):
        latentlab.load(alone)


@pytest.mark.parametrize("name", ["weights.pt", "sampler.pt"])
def test_missing_weights_are_named(alone, name):
    (alone / name).unlink()
    with pytest.raises(LatentlabError, match=rf"not a complete run folder.*{name}.*dvc repro"):
        latentlab.load(alone)


def test_a_damaged_description_is_named(alone):
    card = json.loads((alone / "experiment.json").read_text())
    del card["resolved"]
    (alone / "experiment.json").write_text(json.dumps(card))
    with pytest.raises(LatentlabError, match=r"not a complete run folder \('resolved'\)"):
        latentlab.load(alone)
    (alone / "experiment.json").write_text("{")
    with pytest.raises(LatentlabError, match=r"not a complete run folder"):
        latentlab.load(alone)
