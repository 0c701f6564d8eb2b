"""Samples during training: neutral to the training, the same after a resume, stored in the run."""

import numpy as np
import pytest
import torch
from lightning import LightningModule
from torch import nn

from latentlab.contracts import Split, to_uint8
from latentlab.training import loop, resume
from latentlab.training.checkpoints import list_checkpoints
from latentlab.training.training_samples import TrainingSamples, training_samples
from latentlab.training.write_run import write_run

MODELS = {
    "stacked_ae": {},  # reconstructions: its sampler is fitted after training
    "vae": {},
    "dcgan": {"trainer__ema_decay": 0.9},  # with batch normalization
    "gan": {},
}


def without_samples(monkeypatch):
    monkeypatch.setattr(loop, "training_samples", lambda *_, **__: None)


@pytest.mark.parametrize("name", list(MODELS))
def test_weights_and_curves_are_those_of_a_training_without_samples(prepared, name, monkeypatch):
    prepared.edit("params.yaml", **MODELS[name], trainer__num_validations=4)
    model, fitted = prepared.fit(name, "with")
    assert list(fitted.samples.frames) == [fitted.images // 4 * (i + 1) for i in range(4)]
    assert fitted.samples.are_reconstructions == (name == "stacked_ae")
    with monkeypatch.context() as patch:
        without_samples(patch)
        plain, expected = prepared.fit(name, "without")
    assert expected.samples is None
    assert fitted.history.rows == expected.history.rows
    for key, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_the_last_frame_has_the_samples_of_the_trained_model(prepared):
    model, fitted = prepared.fit("vae", "whole")
    seed = prepared.open_experiment("vae")[0].project.evaluation.seed
    z = torch.randn(16, model.latent_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = to_uint8(model.eval().decode(z))
    frames = list(fitted.samples.frames.values())
    assert torch.equal(frames[-1], expected)
    assert not torch.equal(frames[0], frames[-1])


def test_the_frames_of_a_resumed_training_are_those_of_the_uninterrupted_one(prepared, monkeypatch):
    prepared.edit("params.yaml", trainer__num_validations=4)
    _, whole = prepared.fit("vae", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingSamples, "on_validation_end", stop_after(2))
        with pytest.raises(RuntimeError, match="the power went off"):
            prepared.fit("vae", "parts")
    newest = list_checkpoints(prepared.root / ".checkpoints" / "parts")[-1]
    stored = resume.read_checkpoint(newest)["callbacks"]["TrainingSamples"]["frames"]
    assert list(stored) == list(whole.samples.frames)[:2]
    _, resumed = prepared.fit("vae", "parts", resume=True)
    assert list(resumed.samples.frames) == list(whole.samples.frames)
    for images, frame in whole.samples.frames.items():
        assert torch.equal(resumed.samples.frames[images], frame)
    _, finished = prepared.fit("vae", "parts", resume=True)  # no step is left
    assert list(finished.samples.frames) == list(whole.samples.frames)


def stop_after(count):
    original = TrainingSamples.on_validation_end

    def stopped(self, trainer, pl_module):
        if len(self.frames) == count:
            raise RuntimeError("the power went off")
        original(self, trainer, pl_module)

    return stopped


def test_the_run_folder_has_the_frames(prepared):
    _, fitted = prepared.fit("stacked_ae", "whole")
    experiment, data = prepared.open_experiment("stacked_ae")
    folder = write_run(experiment, data.dataset, fitted, run_id="")
    with np.load(folder / "training_samples.npz", allow_pickle=False) as stored:
        assert stored["training_samples"].shape == (2, 16, 8, 8, 1)
        assert stored["training_samples"].dtype == np.uint8
        assert stored["training_images"].tolist() == [18 * 128, 36 * 128]
        assert stored["training_are_reconstructions"] == 1


def test_the_classifier_has_none(prepared):
    _, fitted = prepared.fit("classifier", "whole")
    assert fitted.samples is None


class Noisy(LightningModule):
    """Its decoder draws noise, updates a buffer in training mode, and one part stays in eval."""

    def __init__(self):
        super().__init__()
        self.norm, self.frozen = nn.BatchNorm1d(4), nn.Dropout()
        self.frozen.eval()

    def decode(self, z):
        assert not torch.is_grad_enabled()
        return self.norm(z + torch.rand_like(z)).reshape(-1, 1, 2, 2)


class FakeTrainer:
    """The attributes of a trainer that the callback reads."""

    check_val_every_n_epoch, is_global_zero = 2, True

    class fit_loop:
        total_batch_idx = 9

    def __init__(self, validation):
        self.current_epoch = 2 * validation - 1


def test_no_random_state_buffer_or_mode_changes():
    model = Noisy()
    samples = TrainingSamples(
        lambda m: m.decode(torch.full((16, 4), 2.0)),
        are_reconstructions=False,
        num_validations=1,
        max_times=10,
        batch_size=8,
    )
    random, buffers = torch.get_rng_state(), {k: v.clone() for k, v in model.named_buffers()}
    samples.on_validation_end(FakeTrainer(1), model)
    assert list(samples.frames) == [80]
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, buffers[k]) for k, v in model.named_buffers())
    assert (model.training, model.norm.training, model.frozen.training) == (True, True, False)


@pytest.mark.parametrize(
    ("validations", "most", "expected"),
    [
        (20, 10, [1, 3, 5, 7, 9, 12, 14, 16, 18, 20]),
        (3, 10, [1, 2, 3]),
        (20, 3, [1, 10, 20]),
        (1, 10, [1]),
    ],
)
def test_the_first_and_the_last_validation_and_evenly_between(validations, most, expected):
    samples = TrainingSamples(
        lambda m: torch.zeros(16, 1, 2, 2),
        are_reconstructions=False,
        num_validations=validations,
        max_times=most,
        batch_size=1,
    )
    assert sorted(samples.validations) == expected


def test_a_diffusion_model_is_sampled_three_times(prepared):
    """Its decoder runs the network 20 times."""
    experiment, data = prepared.open_experiment("ddpm")
    samples = training_samples(
        experiment, data.split("val"), num_validations=20, on_frame=lambda *_: None
    )
    assert sorted(samples.validations) == [1, 10, 20]


def test_without_validation_images_nothing_can_be_reconstructed(prepared):
    experiment, _ = prepared.open_experiment("stacked_ae")
    empty = Split(torch.zeros(0, 1, 8, 8, dtype=torch.uint8))
    assert training_samples(experiment, empty, num_validations=2, on_frame=print) is None
