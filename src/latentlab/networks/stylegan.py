"""Networks of StyleGAN: mapping network, generator with modulated convolutions, discriminator.

Karras et al. 2019, "A style-based generator architecture for GANs", and Karras et al. 2020,
"Analyzing and improving the image quality of StyleGAN". Both are here in a small version.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.networks.conv import pyramid


class Mapping(nn.Module):
    """Codes z (B, D) → styles w (B, D). z is normalized first, so only its direction matters."""

    def __init__(self, latent_dim: int, *, layers: int = 4) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for _ in range(layers):
            blocks += [nn.Linear(latent_dim, latent_dim), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*blocks)
        for block in self.layers:
            if isinstance(block, nn.Linear):
                nn.init.kaiming_normal_(block.weight, a=0.2)
                nn.init.zeros_(block.bias)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt())


class ModulatedConv(nn.Module):
    """A convolution with weights that are scaled by the style s of each image.

        w'_oik = s_i · w_oik        w''_oik = w'_oik / √(Σ_ik w'_oik² + ε)

    Karras et al. 2020, eqs. 1 and 3. Both factors do not depend on k. So the input is scaled before
    one convolution for all images, and the output is scaled after it (2020, appendix B).
    """

    def __init__(
        self, fan_in: int, fan_out: int, *, style_dim: int, size: int = 3, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, size, size))
        nn.init.kaiming_normal_(self.weight, a=0.2)
        self.style = nn.Linear(style_dim, fan_in)
        nn.init.normal_(self.style.weight, 0.0, 1 / math.sqrt(style_dim))
        nn.init.ones_(self.style.bias)
        self.padding, self.demodulate = size // 2, demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        s = self.style(w)  # (B, I)
        y = F.conv2d(x * s[:, :, None, None], self.weight, padding=self.padding)
        if self.demodulate:
            power = s.square() @ self.weight.square().sum((2, 3)).T  # (B, O)
            y = y * (power + 1e-8).rsqrt()[:, :, None, None]
        return y


class StyleBlock(nn.Module):
    """Modulated convolution, noise, bias, LeakyReLU.

    `strength`: learned scale of the noise. `constant_noise`: the noise outside of training.
    """

    constant_noise: Tensor

    def __init__(self, fan_in: int, fan_out: int, *, style_dim: int, side: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(fan_in, fan_out, style_dim=style_dim)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(fan_out, 1, 1))
        self.register_buffer("constant_noise", torch.randn(1, 1, side, side))

    def forward(self, x: Tensor, w: Tensor, *, fresh_noise: bool) -> Tensor:
        y = self.conv(x, w)
        noise = torch.randn_like(y[:, :1]) if fresh_noise else self.constant_noise
        return F.leaky_relu(y + self.strength * noise + self.bias, 0.2) * math.sqrt(2)


class StyleGenerator(nn.Module):
    """Styles (B, L, D), one for each of L = 2 · levels + 1 blocks → logits (B, C, H, W).

    The input is a learned constant. Each level doubles the side and adds its output to the image
    (skip architecture: Karras et al. 2020, figure 7).
    """

    def __init__(self, image_shape: tuple[int, int, int], *, style_dim: int, width: int) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        channels = [width * 2**level for level in reversed(range(levels + 1))]
        channels = [min(each, 4 * width) for each in channels]
        self.constant = nn.Parameter(torch.randn(1, channels[0], side, side))
        self.first = StyleBlock(channels[0], channels[0], style_dim=style_dim, side=side)
        self.blocks, self.to_images = nn.ModuleList(), nn.ModuleList()
        to_image = partial(ModulatedConv, style_dim=style_dim, size=1, demodulate=False)
        self.to_images.append(to_image(channels[0], image_shape[0]))
        for fan_in, fan_out in itertools.pairwise(channels):
            side *= 2
            self.blocks.append(StyleBlock(fan_in, fan_out, style_dim=style_dim, side=side))
            self.blocks.append(StyleBlock(fan_out, fan_out, style_dim=style_dim, side=side))
            self.to_images.append(to_image(fan_out, image_shape[0]))
        self.num_styles = 1 + len(self.blocks)

    def forward(self, styles: Tensor, *, fresh_noise: bool) -> Tensor:
        x = self.constant.expand(len(styles), -1, -1, -1)
        x = self.first(x, styles[:, 0], fresh_noise=fresh_noise)
        image = self.to_images[0](x, styles[:, 0])
        levels = zip(self.blocks[0::2], self.blocks[1::2], self.to_images[1:], strict=True)
        for level, (first, second, to_image) in enumerate(levels):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = first(x, styles[:, 2 * level + 1], fresh_noise=fresh_noise)
            x = second(x, styles[:, 2 * level + 2], fresh_noise=fresh_noise)
            image = F.interpolate(image, scale_factor=2, mode="bilinear")
            image = image + to_image(x, styles[:, 2 * level + 2])
        return image


class StyleDiscriminator(nn.Module):
    """Images (B, C, H, W) → logits (B,), by strided convolutions without normalization.

    The head also gets the standard deviation over the batch as one feature map (Karras et al. 2018,
    "Progressive growing of GANs", section 3). So the discriminator can see a lack of variety.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, width: int) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        channels = [min(width * 2**level, 4 * width) for level in range(levels + 1)]
        blocks: list[nn.Module] = [nn.Conv2d(image_shape[0], channels[0], 3, padding=1)]
        for fan_in, fan_out in itertools.pairwise(channels):
            blocks += [nn.LeakyReLU(0.2), nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1)]
        self.trunk = nn.Sequential(*blocks, nn.LeakyReLU(0.2))
        self.head = nn.Sequential(
            nn.Linear((channels[-1] + 1) * side * side, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Linear(4 * width, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=0.2)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(append_stddev(self.trunk(x)).flatten(1)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """Feature maps, max-pooled to 4×4, (B, F)."""
        return F.adaptive_max_pool2d(self.trunk(x), 4).flatten(1)


def append_stddev(h: Tensor, *, group: int = 4) -> Tensor:
    """Append the standard deviation over `group` images, averaged over all features, as a map.

    (B, C, H, W) → (B, C + 1, H, W). If `group` does not divide B, the batch is one group.
    """
    size = group if len(h) % group == 0 else len(h)
    groups = h.unflatten(0, (size, -1))  # (G, B/G, C, H, W)
    std = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B/G,)
    column = std.repeat(size)[:, None, None, None]  # image b belongs to group b mod B/G
    return torch.cat([h, column.expand(-1, -1, *h.shape[2:])], 1)
