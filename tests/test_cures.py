"""The cures against mathematics: slopes known in closed form, singular values by SVD, counting."""

import math

import pytest
import torch
from torch import nn

from latentlab.cures import AUGMENTATIONS, Cures, MinibatchStd
from latentlab.losses import adversarial
from latentlab.losses.penalties import r1_penalty
from latentlab.nets.conv import Discriminator
from latentlab.nets.flat import dense

SHAPE = (1, 8, 8)


def plane(direction):
    return lambda x: x.flatten(1) @ direction


# --- losses ---


def test_least_squares_is_least_at_the_labels_and_pulls_from_both_sides():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -2.0])
    assert float(adversarial.least_squares_critic(real, fake)) == pytest.approx((2 + 2) / 2)
    logit = torch.tensor([-1.0, 1.0, 3.0], requires_grad=True)
    adversarial.least_squares(logit).backward()
    torch.testing.assert_close(logit.grad, torch.tensor([-2.0, 0.0, 2.0]) / 3)


def test_optimal_least_squares_critic_is_the_share_of_the_data():
    """Mao et al. 2017, eq. 11: with labels 1 and 0, D* = p_data / (p_data + p_g)."""
    p_data, p_g = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.7])
    d = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([0] * 7 + [1] * 2 + [2]), torch.tensor([0] + [1] * 2 + [2] * 7)
    optimizer = torch.optim.LBFGS([d], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = adversarial.least_squares_critic(d[rows[0]], d[rows[1]])
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = (p_data / (p_data + p_g)).double()
    torch.testing.assert_close(d.detach(), expected, atol=1e-5, rtol=0)


def test_hinge_is_flat_beyond_the_margins():
    real = torch.tensor([2.0, 0.5, -1.0], requires_grad=True)
    fake = torch.tensor([-2.0, -0.5, 1.0], requires_grad=True)
    loss = adversarial.hinge_critic(real, fake)
    assert loss.item() == pytest.approx((0 + 0.5 + 2) / 3 * 2)
    loss.backward()
    torch.testing.assert_close(real.grad, torch.tensor([0.0, -1, -1]) / 3)
    torch.testing.assert_close(fake.grad, torch.tensor([0.0, 1, 1]) / 3)


def test_wasserstein_critic_of_two_points_finds_their_distance():
    """The best 1-Lipschitz critic of two points a and b has E D(a) − E D(b) = ‖a − b‖."""
    a, b = torch.rand(1, 6), torch.rand(1, 6)
    critic = plane((a - b)[0] / (a - b).norm())
    got = -adversarial.wasserstein_critic(critic(a), critic(b))
    assert float(got) == pytest.approx(float((a - b).norm()), rel=1e-5)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(norm):
    direction = torch.randn(64)
    direction *= norm / direction.norm()
    real, fake = torch.rand(5, *SHAPE), torch.rand(5, *SHAPE)
    got = adversarial.gradient_penalty(plane(direction), real, fake)
    assert float(got) == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_gradient_penalty_takes_fakes_of_half_precision():
    """What a generator makes under autocast, beside images in float32; bfloat16 holds a half."""
    real, fake = torch.rand(5, *SHAPE), torch.full((5, *SHAPE), 0.5, dtype=torch.bfloat16)
    penalties = []
    for made in (fake, fake.float()):
        torch.manual_seed(0)
        bowl = adversarial.gradient_penalty(lambda x: x.square().sum((1, 2, 3)), real, made)
        penalties.append(bowl)
    assert penalties[0].dtype == torch.float32
    assert torch.equal(*penalties)


def test_gradient_penalty_looks_between_the_pairs():
    seen = []
    real, fake = torch.zeros(2000, 1, 1, 1), torch.ones(2000, 1, 1, 1)
    adversarial.gradient_penalty(lambda x: seen.append(x) or x.sum((1, 2, 3)), real, fake)
    points = seen[0].flatten().detach()
    assert 0 <= float(points.min()) <= float(points.max()) <= 1
    assert float(points.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(points.var()) == pytest.approx(1 / 12, abs=0.01)


@pytest.mark.parametrize(("real_label", "fake_label"), [(0.9, 0.0), (0.8, 0.3)])
def test_smoothed_labels_move_the_optimum(real_label, fake_label):
    """Goodfellow 2016 (tutorial), 4.2: D* = (α p_data + β p_g) / (p_data + p_g)."""
    share = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)  # p_data / (p_data + p_g)
    d = real_label * share + fake_label * (1 - share)
    logits = (d / (1 - d)).log().requires_grad_()
    loss = 0.0
    for i, part in enumerate(share):  # a real image with weight `part`, a fake one with the rest
        one = logits[i : i + 1]
        both = {"real_label": real_label, "fake_label": fake_label}
        smoothed, _ = adversarial.players("non_saturating", **both)
        real = smoothed(one, torch.zeros(1)) - smoothed(torch.zeros(1), torch.zeros(1)) / 2
        fake = smoothed(torch.zeros(1), one) - smoothed(torch.zeros(1), torch.zeros(1)) / 2
        loss = loss + part * real + (1 - part) * fake
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.zeros(3).double(), atol=1e-7, rtol=0)


