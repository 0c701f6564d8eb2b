"""Words that were replaced by a standard term do not come back (docs/glossary.md)."""

import re
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
SKIPPED = {"tests/test_vocabulary.py", "CHANGELOG.md", "LICENSE", "requirements.lock"}
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".html", ".ipynb", ".sh"}

# Replaced words, as whole words, in any case: in code, comments, YAML, messages and docs.
WORDS = [
    "judge",
    "judges",
    "yardstick",
    "yardsticks",
    "yard",
    "study",
    "studies",
    "twin",
    "twins",
    "rival",
    "rivals",
    "spoil",
    "spoils",
    "spoilt",
    "clerk",
    "clerks",
    "hire",
    "hired",
    "employ",
    "employer",
    "dismiss",
    "undelivered",
    "told_apart",
    "codes_are_normal",
    "ink_levels",
    "strangers",
    "cures",
    "cure",
    "d_steps",
    "n_critic",
    "game_lr",
    "lr_decay",
    "d_lr",
    "beta1",
    "r1_every",
    "r1_weight",
    "game_weight",
    "minibatch_std",
    "instance_noise",
    "balance_rate",
    "low_precision",
    "least_scale",
    "clean_share",
    "ge_loss",
    "d_real",
    "d_fake",
    "book_error",
    "code_sse",
    "jacobian_sq",
    "inactive_share",
    "unused_in_batch_share",
    "requested_accuracy",
    "requested_class_accuracy",
    "classes_covered",
    "feature_spread",
    "unused_units",
    "class_moved_share",
    "log_every",
    "on_unreadable_stop",
    "inversion_images",
    "inversion_draws",
    "probe_images",
    "checkpoint_seconds",
    "judge_accuracy",
    "pca_angle_max_rad",
    "pca_angle_mean_rad",
    "fillsin",
    "toldtheclass",
    "normalcodes",
    "symbolcodes",
    "smoothencoder",
    "yardsticks",
    "untimed",
    "mistake",
]
PATTERN = re.compile(
    r"(?<![\w-])(" + "|".join(map(re.escape, WORDS)) + r")(?![\w-])", re.IGNORECASE
)


def files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=REPO, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return [f for f in listed if Path(f).suffix in SUFFIXES and f not in SKIPPED]


def old_words(text: str) -> list[str]:
    return sorted({match[1] for match in PATTERN.finditer(text)})


@pytest.mark.parametrize("text", ["the judge's features", "cures:", "two Yardsticks", "d_steps: 3"])
def test_an_old_word_is_found(text):
    assert old_words(text)


def test_no_old_word_comes_back():
    found = {
        file: words for file in files()
        if (REPO / file).is_file() and (words := old_words((REPO / file).read_text("utf-8")))
    }  # fmt: skip
    assert not found
