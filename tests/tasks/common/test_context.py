"""The model that `Context.untrained_model` builds."""

from types import SimpleNamespace

import torch

from latentlab.models.linear_ae import LinearAE
from latentlab.tasks.common.context import Context


def test_the_untrained_model_has_the_config_of_the_trained_one_and_seeded_weights(project):
    project.edit("configs/linear_ae.yaml", model__init_args__latent_dim=5)
    dataset = SimpleNamespace(data_spec={"image_shape": (1, 8, 8), "num_classes": 10})
    context = Context(
        SimpleNamespace(seed=0, root=project.root),
        SimpleNamespace(dataset=dataset),
        None,
        SimpleNamespace(name="linear_ae"),
    )
    model, again = context.untrained_model(), context.untrained_model()
    assert isinstance(model, LinearAE)
    assert model.latent_dim == 5
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert context.seed == 0
