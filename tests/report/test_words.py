"""Names of quantities, and addresses of papers."""

import pytest

from latentlab.report.words import link_of, words_of


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("kl_nats", "KL (nats)"),
        ("psnr_db", "PSNR (dB)"),
        ("likelihood/log_px_nats", "Log p(x) (nats)"),
        ("d_accuracy_fake", "Discriminator accuracy fake"),
        ("test_images_residual_variance", "Test images residual variance"),
        ("seconds", "Seconds"),
        ("SSE of PCA-20", "SSE of PCA-20"),
        ('<img src="x">', '<img src="x">'),
    ],
)
def test_an_identifier_becomes_words(key, words):
    assert words_of(key) == words


def test_the_split_of_a_term_of_the_loss_is_last():
    assert words_of("test_kl_nats", split=True) == "KL, test (nats)"
    assert words_of("test_loss", split=True) == "Loss, test"
    assert words_of("test", split=True) == "Test"


@pytest.mark.parametrize(
    ("paper", "link"),
    [
        ("Kingma & Welling 2014, arXiv:1312.6114, eq. 10.", "https://arxiv.org/abs/1312.6114"),
        ("Somebody 2006, doi:10.1126/science.1127647.", "https://doi.org/10.1126/science.1127647"),
        ("Hinton 2006, “Reducing the dimensionality”.", ""),
        ('arXiv:"><script>', ""),
    ],
)
def test_a_paper_with_an_identifier_has_a_link(paper, link):
    assert link_of(paper) == link
