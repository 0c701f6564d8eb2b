"""A small training loop for tasks that train many little models: seeded, in memory, no tracking."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentlab.contracts import LatentlabError, Split
from latentlab.losses.likelihoods import squared_error
from latentlab.metrics.pca import PCA
from latentlab.nets.mlp import mlp
from latentlab.optimizers import adam, linear_decay

PASSES = 300  # over the data, at most


def fit(
    module: nn.Module,
    loss: Callable[..., Tensor],
    data: tuple[Tensor, ...],
    *,
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
) -> None:
    """Minimise loss(*batch) by Adam whose rate falls linearly to 0; batches are whole shuffles.

    `data` are tensors with the same first dimension N; a batch is min(batch_size, N) rows of each.
    Trains the parameters of `module` that require gradients, and leaves it in eval mode. Few rows
    are not shown more than 300 times: `steps` are then fewer.
    """
    steps = min(steps, PASSES * -(-len(data[0]) // batch_size))
    torch.manual_seed(seed)  # dropout and noise; the caller forks the generator if it matters
    generator = torch.Generator().manual_seed(seed)
    optimizer = adam([p for p in module.parameters() if p.requires_grad], lr)
    schedule = linear_decay(optimizer, steps)
    size = min(batch_size, len(data[0]))
    order = torch.empty(0, dtype=torch.int64)
    module.train()
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(len(data[0]), generator=generator)
        rows, order = order[:size], order[size:]
        optimizer.zero_grad()
        loss(*(tensor[rows] for tensor in data)).backward()
        optimizer.step()
        schedule.step()
    module.eval()


class Bottleneck(nn.Module):
    """A small autoencoder: images flat (B, P) → `widths` → back, logistic at the end.

    The last of `widths` is the code. `corruption` is the share of pixels that are set to 0 before
    encoding while it trains (Vincent et al. 2010); 0 trains a plain autoencoder.
    """

    def __init__(
        self, pixels: int, widths: Sequence[int], *, corruption: float = 0.0, activation: str
    ) -> None:
        super().__init__()
        self.corruption = corruption
        self.encoder = mlp([pixels, *widths], activation=activation)
        self.decoder = mlp([*reversed(widths), pixels], activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x)).sigmoid()

    def loss(self, x: Tensor) -> Tensor:
        """Mean over the batch of Σ_pixels (x̂ − x)², x̂ made from the corrupted x̃."""
        keep = torch.rand_like(x) >= self.corruption
        return squared_error(self(x * keep), x).mean()

    @torch.inference_mode()
    def errors(self, x: Tensor) -> Tensor:
        """Σ_pixels (x̂ − x)² of each image, (B,)."""
        return torch.cat([squared_error(self(part), part) for part in x.split(2000)])


def fit_bottleneck(
    x: Tensor,
    widths: Sequence[int],
    *,
    steps: int,
    lr: float,
    seed: int,
    corruption: float = 0.0,
    activation: str = "relu",
) -> Bottleneck:
    """A `Bottleneck` fitted to flat images x (N, P), seeded, in eval mode; 0 steps: as drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Bottleneck(x.shape[1], widths, corruption=corruption, activation=activation)
        if steps:
            fit(net, net.loss, (x,), steps=steps, lr=lr, seed=seed)
    return net.eval()


def of_class(split: Split, kind: int) -> Split:
    """The images of one class. Raises LatentlabError where there are fewer than 2."""
    assert split.labels is not None
    chosen = split.labels == kind
    if int(chosen.sum()) < 2:
        raise LatentlabError(
            f"class {kind} has {int(chosen.sum())} training images: at least 2 are needed"
        )
    return Split(split.images[chosen], split.labels[chosen])


def pca_errors(train: Split, components: int, x: Tensor) -> Tensor:
    """Σ_pixels (x̂ − x)² (N,) of flat images x, x̂ from the PCA of `train`, not clipped."""
    pca = PCA.fit(train, max_components=components)
    return squared_error(pca.decode(pca.encode(x)), x)


def standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both (N, F) minus the training mean, over the training deviation (1 where it is 0)."""
    scale, mean = torch.std_mean(train, 0)
    scale = torch.where(scale > 0, scale, 1)
    return (train - mean) / scale, (test - mean) / scale


def linear_svm(
    x: Tensor, labels: Tensor, classes: int, *, c: float, iterations: int = 100
) -> Callable[[Tensor], Tensor]:
    """A linear SVM of each class against the rest, squared hinge: scores (N, K) of inputs (N, F).

    min ½ Σ_k ‖w_k‖² + c Σ_nk max(0, 1 − t_nk w_kᵀ x_n)², x with a constant 1 appended, as LIBLINEAR
    does (Fan et al. 2008), by L-BFGS in float64. Stops where no gradient exceeds 1e-5 c N, or after
    `iterations`.
    """
    x = torch.cat([x, x.new_ones(len(x), 1)], 1).double()
    target = 2.0 * F.one_hot(labels, classes).double() - 1  # (N, K)
    weight = torch.zeros(x.shape[1], classes, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=iterations,
        tolerance_grad=1e-5,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        slack = (1 - target * (x @ weight)).clamp_min(0)
        scale = 1 / (c * len(x))  # the objective over c N: its gradients are of order 1
        weight.grad = scale * weight - 2 / len(x) * (x.T @ (target * slack))
        return scale / 2 * weight.square().sum() + slack.square().sum() / len(x)

    with torch.no_grad():
        optimizer.step(objective)
    return lambda inputs: inputs.double() @ weight[:-1] + weight[-1]
