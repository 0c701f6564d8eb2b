import pytest
import torch

from latentlab.contracts import LatentlabError
from latentlab.tasks.classification import Classification, misread
from latentlab.tasks.fitting import standardised

TASK = Classification(network=32, network_steps=200, hidden=32, steps=80, components=10)


@pytest.fixture(scope="module")
def finding(context):
    return TASK.run(context)


def test_codes_pixels_and_one_model_per_class_are_compared(finding):
    assert list(finding.table) == [
        *(f"{what}, {how}" for what in ("pixels", "PCA", "codes") for how in
          ("linear SVM", "network")),
        "PCA per class",
        "autoencoder per class",
    ]  # fmt: skip
    assert all(0.5 < row["accuracy"] <= 1 for row in finding.table.values()), "guessing is 0.1"
    same = finding.table["PCA, linear SVM"], finding.table["codes, linear SVM"]
    assert same[0] == same[1], "here the trained model is PCA"


def test_inputs_are_standardised_by_the_training_images():
    train = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    z, z_test = standardised(train, torch.tensor([[2.0, 7.0]]))
    torch.testing.assert_close(z.mean(0), torch.zeros(2))
    torch.testing.assert_close(z[:, 0].std(), torch.tensor(1.0))
    torch.testing.assert_close(z_test, torch.tensor([[0.0, 2.0]]))


def test_pictures_are_drawn_where_anything_is_misread(finding, context, drawn):
    assert set(drawn(finding)) <= {"misread"}
    assert misread(context.yard.test.labels, context.yard.test, []) == []


def test_what_cannot_be_classified_is_refused(unlabelled, decoder_only):
    with pytest.raises(LatentlabError, match="the data have no classes"):
        TASK.run(unlabelled)
    with pytest.raises(LatentlabError, match="has no encoder"):
        TASK.run(decoder_only)