def test_unknown_loss_and_labels_without_meaning_are_refused():
    with pytest.raises(ValueError, match="unknown loss 'hing': choose one of minimax"):
        adversarial.players("hing")
    with pytest.raises(ValueError, match="hinge loss, which has no labels"):
        adversarial.players("hinge", real_label=0.9)


# --- switches ---


def test_r1_of_a_plane_is_half_its_squared_slope():
    direction = torch.randn(64)
    x = torch.rand(4, *SHAPE, requires_grad=True)
    expected = float(direction.square().sum()) / 2
    assert float(r1_penalty(plane(direction)(x), x)) == pytest.approx(expected, rel=1e-5)
    cures = Cures(r1=10.0, r1_every=3)
    assert float(cures.penalty(plane(direction)(x), x, 6)) == pytest.approx(30 * expected, rel=1e-5)
    assert float(cures.penalty(plane(direction)(x), x, 7)) == 0


def test_r1_of_a_paraboloid_has_the_gradient_autograd_needs():
    """D = w‖x‖²/2 has slope w x: the penalty is w²‖x‖²/2, its derivative in w is w‖x‖²."""
    w = torch.tensor(1.7, requires_grad=True)
    x = torch.rand(3, *SHAPE, requires_grad=True)
    r1_penalty(w * x.square().flatten(1).sum(1) / 2, x).backward()
    expected = 1.7 * x.detach().square().flatten(1).sum(1).mean()
    torch.testing.assert_close(w.grad, expected)


def test_spectral_norm_makes_every_largest_singular_value_one():
    net = Cures(spectral_norm=True).equip(Discriminator((1, 16, 16), width=4, batch_norm=False))
    for _ in range(200):
        net(torch.rand(2, 1, 16, 16))
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
        assert float(largest) == pytest.approx(1, abs=1e-3)


def test_minibatch_std_reads_the_spread_of_the_batch():
    h = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    torch.testing.assert_close(
        MinibatchStd()(h), torch.cat([h, torch.full((2, 1), (1 + 2) / 2)], 1), atol=1e-6, rtol=0
    )
    torch.manual_seed(0)
    plain = Discriminator(SHAPE, width=4)
    x = torch.rand(6, *SHAPE)
    before = plain(x)
    reading = Cures(minibatch_std=True).equip(plain)
    torch.testing.assert_close(reading(x), before)  # ignored until it is learned
    reading(x).sum().backward()
    assert float(reading.head[1].weight.grad[0, -1]) > 0


def test_minibatch_std_goes_before_a_normalised_layer_too():
    torch.manual_seed(0)
    net = nn.ModuleDict({"head": dense(3, 4)})
    h = torch.rand(6, 3)
    before = net["head"](h)
    Cures(minibatch_std=True).equip(net)
    torch.testing.assert_close(net["head"](h), before)
    assert net["head"][1].bias is None


