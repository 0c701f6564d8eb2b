"""Evidence for the metrics: damages that grow, noise, and metrics that are called unreliable."""

import numpy as np
import pytest
import torch

from latentlab.config import EvaluationSettings
from latentlab.contracts import Split, to_uint8
from latentlab.data.prepared import DatasetInfo
from latentlab.evaluation import evidence as module
from latentlab.evaluation.evaluator import Evaluator
from latentlab.evaluation.evidence import (
    CLASS_ORDERS,
    NOISE,
    _damage,
    blurred,
    damaged_sets,
    effective_dimension,
    measure_evidence,
    shifted,
    unreliable,
)

SHAPE = (1, 8, 8)


def bars(count, seed):
    """Images of four classes: a bright bar in one of four columns, of random height."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    x = 0.1 * torch.rand(count, *SHAPE, generator=generator)
    heights = torch.randint(3, 8, (count,), generator=generator)
    for image, label, height in zip(x, labels.tolist(), heights.tolist(), strict=True):
        image[0, :height, 2 * label] += 0.8
    return Split(to_uint8(x), labels)


def evaluator(features):
    counts = {"train": 600, "val": 120, "test": 120}
    dataset = DatasetInfo("bars", SHAPE, tuple("abcd"), counts, (), 0, "0")
    settings = EvaluationSettings()
    return Evaluator(dataset, bars(600, 0), bars(120, 1), features, None, settings)


def local_means(x):
    """2×2 means of pixels and of squared pixels, (B, 32)."""
    return torch.cat([torch.nn.functional.avg_pool2d(y, 2).flatten(1) for y in (x, x * x)], 1)


REAL = {"precision": 0.95, "recall": 0.95, "coverage": 0.95}


def test_features_that_see_everything_pass():
    found = measure_evidence(evaluator(local_means), REAL, bars(120, 2))
    assert set(found["damages"]) == {
        "blur",
        "noise",
        "shift",
        "classes dropped",
        "few images repeated",
        "noise images mixed in",
    }
    assert "fid" not in found["unreliable"], found["damages"]
    assert found["noise"]["uniform noise"]["precision"] == 0
    assert found["floor_fid"][0] < found["floor_fid"][1] < found["damages"]["blur"]["fid"][-1]
    assert found["damages"]["noise"]["first_seen"] in module.NOISE
    for damage in found["damages"].values():
        for key in ("fid", "kid"):
            assert damage["rises"][key] == bool((np.diff(damage[key]) > 0).all())
    assert found["num_images"] == 120
    again = measure_evidence(evaluator(local_means), REAL, bars(120, 2))
    assert again == found


def test_features_that_see_only_the_mean_fail():
    """Neither a shift nor a blur changes the mean intensity much; noise is as precise as images."""

    def mean(x):
        return x.mean((2, 3)) + 0 * x.flatten(1)[:, :2]

    found = measure_evidence(evaluator(mean), REAL, bars(120, 2))
    assert "does not rise with growing damage" in found["unreliable"]["fid"]
    assert found["effective_dimension"] == pytest.approx(1)


def test_noise_and_poor_real_images_make_metrics_unreliable():
    fine = {"rises": {"fid": True, "kid": True}}
    flat = {"rises": {"fid": True, "kid": False}}
    quiet = {"precision": 0.0, "density": 0.0}
    noise = {"uniform noise": {"precision": 0.9, "density": 0.01}, "shuffled pixels": quiet}
    found = unreliable({"damages": {"blur": fine}, "noise": noise}, {**REAL, "recall": 0.5})
    assert found == {
        "precision": "uniform noise has a precision of 0.90 on these images",
        "recall": "real images have a recall of only 0.50",
    }
    silent = dict.fromkeys(noise, quiet)
    assert unreliable({"damages": {"blur": flat, "noise": fine}, "noise": silent}, REAL) == {}
    both = unreliable({"damages": {"blur": flat, "shift": flat}, "noise": silent}, REAL)
    assert both == {"kid": "it does not rise with growing damage by blur and shift"}


def test_the_effective_dimension_counts_equal_directions():
    x = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(0))
    assert effective_dimension(x) == pytest.approx(6, rel=0.01)
    scales = torch.tensor([1.0, 1, 1, 0, 0, 0])
    assert effective_dimension(x * scales) == pytest.approx(3, rel=0.01)
    assert effective_dimension(0 * x) == 1


def test_the_damages_are_what_they_are_called():
    train = bars(300, 0)
    sets = list(damaged_sets(train, 100, torch.Generator().manual_seed(0)))
    assert all(images.shape == (100, *SHAPE) for _, _, images in sets)
    assert all(0 <= float(images.min()) <= float(images.max()) <= 1 + 1e-6 for *_, images in sets)
    by_name = {(name, level): images for name, level, images in sets}
    assert len(by_name["few images repeated", 0.75].flatten(1).unique(dim=0)) == 25
    moved = [level for name, level, _ in sets if name == "shift"]
    assert moved == sorted(set(moved))
    assert moved[0] >= 1 / SHAPE[-1], "an image that is not moved is no damage"
    half = by_name["noise images mixed in", 0.5]
    assert torch.equal(half[50:], by_name["noise images mixed in", 0.1][50:])
    left = by_name["classes dropped", 0.5].flatten(2).amax(1).unflatten(1, (8, 8))
    columns = (left.mean((0, 1)) > 0.2).nonzero().flatten()
    assert len(columns) == 2, "two of four classes are left"


def test_each_damage_grows_in_the_steps_of_its_list():
    """100 images of 8 × 8 pixels and four classes."""
    train = bars(300, 0)
    x = train.some(100, seed=0).images / 255
    levels, images = {}, {}
    for name, level, each in damaged_sets(train, 100, torch.Generator().manual_seed(0)):
        levels.setdefault(name, []).append(level)
        images.setdefault(name, []).append(each)
    assert levels == {
        "blur": list(module.BLUR),
        "noise": list(module.NOISE),
        "shift": [1 / 8, 2 / 8, 3 / 8],
        "classes dropped": [1 / 4] * 5 + [2 / 4] * 5 + [3 / 4] * 5,
        "few images repeated": [1 / 2, 3 / 4, 7 / 8, 24 / 25],
        "noise images mixed in": list(module.MIXED),
    }
    for level, each in zip(module.BLUR, images["blur"], strict=True):
        torch.testing.assert_close(each, blurred(x, 8 * level))
    for pixels, each in enumerate(images["shift"], start=1):
        assert torch.equal(each[..., pixels:, pixels:], x[..., :-pixels, :-pixels])
        assert torch.equal(each[..., 0, 0], x[..., 0, 0])
    different = [len(each.flatten(1).unique(dim=0)) for each in images["few images repeated"]]
    assert different == [50, 25, 12, 4]
    replaced = [
        int((each != x).flatten(1).any(1).sum()) for each in images["noise images mixed in"]
    ]
    assert replaced == [2, 5, 10, 25, 50]
    for each, left in zip(images["classes dropped"], [3] * 5 + [2] * 5 + [1] * 5, strict=True):
        assert int((each.mean((0, 1, 2)) > 0.1).sum()) == left


@pytest.mark.parametrize("classes", [1, 2, 20])
def test_at_least_one_class_is_dropped_and_one_is_left(classes):
    labels = torch.arange(100) % classes
    split = Split(torch.randint(256, (100, *SHAPE), dtype=torch.uint8), labels)
    sets = damaged_sets(split, 10, torch.Generator().manual_seed(0))
    dropped = sorted({round(level * classes) for name, level, _ in sets if name[:7] == "classes"})
    assert dropped == {1: [], 2: [1], 20: [2, 4, 8, 12, 16]}[classes]


def test_images_are_repeated_only_if_there_are_too_few():
    train = Split(torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1))
    rows, generator = torch.tensor([4, 7, 9]), torch.Generator().manual_seed(0)
    found = 255 * module._resampled(train, rows, 10, generator).flatten()
    values, counts = found.round().unique(return_counts=True)
    assert values.tolist() == [4, 7, 9]
    assert sorted(counts.tolist()) == [3, 3, 4]
    few = 255 * module._resampled(train, torch.arange(50), 50, generator).flatten()
    assert few.round().sort().values.tolist() == list(range(50))


def test_the_floor_is_the_inner_95_percent_of_20_draws(monkeypatch):
    values = iter(torch.randperm(20, generator=torch.Generator().manual_seed(0)).double().tolist())
    sizes = []
    monkeypatch.setattr(module, "fid", lambda real, fake: sizes.append(len(fake)) or next(values))
    floor = module._floor(
        evaluator(local_means), torch.zeros(1), 30, torch.Generator().manual_seed(0)
    )
    assert floor == pytest.approx(tuple(np.percentile(np.arange(20), [2.5, 97.5])))
    assert sizes == [30] * 20


def test_noise_is_uniform_or_has_the_histogram_of_each_pixel(monkeypatch):
    real, seen, found = torch.zeros(1), [], []

    def counted(a, b):
        found.append({"precision": len(found) / 10, "density": len(found) ** 2 / 100})
        return found[-1]

    monkeypatch.setattr(module, "prdc", counted)
    measuring = evaluator(lambda x: seen.append(x) or x.flatten(1))
    noise = module._noise(measuring, real, 100, torch.Generator().manual_seed(0))
    uniform, shuffled = (torch.cat(seen[first::2]) for first in (0, 1))
    assert len(uniform) == len(shuffled) == 500
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.01)
    train = measuring.train.images / 255
    torch.testing.assert_close(shuffled.mean(0), train.mean(0), atol=0.06, rtol=0)
    assert not torch.isclose(shuffled.flatten(1)[:, None], train.flatten(1)).all(2).any()
    for name, first in (("uniform noise", 0), ("shuffled pixels", 1)):
        for key in ("precision", "density"):
            mean = np.mean([each[key] for each in found[first::2]])
            assert noise[name][key] == pytest.approx(mean)


def test_values_at_a_limit_are_reliable():
    noise = {
        "uniform noise": {"precision": 0.05, "density": 0.05},
        "shuffled pixels": {"precision": 0.2, "density": 0.1},
    }
    real = dict.fromkeys(REAL, 0.7)
    assert unreliable({"damages": {}, "noise": noise}, real) == {}
    assert unreliable({"damages": {}, "noise": noise}, {}) == {}
    for name, values in noise.items():
        for key in values:
            above = {**noise, name: {**values, key: values[key] + 0.01}}
            assert list(unreliable({"damages": {}, "noise": above}, real)) == [key]
    for key in real:
        assert list(unreliable({"damages": {}, "noise": noise}, {**real, key: 0.69})) == [key]
    flat = {"damages": {"blur": {"rises": {"fid": False, "kid": True}}}, "noise": noise}
    assert list(unreliable(flat, real)) == ["fid"]
    assert not module.rises([1.0, 1.0])


def test_the_noise_has_the_standard_deviation_of_its_level():
    grey = Split(torch.full((100, *SHAPE), 128, dtype=torch.uint8))
    generator = torch.Generator().manual_seed(0)
    stds = {
        n: float(x.std()) for name, n, x in damaged_sets(grey, 100, generator) if name == "noise"
    }
    assert list(stds) == list(NOISE)
    assert stds[min(NOISE)] == pytest.approx(min(NOISE), rel=0.05)  # the others are clipped, too
    assert list(stds.values()) == sorted(stds.values())


def test_fid_of_fewer_classes_is_a_mean_over_orders_of_the_classes():
    generator = torch.Generator().manual_seed(0)
    sets = [
        images
        for name, level, images in damaged_sets(bars(300, 0), 50, generator)
        if (name, level) == ("classes dropped", 0.25)
    ]
    assert len(sets) == CLASS_ORDERS
    left = {tuple((x.mean((0, 1, 2)) > 0.1).tolist()) for x in sets}
    assert len(left) > 1, "all orders drop the same class"
    damage = _damage({0.1: [(1.0, 5.0), (3.0, 3.0)], 0.2: [(6.0, 1.0), (2.0, 2.0)]}, 3.5)
    assert damage["fid"] == [2.0, 4.0]
    assert damage["kid"] == [4.0, 1.5]
    assert damage["rises"] == {"fid": True, "kid": False}
    assert damage["first_seen"] == 0.2


def test_blur_and_shift():
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    y = blurred(x, 1.0)[0, 0]
    assert float(y.sum()) == pytest.approx(1, abs=0.01)
    assert float(y[4, 4] / y[4, 5]) == pytest.approx(torch.tensor(0.5).exp().item(), rel=1e-3)
    assert torch.allclose(blurred(torch.ones(1, 1, 5, 7), 3.0), torch.ones(1, 1, 5, 7))
    moved = shifted(x, 2)
    assert moved[0, 0, 6, 6] == 1
    assert moved.sum() == 1
