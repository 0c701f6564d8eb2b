"""Discrete codes are names: other names of the codebook's vectors change no result."""

from dataclasses import replace

import pytest
import torch

from latentlab.contracts import to_float
from latentlab.inference.codes import code_bits, code_vectors
from latentlab.inference.trained import TrainedModel
from latentlab.models.linear_ae import LinearAE
from latentlab.models.vq_vae import VQVAE
from latentlab.tasks.classification import Classification
from latentlab.tasks.compression import Compression
from latentlab.tasks.retrieval import Retrieval
from tasks.conftest import DIGITS, make_context


def trained(module):
    return TrainedModel("model", None, module.eval(), None, (1, 8, 8), None, {})


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return VQVAE((1, 8, 8), codebook_size=16, embedding_dim=4, width=4).eval()


@pytest.fixture(scope="module")
def renamed(model):
    """The same model with its vectors in another order."""
    other = VQVAE((1, 8, 8), codebook_size=16, embedding_dim=4, width=4).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.codebook.copy_(model.codebook[torch.randperm(16)])
    return other


def in_context(module):
    return replace(make_context(DIGITS), trained=trained(module))


def test_vectors_are_those_of_the_codebook(model, renamed):
    x = torch.rand(6, 1, 8, 8)
    z, other = trained(model).encode(x), trained(renamed).encode(x)
    assert not z.equal(other), "the names differ"
    assert code_vectors(trained(model), x).equal(code_vectors(trained(renamed), x))
    assert code_vectors(trained(model), x).equal(model.features(x))
    assert trained(model).decode(z).equal(trained(renamed).decode(other))


def test_codes_that_are_vectors_stay_as_they_are():
    model, x = trained(LinearAE((1, 8, 8), latent_dim=5)), torch.rand(6, 1, 8, 8)
    assert code_vectors(model, x).equal(model.encode(x))
    assert code_bits(model) == 5 * 32


def test_an_index_of_sixteen_has_four_bits(model):
    assert code_bits(trained(model)) == model.latent_dim * 4


def test_retrieval_does_not_depend_on_the_names(model, renamed):
    task = Retrieval(num_queries=50, num_bits=8, hidden=8, steps=1)
    rows = [task.run(in_context(each)).table["codes"] for each in (model, renamed)]
    assert rows[0] == rows[1]
    assert rows[0]["bits"] == model.latent_dim * 4


def test_classification_does_not_depend_on_the_names(model, renamed):
    task = Classification(mlp_steps=20)
    predicted = [task.predict_from_codes(in_context(each)) for each in (model, renamed)]
    for name, classes in predicted[0].items():
        assert classes.equal(predicted[1][name]), name


def test_a_file_of_indices_is_lossless_whatever_their_names(model, renamed):
    task = Compression()
    for each in (model, renamed):
        context = in_context(each)
        test = context.evaluator.test
        (point,) = task.by_model(context, test)
        expected = trained(each).reconstruct(to_float(test.images[: len(point.images)]))
        assert point.images.equal(expected)
    sizes = {task.by_model(in_context(each), test)[0].bytes_per_image for each in (model, renamed)}
    quality = {task.by_model(in_context(each), test)[0].psnr_db for each in (model, renamed)}
    assert len(quality) == 1
    assert max(sizes) <= 1.05 * min(sizes), "only the tables of frequencies may differ"
