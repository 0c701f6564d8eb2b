"""Studies of what codes ask for and give away, on models right or wrong by construction."""

from types import SimpleNamespace

import pytest
import torch

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_uint8
from latentlab.data.prepared import Meta
from latentlab.evaluation import Yardsticks
from latentlab.priors import Coded, Conditional, with_class
from latentlab.studies import codes, conditioning

SHAPE, CLASSES = (1, 6, 6), 3
NAMES = ("left", "middle", "right")


def thirds(x):
    """The brightness of each third: a judge that is right by construction. (B, 3)."""
    return x.unflatten(3, (3, 2)).mean((1, 2, 4))


def picture(y, level):
    """Images (B, 1, 6, 6) whose third y (B,) is bright by `level` (B,)."""
    x = torch.zeros(len(y), *SHAPE)
    for row, third in enumerate(y.tolist()):
        x[row, :, :, 2 * third : 2 * third + 2] = level[row]
    return x


def split(count, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, CLASSES, (count,), generator=g)
    return Split(to_uint8(picture(y, 0.4 + torch.rand(count, generator=g) / 2)), y)


@pytest.fixture
def yard():
    counts = {"train": 300, "val": 9, "test": 200}
    meta = Meta("toy", SHAPE, NAMES, counts, (), 0, "0")
    return Yardsticks(meta, split(300, 0), split(200, 1), thirds, thirds, EvaluationSettings())


class Obedient:
    """Draws the third that the class names, as bright as the noise says; `order` renames thirds."""

    num_classes, latent_dim = CLASSES, 5

    def __init__(self, order=(0, 1, 2)):
        self.order = torch.tensor(order)

    def condition(self, z, y):
        return with_class(z, y, CLASSES)

    def decode(self, z):
        return picture(self.order[z[:, -CLASSES:].argmax(1)], 0.5 + z[:, 0].sigmoid() / 2)


class Reader(Obedient):
    """Also reads its codes back, with categories in another order than the classes'."""

    categories, continuous, num_classes = CLASSES, 1, 0
    condition = None

    def recognize(self, x):
        return thirds(x)[:, self.order], x.mean((1, 2, 3), keepdim=False)[:, None]


def trained(model, prior):
    prior.num_classes, prior.num_continuous = CLASSES, 1

    def draw(count, *, seed=0):
        return prior.sample((count, model.latent_dim), torch.Generator().manual_seed(seed))

    return SimpleNamespace(module=model, draw=draw, decode=torch.inference_mode()(model.decode))


def test_an_obedient_model_is_seen_to_be_one(yard):
    finding = conditioning.study(trained(Obedient(), Conditional()), yard)
    assert finding.numbers["requested_accuracy"] == 1
    assert finding.numbers["classification_accuracy_score"] == 1
    assert finding.numbers["real_images_instead"] == 1
    assert set(finding.table) == set(NAMES)
    assert not finding.flags


def test_a_model_that_mixes_classes_up_is_found_out(yard):
    finding = conditioning.study(trained(Obedient((1, 0, 2)), Conditional()), yard)
    assert finding.numbers["requested_accuracy"] == pytest.approx(1 / 3)
    third = float((yard.test.labels == 2).double().mean())
    assert finding.numbers["classification_accuracy_score"] == pytest.approx(third)
    assert finding.numbers["real_images_instead"] == 1
    assert finding.table["right"]["requested_accuracy"] == 1
    assert finding.flags == ["does not draw left when asked to"]


def test_rows_keep_the_noise_and_columns_the_class():
    images = conditioning.same_noise(trained(Obedient(), Conditional()), seed=0)
    assert images.shape == (8, 3, *SHAPE)
    assert thirds(images.flatten(0, 1)).argmax(1).tolist() == [0, 1, 2] * 8
    bright = images.flatten(2).max(2).values
    assert torch.allclose(bright, bright[:, :1].expand(-1, 3))
    assert len(bright[:, 0].unique()) == 8


def test_categories_in_another_order_are_no_error(yard):
    model = Reader((2, 0, 1))
    finding = codes.study(trained(model, Coded()), yard)
    assert finding.numbers["code_error"] == 0
    assert list(finding.table) == ["category 1: left", "category 2: middle", "category 0: right"]
    total = sum(row["images"] for row in finding.table.values())
    assert total == len(yard.test)


def test_a_reader_that_confuses_two_classes_errs_on_one_of_them(yard):
    model = Reader()
    model.recognize = lambda x: (thirds(x) * torch.tensor([1.0, 1.0, 0.0]), x[:, 0, 0, :1])
    error = codes.study(trained(model, Coded()), yard).numbers["code_error"]
    # classes 0 and 2 read alike, as category 0: it goes to the one that training has more of
    lost = 2 if (yard.train.labels == 0).sum() > (yard.train.labels == 2).sum() else 0
    assert error == pytest.approx(float((yard.test.labels == lost).double().mean()))


def test_without_labels_the_codes_are_drawn_and_not_scored(yard):
    blind = Split(yard.train.images), Split(yard.test.images)
    unlabelled = Yardsticks(yard.meta, *blind, thirds, None, yard.settings)
    finding = codes.study(trained(Reader(), Coded()), unlabelled)
    assert not finding.numbers
    assert [picture.name for picture in finding.pictures] == ["categories", "continuous_1"]


def test_a_traversal_moves_one_code_and_leaves_the_rest():
    model = Reader()
    model.decode = lambda z: z[:, None, None, :].sigmoid()  # the code itself, to look at
    lent = trained(model, Coded())
    moved = codes.traversal(lent, [2, 0, 1], 0, seed=0).logit()[:, :, 0, 0]  # (K, STEPS, D)
    assert torch.allclose(moved[0, :, 1], torch.linspace(-2, 2, codes.STEPS), atol=1e-4)
    assert torch.allclose(moved[:, :, 0], moved[0, 0, 0].expand(3, codes.STEPS))
    assert moved[:, 0, 2:].argmax(1).tolist() == [2, 0, 1]


def test_studies_apply_to_their_own_kind_only():
    assert conditioning.applies(Obedient())
    assert codes.applies(Reader())
    assert not codes.applies(Obedient())
    assert not conditioning.applies(object())
