"""The style-based generator and its discriminator, small: style enters every convolution."""

from __future__ import annotations

import itertools
import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.nets.conv import pyramid


class Mapping(nn.Module):
    """z (B, D) → w (B, D): z on the unit sphere first, so that only its direction matters."""

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
    """A convolution whose weights are scaled by the style, for each image its own.

        w'_oik = s_i · w_oik        w''_oik = w'_oik / √(Σ_ik w'_oik² + ε)

    Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", eq. 1 and 3. Since
    both factors do not depend on k, the input is scaled before one convolution for all and the
    output after it (there, appendix B).
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
    """Modulated convolution, noise of a learned strength, bias, LeakyReLU."""

    still: Tensor

    def __init__(self, fan_in: int, fan_out: int, *, style_dim: int, side: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(fan_in, fan_out, style_dim=style_dim)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(fan_out, 1, 1))
        self.register_buffer("still", torch.randn(1, 1, side, side))

    def forward(self, x: Tensor, w: Tensor, *, fresh_noise: bool) -> Tensor:
        y = self.conv(x, w)
        noise = torch.randn_like(y[:, :1]) if fresh_noise else self.still
        return F.leaky_relu(y + self.strength * noise + self.bias, 0.2) * math.sqrt(2)


class StyleGenerator(nn.Module):
    """Styles (B, L, D), one for each of L = 2 · levels + 1 blocks → images (B, C, H, W), unbounded.

    Starts from a learned constant; each level doubles the side and adds its share to the image
    (the skip architecture there, figure 7).
    """

    def __init__(self, image_shape: tuple[int, int, int], *, style_dim: int, width: int) -> None:
        super().__init__()
        levels, side = pyramid(image_shape)
        channels = [width * 2**level for level in reversed(range(levels + 1))]
        channels = [min(each, 4 * width) for each in channels]
        self.constant = nn.Parameter(torch.randn(1, channels[0], side, side))
        self.first = StyleBlock(channels[0], channels[0], style_dim=style_dim, side=side)
        self.blocks, self.paints = nn.ModuleList(), nn.ModuleList()
        paint = partial(ModulatedConv, style_dim=style_dim, size=1, demodulate=False)
        self.paints.append(paint(channels[0], image_shape[0]))
        for fan_in, fan_out in itertools.pairwise(channels):
            side *= 2
            self.blocks.append(StyleBlock(fan_in, fan_out, style_dim=style_dim, side=side))
            self.blocks.append(StyleBlock(fan_out, fan_out, style_dim=style_dim, side=side))
            self.paints.append(paint(fan_out, image_shape[0]))
        self.num_styles = 1 + len(self.blocks)

    def forward(self, styles: Tensor, *, fresh_noise: bool) -> Tensor:
        x = self.constant.expand(len(styles), -1, -1, -1)
        x = self.first(x, styles[:, 0], fresh_noise=fresh_noise)
        image = self.paints[0](x, styles[:, 0])
        pairs = zip(self.blocks[0::2], self.blocks[1::2], self.paints[1:], strict=True)
        for level, (widen, refine, paint) in enumerate(pairs):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = widen(x, styles[:, 2 * level + 1], fresh_noise=fresh_noise)
            x = refine(x, styles[:, 2 * level + 2], fresh_noise=fresh_noise)
            image = F.interpolate(image, scale_factor=2, mode="bilinear")
            image = image + paint(x, styles[:, 2 * level + 2])
        return image


class StyleDiscriminator(nn.Module):
    """Images (B, C, H, W) → logits (B,): a strided pyramid without normalisation.

    Before the head, the standard deviation over the batch joins as one more map, so that a batch
    that is too uniform shows (Karras et al. 2018, "Progressive growing of GANs", section 3).
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
        return self.head(with_spread(self.trunk(x)).flatten(1)).squeeze(1)


def with_spread(h: Tensor, *, group: int = 4) -> Tensor:
    """Append a map: the standard deviation over `group` images, averaged over all else.

    (B, C, H, W) → (B, C + 1, H, W); a batch that `group` does not divide is one group.
    """
    size = group if len(h) % group == 0 else len(h)
    groups = h.unflatten(0, (size, -1))  # (G, B/G, C, H, W)
    spread = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B/G,)
    column = spread.repeat(size)[:, None, None, None]  # image b belongs to group b mod B/G
    return torch.cat([h, column.expand(-1, -1, *h.shape[2:])], 1)
