"""The U-Net of the diffusion model: time embedding, conditioning on the time, patches."""

import pytest
import torch

from latentlab.networks.diffusion_unet import DiffusionUNet, SinusoidalEmbedding, patch_size

SHAPE = (1, 8, 8)


def test_the_output_depends_on_the_time():
    torch.manual_seed(0)
    net = DiffusionUNet(SHAPE, width=8)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(2, *SHAPE)
    early, late = net(x, torch.tensor([0.1, 0.1])), net(x, torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(early[0], late[0])
    assert not torch.allclose(early[1], late[1])


def test_embeddings_of_close_times_are_similar_and_of_distant_times_are_not():
    embedding = SinusoidalEmbedding(32)(torch.tensor([0.3, 0.30001, 0.6]))
    close, distant = torch.cosine_similarity(embedding[:1], embedding[1:])
    assert close > 0.99
    assert distant < 0.7


@pytest.mark.parametrize(("side", "size"), [(8, 1), (28, 2), (32, 2), (64, 4)])
def test_larger_images_have_larger_patches(side, size):
    assert patch_size((1, side, side)) == size


def test_images_that_patches_do_not_divide_are_an_error():
    with pytest.raises(ValueError, match=r"multiples of 4: set data\.size"):
        patch_size((1, 30, 30))