def test_packing_puts_neighbours_side_by_side_and_fills_the_last_pack():
    x = torch.arange(5.0)[:, None, None, None].expand(5, 2, 3, 3)
    packed = Cures(packing=2).view(x)
    assert packed.shape == (3, 4, 3, 3)
    assert packed[:, ::2, 0, 0].tolist() == [[0, 1], [2, 3], [4, 0]]
    assert Cures(packing=2).packed((2, 3, 3)) == (4, 3, 3)


def test_instance_noise_falls_linearly_to_nothing():
    x = torch.zeros(4, 1, 64, 64)
    for progress in (0.0, 0.5, 0.9):
        noise = Cures(instance_noise=0.4).view(x, progress)
        assert float(noise.std()) == pytest.approx(0.4 * (1 - progress), rel=0.05)
    assert torch.equal(Cures(instance_noise=0.4).view(x, 1.0), x)


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_augmentations_let_gradients_through(name):
    """Finite differences in double precision, the random numbers held."""

    def see(x):
        torch.manual_seed(3)
        return Cures(augment=(name,)).view(x)

    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(see, x)
    see(x).square().sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_augmentations_do_what_they_say():
    x = torch.rand(200, 2, 16, 16) + 1  # no value is 0
    shift = AUGMENTATIONS["brightness"](x) - x
    torch.testing.assert_close(shift, shift[:, :1, :1, :1].expand_as(x), atol=1e-6, rtol=0)
    assert -0.5 <= float(shift.min()) < -0.4 < 0.4 < float(shift.max()) <= 0.5
    stretched = AUGMENTATIONS["contrast"](x)
    torch.testing.assert_close(stretched.mean((1, 2, 3)), x.mean((1, 2, 3)))
    factor = stretched.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= float(factor.min()) < 0.6 < 1.4 < float(factor.max()) <= 1.5
    blank = (AUGMENTATIONS["cutout"](x) == 0).float()
    assert torch.equal(blank[:, 0], blank[:, 1])
    assert blank.sum((1, 2, 3)).max() == 2 * 8 * 8
    rows, columns = blank[:, 0].amax(2), blank[:, 0].amax(1)
    assert torch.equal(rows[:, :, None] * columns[:, None], blank[:, 0]), "a rectangle"


def test_translation_moves_each_image_whole_at_most_an_eighth():
    x = torch.zeros(300, 1, 16, 16)
    x[:, :, 8, 8] = 1
    moved = AUGMENTATIONS["translation"](x)
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(300))
    place = moved.flatten(1).argmax(1)
    assert {int(p) // 16 for p in place} == {6, 7, 8, 9, 10} == {int(p) % 16 for p in place}
    assert len(set(place.tolist())) == 25, "both axes on their own"


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"real_label": 0.0}, "the fake one smaller"),
        ({"fake_label": -0.1}, r"must be in \[0, 1\]"),
        ({"instance_noise": -1.0}, "instance_noise is -1.0: it must be ≥ 0"),
        ({"r1": -1.0}, "r1 is -1.0"),
        ({"packing": 0}, "packing is 0: it must be ≥ 1"),
        ({"r1_every": 0}, "r1_every is 0"),
        ({"augment": ("flip",)}, "unknown augmentation 'flip': choose of brightness"),
    ],
)
def test_impossible_cures_are_refused(setting, complaint):
    with pytest.raises(ValueError, match=complaint):
        Cures(**setting)


def test_no_batch_norm_where_the_slope_at_one_image_counts():
    assert Cures(packing=2, minibatch_std=True).batch_norm
    assert not Cures(r1=1.0).batch_norm
    assert not Cures(spectral_norm=True).batch_norm
    kinds = [type(m) for m in Discriminator((1, 16, 16), width=4, batch_norm=False).modules()]
    assert nn.BatchNorm2d not in kinds
    assert math.prod(Cures(packing=3).packed(SHAPE)) == 3 * 64
