"""Every file of diagnostics/ is a diagnostic, and those that apply to a model are run."""

import importlib
import inspect
import pkgutil
from types import SimpleNamespace

import pytest
import torch

from diagnostics.stand_ins import correlated_evaluator
from latentlab import diagnostics
from latentlab.config import EvaluationSettings
from latentlab.diagnostics import run_diagnostics
from latentlab.inference.trained import TrainedModel
from latentlab.models.linear_ae import LinearAE
from latentlab.samplers import StandardNormal

NAMES = [info.name for info in pkgutil.iter_modules(diagnostics.__path__) if not info.ispkg]


@pytest.mark.parametrize("name", NAMES)
def test_a_diagnostic_has_two_functions_and_does_not_apply_to_any_object(name):
    module = importlib.import_module(f"latentlab.diagnostics.{name}")
    assert list(inspect.signature(module.applies).parameters) == ["model"]
    assert list(inspect.signature(module.diagnose).parameters) == ["trained", "evaluator"]
    assert not module.applies(SimpleNamespace())


def test_the_diagnostics_that_apply_are_run_in_the_order_of_their_names(tmp_path):
    torch.manual_seed(0)
    model = LinearAE((1, 4, 4), latent_dim=2).eval()
    trained = TrainedModel(
        "toy", tmp_path, model, StandardNormal(), (1, 4, 4), EvaluationSettings(), {}
    )
    results = dict(run_diagnostics(trained, correlated_evaluator()))
    assert list(results) == [
        "contraction",
        "identity_mapping",
        "latent_plane",
        "novelty",
        "reconstruction_faults",
    ]
    assert all(result.title and result.summary.endswith(".") for result in results.values())
