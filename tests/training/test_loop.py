"""fit(): length, curves equal to a loop in plain PyTorch, validation means, cost, seeds."""

import json
import re

import pytest
import torch
import yaml

from latentlab.config import TrainerSettings
from latentlab.contracts import to_float
from latentlab.data.batch_sampler import epoch_batches
from latentlab.data.prepared import read_split
from latentlab.training import History, Schedule, fit
from latentlab.utils.errors import LatentlabError


def plain_loop(prepared):
    """Train linear_ae in plain PyTorch: Adam, a learning rate that falls linearly to 0."""
    prepared.edit("configs/linear_ae.yaml", model__init_args__lr=1e-3)
    experiment, _ = prepared.open_experiment("linear_ae")
    model, split = experiment.model, read_split(prepared.root / "data" / "prepared", "train")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for epoch in range(4):
        for rows in epoch_batches(len(split), prepared.BATCH, seed=0, epoch=epoch):
            x = to_float(split.images[rows]).flatten(1)
            x_hat = (x @ model.encoder.weight.T + model.encoder.bias) @ model.decoder.weight.T
            loss = (x_hat + model.decoder.bias - x).square().sum() / prepared.BATCH
            optimizer.param_groups[0]["lr"] = 1e-3 * (1 - len(losses) / prepared.STEPS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


def curve(fitted, split, quantity):
    """(images, value) of one curve."""
    rows = fitted.history.rows
    return [(images, value) for s, q, images, value in rows if (s, q) == (split, quantity)]


def test_curves_equal_a_plain_loop(prepared):
    reference, losses = plain_loop(prepared)
    model, fitted = prepared.fit("linear_ae", "a")
    train = curve(fitted, "train", "sse")
    ends = [5, 10, 15, 18, 20, 25, 30, 35, 36]  # every 5 steps, and before each checkpoint
    assert [images for images, _ in train] == [end * prepared.BATCH for end in ends]
    for start, end, (_, value) in zip([0, *ends], ends, train, strict=False):
        assert value == pytest.approx(sum(losses[start:end]) / (end - start), rel=1e-4)
    assert torch.allclose(model.decoder.weight, reference.decoder.weight, atol=1e-5)


def test_validation_is_the_mean_over_the_whole_split(prepared):
    model, fitted = prepared.fit("linear_ae", "a")
    val = curve(fitted, "val", "sse")
    steps = [prepared.VALIDATED, prepared.STEPS]
    assert [images for images, _ in val] == [step * prepared.BATCH for step in steps]
    split = read_split(prepared.root / "data" / "prepared", "val")
    assert len(split) % prepared.BATCH, "the last batch must be smaller, to test the weights"
    x = to_float(split.images)
    with torch.no_grad():
        sse = (model.decode_unclipped(model.encode(x)) - x).square().flatten(1).sum(1).mean()
    assert val[-1][1] == pytest.approx(sse.item(), rel=1e-5)


def test_cost_counts_the_training_images(prepared):
    _, fitted = prepared.fit("linear_ae", "a")
    images = fitted.cost["images_per_second"] * fitted.cost["train_seconds"]
    assert images == pytest.approx(prepared.STEPS * prepared.BATCH, rel=0.01)
    assert fitted.cost["peak_memory_mb"] > 1
    assert fitted.device == "cpu"
    assert fitted.is_main_process


def test_history_csv_has_steps_and_images():
    history = History(batch_size=10)
    history("train", {"loss": 0.1 + 0.2}, 50)
    header, line = history.csv().splitlines()
    assert header == "split,quantity,step,images,value"
    assert line == f"train,loss,5,50,{0.1 + 0.2!r}"
    assert float(line.split(",")[-1]) == 0.1 + 0.2


def test_dvc_draws_each_quantity_of_history_csv_in_a_chart_of_its_own(repo):
    """Without a template, DVC joins all quantities of a long table into one line."""
    columns = History().csv().strip().split(",")
    template = json.loads((repo / ".dvc" / "plots" / "curves.json").read_text())
    encoding = template["spec"]["encoding"]
    assert template["facet"]["field"] == "quantity"
    fields = {name: channel["field"] for name, channel in encoding.items()}
    assert fields == {"x": "images", "y": "value", "color": "rev", "strokeDash": "split"}
    assert {*fields.values(), template["facet"]["field"]} - {"rev"} <= set(columns)
    # DVC passes the cells of the table as text
    assert template["data"]["format"]["parse"] == {"images": "number", "value": "number"}
    assert template["resolve"] == {"scale": {"y": "independent"}}
    stages = yaml.safe_load((repo / "dvc.yaml").read_text())["stages"]
    for stage in (stages["evaluate"]["do"], stages["evaluate_seed"]):
        (curves,) = [plot for plot in stage["plots"] if isinstance(plot, dict)]
        assert list(curves.values()) == [{"x": "images", "y": "value", "template": "curves"}]


@pytest.mark.parametrize("name", ["linear_ae", "vae", "dcgan"])
def test_double_precision_agrees_with_single_precision(prepared, name):
    _, expected = prepared.fit(name, "single")
    prepared.edit("params.yaml", trainer__precision="64-true")
    model, fitted = prepared.fit(name, "double")
    assert {p.dtype for p in model.parameters()} == {torch.float32}, "weights are kept in float32"
    (first, *_), (again, *_) = expected.history.rows, fitted.history.rows
    assert again[-1] == pytest.approx(first[-1], rel=0.2), "the noise is another sample"
    if name == "linear_ae":
        assert again[-1] == pytest.approx(first[-1], rel=1e-4)
        assert again[-1] != first[-1]


def test_another_seed_gives_other_weights(prepared):
    first, _ = prepared.fit("vae", "a")
    prepared.edit("params.yaml", seed=1)
    second, _ = prepared.fit("vae", "b")
    a, b = (next(model.decoder.parameters()) for model in (first, second))
    assert not torch.equal(a, b)


def schedule(total_images, max_epochs, *, steps_per_epoch, validations=20):
    settings = TrainerSettings(
        batch_size=100,
        total_images=total_images,
        max_epochs=max_epochs,
        num_validations=validations,
    )
    return Schedule.of(settings, steps_per_epoch)


@pytest.mark.parametrize(
    ("steps_per_epoch", "epochs"),
    [(540, 19), (35, 60), (500, 20)],  # 54,000 images: by images; 3,500: by epochs; equal
)
def test_the_lesser_of_images_and_epochs_counts(steps_per_epoch, epochs) -> None:
    found = schedule(1_000_000, 60, steps_per_epoch=steps_per_epoch)
    assert (found.epochs, found.steps) == (epochs, epochs * steps_per_epoch)


def test_without_a_limit_all_images_are_seen() -> None:
    found = schedule(1_000_000, None, steps_per_epoch=35)
    assert found.steps * 100 >= 1_000_000
    assert found.epochs % found.validate_every == 0


def test_the_example_of_the_documentation_is_what_is_trained(repo) -> None:
    """docs/quick-start.md says how many images are asked for and how many are trained."""
    text = " ".join((repo / "docs" / "quick-start.md").read_text().split())
    example = re.search(
        r"an epoch has ([\d,]+) images\. For ([\d,]+) images and (\d+) validations, (\d+) epochs"
        r" are needed, a validation follows every (\d+) epochs, and (\d+) epochs are trained:"
        r" ([\d,]+) images",
        text,
    )
    epoch, asked, validations, needed, every, epochs, trained = (
        int(number.replace(",", "")) for number in example.groups()
    )
    settings = TrainerSettings(batch_size=64, total_images=asked, num_validations=validations)
    found = Schedule.of(settings, epoch // 64)
    assert (found.validate_every, found.epochs, found.steps * 64) == (every, epochs, trained)
    assert needed == -(-asked // epoch)
    assert trained == epochs * epoch > needed * epoch


@pytest.mark.parametrize("limit", [1, 7, 20, 41, 53, 99])
@pytest.mark.parametrize("validations", [1, 3, 20])
def test_the_limit_is_never_exceeded_and_the_last_epoch_is_validated(limit, validations) -> None:
    found = schedule(10**9, limit, steps_per_epoch=10, validations=validations)
    assert 1 <= found.epochs <= limit
    assert found.epochs % found.validate_every == 0
    assert found.epochs // found.validate_every <= validations
    assert found.epochs > limit - found.validate_every


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_an_error(limit) -> None:
    with pytest.raises(LatentlabError, match=r"trainer\.max_epochs is .*≥ 1 or null"):
        TrainerSettings(max_epochs=limit)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda self, batch, index: None, "LinearAE.training_step returned NoneType"),
        (lambda self, batch, index: {"sse": batch[0].sum()}, "returned sse, no loss"),
        (lambda self, batch, index: self.log("my_metric", 1.0), "self.log for 'my_metric'"),
    ],
)
def test_a_wrong_training_step_is_refused_at_the_first_step(prepared, monkeypatch, step, message):
    experiment, data = prepared.open_experiment("linear_ae")
    monkeypatch.setattr(type(experiment.model), "training_step", step)
    with pytest.raises(LatentlabError, match=message):
        fit(experiment, data, work=prepared.root / ".checkpoints" / "wrong")
    assert "training_step" not in vars(experiment.model)


def test_what_a_step_returns_is_in_the_history_under_its_name(prepared, monkeypatch):
    experiment, data = prepared.open_experiment("linear_ae")
    step = type(experiment.model).training_step

    def with_metric(self, batch, index):
        return {**step(self, batch, index), "my_metric": batch[0].max()}

    monkeypatch.setattr(type(experiment.model), "training_step", with_metric)
    fitted = fit(experiment, data, work=prepared.root / ".checkpoints" / "own")
    values = [row[3] for row in fitted.history.rows if row[:2] == ("train", "my_metric")]
    assert set(values) == {1.0}
