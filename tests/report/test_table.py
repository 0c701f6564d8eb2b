"""The HTML tables of all models and of one model."""

import re

from latentlab.report.table import models_table, numbers_table


def test_the_best_model_is_bold_and_baselines_are_not(evaluated, read):
    table = models_table(read(evaluated))
    bold = {
        row.split('data-v="')[1].split('"')[0]: row.count("<b>") for row in table.split("<tr")[3:]
    }
    assert bold["Deep convolutional GAN"] > 0
    assert bold["Real images"] == bold["PCA-16"] == 0


def test_an_optional_metric_has_a_column_only_if_a_model_has_it(evaluated, read):
    comparison = read(evaluated)
    assert 'data-key="likelihood/elbo_nats"' in models_table(comparison)
    for row in comparison.rows:
        row.values.pop("likelihood/elbo_nats", None)
    assert "elbo" not in models_table(comparison)


def test_one_model_is_compared_with_pca_of_its_size_and_real_images(evaluated, read):
    comparison = read(evaluated)
    heads = {
        model.row.name: re.findall(
            r'<th scope="col">([^<]+)</th>', numbers_table(model, comparison)
        )
        for model in comparison.models
    }
    assert heads["vae"] == ["Variational autoencoder", "PCA-16", "Real images"]
    assert heads["dcgan"] == ["Deep convolutional GAN", "Real images"]


def test_unknown_metrics_of_a_model_are_in_the_group_other(evaluated, read):
    comparison = read(evaluated)
    (vae,) = [model for model in comparison.models if model.row.name == "vae"]
    other = numbers_table(vae, comparison).split(">Other<")[1]
    assert re.search(r"test loss</th><td>24\.2", other)
