import pytest

from latentlab.tasks.classification import Classification, misclassified
from latentlab.utils.errors import LatentlabError

TASK = Classification(mlp_hidden=32, mlp_steps=200, hidden=32, steps=80, pca_components=10)


@pytest.fixture(scope="module")
def result(context):
    return TASK.run(context)


def test_the_table_has_codes_pixels_and_one_model_per_class(result):
    assert list(result.table) == [
        *(f"{inputs}, {classifier}" for inputs in ("pixels", "PCA", "codes") for classifier in
          ("linear SVM", "MLP")),
        "PCA per class",
        "autoencoder per class",
    ]  # fmt: skip
    assert all(0.5 < row["accuracy"] <= 1 for row in result.table.values()), "chance is 0.1"
    equal = result.table["PCA, linear SVM"], result.table["codes, linear SVM"]
    assert equal[0] == equal[1], "the trained model of these tests is PCA"


def test_misclassified_images_are_in_the_figure(result, context, save_figures):
    assert set(save_figures(result)) <= {"misclassified"}
    assert misclassified(context.evaluator.test.labels, context.evaluator.test, []) == []


def test_missing_labels_or_encoder_are_refused(unlabelled, decoder_only):
    with pytest.raises(LatentlabError, match="the images have no labels"):
        TASK.run(unlabelled)
    with pytest.raises(LatentlabError, match="has no encoder"):
        TASK.run(decoder_only)
