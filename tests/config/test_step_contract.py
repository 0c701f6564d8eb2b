"""What a step returns is checked at its first call, and the model is as before afterwards."""

import pytest
import torch
from lightning import LightningModule

from latentlab.config.step_contract import checked_steps, require_terms
from latentlab.utils.errors import LatentlabError

WEIGHT = torch.ones((), requires_grad=True)


class Steps(LightningModule):
    def __init__(self, *returned, automatic=True):
        super().__init__()
        self.returned, self.automatic_optimization = list(returned), automatic

    def training_step(self, batch, batch_idx):
        return self.returned.pop(0)

    def validation_step(self, batch, batch_idx):
        self.log_dict({"accuracy": 0.5})


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (WEIGHT.square(), r'Steps\.training_step returned Tensor: return \{"loss": loss'),
        (None, r"returned NoneType"),
        ({}, r"returned an empty dict"),
        ({"sse": WEIGHT}, r"returned sse, no loss"),
        ({"loss": 0.5}, r"returned 'loss': float"),
        (
            {"loss": WEIGHT.expand(3)},
            r"returned 'loss': Tensor of shape \(3,\).*means over the batch",
        ),
        ({0: WEIGHT}, r"returned 0: Tensor"),
        ({"loss": WEIGHT.detach()}, r"a loss without a gradient"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_return(terms, message):
    with pytest.raises(LatentlabError, match=message) as caught:
        require_terms(Steps(), "training_step", terms)
    assert "\n" not in str(caught.value)


def test_a_loss_needs_no_gradient_if_the_model_steps_its_optimizers():
    require_terms(Steps(automatic=False), "training_step", {"loss": torch.ones(())})


def test_names_of_a_validation_stay_the_same_and_a_training_step_may_leave_one_out(monkeypatch):
    terms = [{"a": WEIGHT}, {"a": WEIGHT, "b": WEIGHT}]
    monkeypatch.setattr(Steps, "validation_step", lambda self, batch, index: terms[index])
    model = Steps({"loss": WEIGHT, "r1_penalty": WEIGHT}, {"loss": WEIGHT})
    with checked_steps(model):
        model.training_step(None, 0)
        model.training_step(None, 1)
        model.validation_step(None, 0)
        with pytest.raises(LatentlabError, match="returned a, b, but a before: return the same"):
            model.validation_step(None, 1)


def test_values_of_self_log_are_refused_with_their_name():
    model = Steps()
    with checked_steps(model):
        with pytest.raises(LatentlabError, match=r'for \'accuracy\', .*"accuracy": value'):
            model.validation_step(None, 0)
        with pytest.raises(LatentlabError, match="for 'my_metric'"):
            model.log("my_metric", 1.0, prog_bar=True)


def test_the_model_is_as_before_after_the_block():
    model = Steps({"loss": WEIGHT}, None)
    before = set(vars(model))
    with pytest.raises(RuntimeError), checked_steps(model):
        raise RuntimeError
    assert set(vars(model)) == before
    assert model.training_step.__func__ is Steps.training_step
