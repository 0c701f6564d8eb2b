"""`latentlab.load`, with models that the whole pipeline has trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import latentlab
from latentlab.contracts import to_float
from latentlab.data.prepared import read_split
from latentlab.metrics.inversion import fraction_outside
from latentlab.utils.errors import LatentlabError

SHAPE = (1, 8, 8)
CODES = {"linear_ae": 32, "vae": 20, "dcgan": 16}


@pytest.fixture(params=sorted(CODES))
def trained(request, tiny):
    return latentlab.load(request.param, project=tiny.root)


@pytest.fixture(scope="module")
def x(tiny):
    return to_float(read_split(tiny.root / "data" / "prepared", "test").images[:6])


def test_every_family_encodes_decodes_and_samples(trained, x):
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


def test_samples_depend_on_their_seed_and_not_on_the_global_state(trained):
    state = torch.get_rng_state()
    first = trained.sample(5, seed=3)
    assert torch.equal(first, trained.sample(5, seed=3))
    assert not torch.equal(first, trained.sample(5, seed=4))
    assert torch.equal(torch.get_rng_state(), state)


def test_fewer_samples_are_the_first_of_more(trained):
    many = trained.sample_latents(64, seed=3)
    assert torch.equal(trained.sample_latents(8, seed=3), many[:8])
    assert torch.equal(trained.sample_latents(33, seed=3), many[:33])


def test_images_are_independent(trained, x):
    """Batch normalization is in eval mode, and many images are processed in blocks."""
    z = trained.sample_latents(1203)
    together = trained.decode(z)
    assert len(together) == 1203
    assert torch.allclose(together[1200:], trained.decode(z[1200:]), atol=1e-5)
    assert torch.allclose(trained.features(x)[2:3], trained.features(x[2:3]), atol=1e-4)
    assert not trained.module.training


def test_zero_images_are_reconstructed_and_zero_samples_are_an_error(trained):
    assert trained.reconstruct(torch.empty(0, *SHAPE)).shape == (0, *SHAPE)
    for count in (0, -1):
        with pytest.raises(
            LatentlabError, match=rf"number of codes is {count}. It must be a whole number from 1"
        ):
            trained.sample(count)


def test_inversion_is_better_than_the_nearest_prior_sample(tiny, x):
    gan = latentlab.load("dcgan", project=tiny.root)
    settings = gan.evaluation
    z = gan.sample_latents(settings.inversion_num_starts, seed=settings.seed)
    nearest = torch.cdist(x.flatten(1), gan.decode(z).flatten(1)).min(1).values.square()
    found = (gan.reconstruct(x) - x).square().flatten(1).sum(1)
    assert (found <= nearest + 1e-4).all()
    assert found.sum() < nearest.sum()


def test_inversion_stays_inside_the_prior_unless_it_is_told_otherwise(tiny):
    """Images far from all samples: a free search leaves the region of the prior."""
    gan = latentlab.load("dcgan", project=tiny.root)
    gan = replace(gan, evaluation=replace(gan.evaluation, inversion_steps=60))
    noise = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert fraction_outside(gan.encode(noise), gan.sampler) == 0
    assert fraction_outside(gan.encode(noise, within_prior=False), gan.sampler) > 0.5
    assert gan.encode(noise).norm(dim=1).max() <= 5.6571, "the 99 % norm in 16 dimensions"


def test_an_encoder_ignores_the_prior(tiny, x):
    vae = latentlab.load("vae", project=tiny.root)
    assert torch.equal(vae.encode(x, within_prior=False), vae.encode(x))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 9, 8), r"Images have shape \(2, 1, 9, 8\)\. .* needs \(N, 1, 8, 8\)"),
        (torch.zeros(1, 8, 8), r"Images have shape \(1, 8, 8\)\. .* needs"),
        (
            torch.zeros(2, *SHAPE, dtype=torch.uint8),
            r"Images are torch.uint8. They must be float in \[0, 1\]",
        ),
        (torch.full((2, *SHAPE), 1.01), r"values from 1.01 to 1.01. They must be in \[0, 1\]"),
        (torch.full((2, *SHAPE), -0.01), r"values from -0.01 .* must be in \[0, 1\]"),
        (torch.full((2, *SHAPE), torch.nan), r"values from nan .* must be in \[0, 1\]"),
    ],
    ids=["pixels", "one image", "uint8", "above", "below", "nan"],
)
def test_images_of_another_shape_or_range_are_an_error(trained, x, message):
    for use in (trained.encode, trained.reconstruct, trained.features):
        with pytest.raises(LatentlabError, match=message):
            use(x)


def test_codes_of_another_size_are_an_error(trained):
    size = CODES[trained.name]
    message = rf"Codes have shape \(2, {size + 1}\)\. {trained.name} needs \(N, {size}\)"
    with pytest.raises(LatentlabError, match=message):
        trained.decode(torch.zeros(2, size + 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_float_types_are_converted(trained, dtype):
    x = torch.rand(2, *SHAPE).to(dtype)
    assert trained.features(x).equal(trained.features(x.float()))
    z = torch.zeros(2, CODES[trained.name], dtype=dtype)
    assert trained.decode(z).equal(trained.decode(z.float()))


def test_the_classifier_has_no_decoder(tiny):
    classifier = latentlab.load("classifier", project=tiny.root)
    with pytest.raises(LatentlabError, match="classifier is no generative model"):
        classifier.decode(torch.zeros(2, 3))


def test_names_that_are_unknown_or_untrained_list_what_exists(tiny):
    have = "trained: classifier, dcgan, linear_ae, vae"
    with pytest.raises(LatentlabError, match=rf"unknown model 'vea': did you mean 'vae'\? {have}$"):
        latentlab.load("vea", project=tiny.root)
    message = f"unknown model 'nothing': {have}; configs: .*classifier, .*dcgan, .*vae"
    with pytest.raises(LatentlabError, match=message):
        latentlab.load("nothing", project=tiny.root)
    message = (
        "'stacked_ae' is not trained yet: list it under `models` in params.yaml, then run"
        f" `dvc repro train@stacked_ae`; {have}"
    )
    with pytest.raises(LatentlabError, match=message):
        latentlab.load("stacked_ae", project=tiny.root)


def test_nothing_trained_says_so(project):
    with pytest.raises(LatentlabError, match=r"unknown model 'x': trained: none"):
        latentlab.load("x", project=project.root)
    with pytest.raises(
        LatentlabError, match="'classifier' is not trained yet: run `dvc repro classifier`"
    ):
        latentlab.load("classifier", project=project.root)


def test_a_classifier_has_features_but_no_codes(tiny, x):
    classifier = latentlab.load("classifier", project=tiny.root)
    assert classifier.features(x).shape == (6, 128)
    for use in (
        lambda: classifier.sample(3),
        lambda: classifier.encode(x),
        lambda: classifier.reconstruct(x),
    ):
        message = "it cannot sample, .* Give the name of a trained one: dcgan, linear_ae, vae.$"
        with pytest.raises(LatentlabError, match=message):
            use()


def test_a_device_that_does_not_exist_is_an_error(tiny):
    with pytest.raises(LatentlabError, match=r"device 'warp:3' cannot be used.*cpu"):
        latentlab.load("vae", project=tiny.root, device="warp:3")


@pytest.fixture
def alone(tiny, tmp_path):
    """A run folder, copied to a place without a project."""
    return Path(shutil.copytree(tiny.root / "runs" / "linear_ae", tmp_path / "elsewhere"))


def test_a_run_folder_is_loaded_without_its_project(alone, tiny, x, monkeypatch):
    monkeypatch.chdir(alone.parent)
    there, here = latentlab.load("elsewhere"), latentlab.load("linear_ae", project=tiny.root)
    assert torch.equal(there.encode(x), here.encode(x))
    assert torch.equal(there.sample(4), here.sample(4)), "the run folder has the fitted sampler"


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["weights.pt", "sampler.pt"])
def test_a_pickle_in_place_of_weights_is_an_error_and_is_not_executed(alone, tmp_path, name):
    torch.save({"encoder.weight": Payload(tmp_path / "executed")}, alone / name)
    with pytest.raises(LatentlabError, match=rf"{name} does not hold this model's weights"):
        latentlab.load(alone)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["weights.pt", "sampler.pt"])
@pytest.mark.parametrize("size", [0, 3, 500])
def test_an_empty_or_truncated_file_is_called_so_with_the_commands_that_restore_it(
    fork, name, size
):
    path = fork.root / "runs" / "vae" / name
    path.write_bytes(path.read_bytes()[:size])
    what = "truncated, damaged or no file of tensors" if size else "empty"
    message = (
        rf"{name} does not hold this model's weights: the file is {what}. Restore it with `dvc"
        r" checkout --force runs/vae`, or train again with `dvc repro train@vae`$"
    )
    with pytest.raises(LatentlabError, match=message):
        latentlab.load("vae", project=fork.root)


def test_outside_of_a_project_a_damaged_file_is_copied_again(alone):
    (alone / "weights.pt").write_bytes(b"")
    with pytest.raises(LatentlabError, match=r"the file is empty. Copy or export the folder again"):
        latentlab.load(alone)


@pytest.mark.parametrize("content", [[1, 2], {}, {"encoder.weight": torch.zeros(1)}, "cut", "text"])
def test_weights_of_another_model_are_an_error_that_names_the_file(alone, content):
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


def test_a_damaged_experiment_json_is_named(alone):
    metadata = json.loads((alone / "experiment.json").read_text())
    del metadata["resolved"]
    (alone / "experiment.json").write_text(json.dumps(metadata))
    with pytest.raises(LatentlabError, match=r"not a complete run folder \('resolved'\)"):
        latentlab.load(alone)
    (alone / "experiment.json").write_text("{")
    with pytest.raises(LatentlabError, match=r"not a complete run folder"):
        latentlab.load(alone)
