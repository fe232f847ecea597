"""DINOv2's losses against direct sums, and each safeguard against collapse."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modarch_utils.training import dino
from modarch_utils.training.crops import Crops, multi_crop
from modarch_utils.training.dino import DinoConfig, DINOv2
from tests.training.tiny_backbone import TinyBackbone

K = 12


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def probabilities(*shape, seed=0):
    return random(*shape, seed=seed).softmax(-1)


def model(**options):
    torch.manual_seed(0)
    return DINOv2(TinyBackbone(8), 8, DinoConfig(K, hidden=16, bottleneck=6, **options))


def batch(n=4, locals_=3):
    mask = dino.block_masks(2 * n, (2, 2), torch.Generator().manual_seed(1), (0.25, 0.5))
    return random(2, n, 3, 8, 8), random(locals_, n, 3, 4, 4, seed=1), mask


def step(net, **options):
    optimizer = torch.optim.SGD(net.student.parameters(), lr=0.1)
    return dino.train_step(net, optimizer, batch()[:2], batch()[2], temperature=0.05, **options)


def test_sinkhorn_shares_out_samples_and_prototypes():
    q = dino.sinkhorn_knopp(0.1 * random(40, K), 0.05, iterations=100)
    torch.testing.assert_close(q.sum(1), torch.ones(40))
    torch.testing.assert_close(q.sum(0), torch.full((K,), 40 / K), rtol=1e-4, atol=0)
    logits = 0.1 * random(10, K)
    q = (logits / 0.05).exp()
    for _ in range(3):  # the alternation, written out
        q = q / q.sum(0)
        q = q / q.sum(1)[:, None]
    torch.testing.assert_close(dino.sinkhorn_knopp(logits, 0.05), q)


@pytest.mark.parametrize(("centring", "pace"), [("ema", 0.1), ("none", 0.0)])
def test_the_centre_is_a_running_mean_of_earlier_batches_or_rests(centring, pace):
    net, centre, mean = model(centring=centring), torch.zeros(K), torch.zeros(K)
    for batch in (random(10, K), random(10, K, seed=1)):
        balanced = ((batch - mean) / 0.1).softmax(1)
        torch.testing.assert_close(net.balance(batch, centre, 0.1), balanced)
        mean = (1 - pace) * mean + pace * batch.mean(0)
        torch.testing.assert_close(centre, mean)


def test_dino_loss_is_the_sum_over_different_crops():
    student, targets = random(5, 7, K), probabilities(2, 7, K)
    terms = [
        -(targets[t, n] * F.log_softmax(student[s, n] / 0.1, dim=0)).sum()
        for s, t, n in product(range(5), range(2), range(7))
        if s != t
    ]
    assert len(terms) == 8 * 7
    torch.testing.assert_close(dino.dino_loss(student, targets), torch.stack(terms).mean())


def test_ibot_loss_is_a_mean_of_means_over_masked_patches():
    mask = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    student, targets = random(3, K), probabilities(3, K)
    each = -(targets * F.log_softmax(student / 0.1, dim=1)).sum(1)
    expected = ((each[0] + each[1]) / 2 + each[2]) / 2
    torch.testing.assert_close(dino.ibot_loss(student, targets, mask), expected)
    empty = torch.zeros(0, K, requires_grad=True)
    loss = dino.ibot_loss(empty, torch.zeros(0, K), torch.zeros_like(mask))
    loss.backward()
    assert loss.item() == 0


def test_ibot_sees_masked_positions_only_and_the_teacher_whole_global_crops():
    net, (crops, locals_, mask) = model(), batch()
    seen, given = [], []
    net.teacher["backbone"].register_forward_pre_hook(lambda module, args: given.append(args))
    for part in (net.teacher, net.student):
        part["ibot"].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net(crops, locals_, mask)
    whole = crops.flatten(0, 1)
    ((alone,),) = given  # once, without a mask
    assert torch.equal(alone, whole)
    for found, part, hidden in zip(seen, (net.teacher, net.student), (None, mask), strict=True):
        patches = part["backbone"](whole, hidden).patches
        torch.testing.assert_close(found, patches[mask])
        assert 0 < len(found) < patches.shape[0] * patches.shape[1]


def test_koleo_is_the_sum_over_nearest_neighbours():
    x = random(9, 5)
    found = dino.koleo_loss(x)
    apart = torch.cdist(F.normalize(x), F.normalize(x)).fill_diagonal_(math.inf)
    torch.testing.assert_close(found, -apart.amin(1).log().mean(), atol=0, rtol=1e-4)
    torch.testing.assert_close(dino.koleo_loss(3 * x), found)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(dino.koleo_loss(x), found)  # in full precision all the same
    same = torch.ones(4, 3, requires_grad=True)
    dino.koleo_loss(same).backward()
    assert same.grad.isfinite().all()


def test_koleo_compares_different_images_not_crops_of_one():
    net, (crops, locals_, mask) = model(), batch()
    crops[1] = crops[0]  # equal crops of an image must not count as its neighbours
    out = net(crops, locals_, torch.zeros_like(mask))
    expected = 2 * dino.koleo_loss(out.features[: crops.shape[1]])
    torch.testing.assert_close(out.koleo, expected)
    assert out.koleo.item() < 20  # -ln of a distance of nearly 0 would be larger


def test_without_stop_gradient_the_student_learns_in_both_roles():
    one, two = model(centring="none"), model(centring="none", stop_gradient=False)
    outs = [net(*batch(), 0.05) for net in (one, two)]
    assert outs[1].targets.requires_grad
    for a, b in zip(outs[0][:4], outs[1][:4], strict=True):
        torch.testing.assert_close(a, b)  # at the start the teacher is the student
    for out in outs:
        out.loss.backward()
    assert all(p.grad is None for p in one.teacher.parameters())
    assert all(p.grad is not None for p in one.student.parameters())
    assert not outs[0].targets.requires_grad
    grads = [net.student["dino"].prototypes.grad for net in (one, two)]
    assert not torch.allclose(*grads, rtol=0.1)


@pytest.mark.parametrize(("options", "momentum"), [({}, 0.9), ({"ema": False}, 0)])
def test_the_teacher_is_a_running_mean_or_the_last_student(options, momentum):
    net = model(**options)
    before = [p.clone() for p in net.teacher.parameters()]
    step(net, momentum=0.9)
    three = zip(net.teacher.parameters(), before, net.student.parameters(), strict=True)
    for teacher, old, student in three:
        torch.testing.assert_close(teacher, momentum * old + (1 - momentum) * student)
    assert not torch.equal(old, student)


def test_sharpening_is_a_colder_teacher():
    cold, warm = (model(centring="none", sharpening=on)(*batch(), 0.04) for on in (True, False))
    # Log-probabilities differ as the logits do, over the temperature.
    logits = [
        temperature * out.targets.log().diff(dim=-1)
        for out, temperature in ((cold, 0.04), (warm, 0.1))
    ]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-3)


def test_heads_are_separate_and_give_cosines():
    net = model()
    assert not torch.equal(net.student["dino"].prototypes, net.student["ibot"].prototypes)
    head = net.student["dino"]
    nn.init.normal_(head.mlp[0].bias)
    logits = head(random(50, 8))
    assert logits.shape == (50, K) and logits.abs().max() <= 1 + 1e-5
    with torch.no_grad():
        head.prototypes *= 7
    torch.testing.assert_close(head(random(50, 8)), logits)


def test_masks_are_rectangles_in_half_of_the_images():
    mask = dino.block_masks(200, (6, 9), torch.Generator().manual_seed(0)).view(200, 6, 9)
    hidden = mask[mask.any((1, 2))]
    assert len(hidden) == 100
    for image in hidden:
        rows, columns = image.any(1), image.any(0)
        assert torch.equal(image, rows[:, None] & columns)
        for line in (rows, columns):  # without a gap
            at = line.nonzero()
            assert at[-1] - at[0] + 1 == len(at)
    share = hidden.float().mean((1, 2))
    assert 0.03 < share.min() < 0.15 and 0.4 < share.max() < 0.65
    assert 0.25 < share.mean() < 0.35
    assert hidden.float().mean(0).min() > 0.05  # every patch has its turn
    again = dino.block_masks(200, (6, 9), torch.Generator().manual_seed(0))
    assert torch.equal(mask.flatten(1), again)


@pytest.mark.parametrize(("schedule", "last"), [(dino.cosine, 9), (dino.ramp, 10)])
def test_schedules_run_from_end_to_end(schedule, last):
    values = [schedule(i, 10, 0.994, 1.0) for i in range(10)]
    assert values[0] == pytest.approx(0.994)
    assert schedule(last, 10, 0.994, 1.0) == pytest.approx(1.0)
    assert values == sorted(values)
    assert dino.ramp(0, 0, 0.04, 0.07) == 0.07
    assert dino.ramp(5, 10, 0.04, 0.06) == pytest.approx(0.05)


def test_diagnostics_tell_the_collapses_apart():
    apart = dino.diagnostics(
        torch.eye(K), 50 * torch.eye(K), torch.cat((torch.eye(6), -torch.eye(6)))
    )
    assert apart == pytest.approx((1, 0, 0, 1), abs=1e-4)
    same = torch.zeros(K, K)
    same[:, 3] = 1
    one = dino.diagnostics(same, 50 * same, torch.ones(K, 6))
    assert one == pytest.approx((0, 0, 0, 0), abs=1e-4)
    uniform = dino.diagnostics(torch.full((K, K), 1 / K), torch.zeros(K, K), torch.ones(K, 6))
    assert uniform == pytest.approx((1, 1, 0, 0), abs=1e-4)
    behind = dino.diagnostics(torch.eye(K), torch.zeros(K, K), torch.eye(K))
    assert behind.kl == pytest.approx(math.log(K), rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run():
    net = model()
    nn.init.constant_(net.student["dino"].prototypes, math.nan)
    with pytest.raises(FloatingPointError, match="lower learning rate"):
        step(net, momentum=0.9)


def uniform(found):
    return found.mean_entropy > 0.99 and found.kl < 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DinoConfig(centring="sinkhorn_knopp"), "centring must be one of"),
        (lambda: DinoConfig(teacher_temperature=(0.0, 0.07)), "positive"),
        (lambda: DinoConfig(momentum=(0.9, 1.1)), r"\[0, 1\]"),
        (lambda: dino.koleo_loss(torch.ones(1, 3)), "at least two"),
    ],
)
def test_what_cannot_work(call, message):
    with pytest.raises(ValueError, match=message):
        call()


COLLAPSES = {
    "no centring: one answer to all": ({"centring": "none"}, lambda d: d.entropy_of_mean < 0.05),
    "no sharpening: the uniform answer": ({"sharpening": False}, uniform),
    "a running mean without sharpening": ({"sharpening": False, "centring": "ema"}, uniform),
    "no KoLeo: features move together": ({"koleo_weight": 0.0}, lambda d: d.spread < 0.9),
    "nothing at all: one feature": (
        {"koleo_weight": 0.0, "centring": "none", "stop_gradient": False},
        lambda d: d.entropy_of_mean < 0.05 and d.spread < 0.5,
    ),
}


def short_training(steps=250, **options):
    """Means of the last 20 steps' diagnostics, on 64 images of 8 kinds."""
    rng = torch.Generator().manual_seed(0)
    kinds = torch.rand(8, 3, 4, 4, generator=rng)[torch.arange(64) % 8]
    noise = 0.05 * torch.randn(64, 3, 12, 12, generator=rng)
    images = (255 * (F.interpolate(kinds, 12) + noise)).clamp(0, 255).to(torch.uint8)
    crops = Crops(8, 4, local_crops=2, global_scale=(0.5, 1.0), jitter=0.0, grey=0.0)
    torch.manual_seed(0)
    net = DINOv2(TinyBackbone(16), 16, DinoConfig(32, hidden=32, bottleneck=16, **options))
    optimizer = torch.optim.AdamW(net.student.parameters(), lr=3e-3)
    found = []
    for i in range(steps):
        rng = torch.Generator().manual_seed(i)
        batch = images[torch.randperm(64, generator=rng)[:32]]
        views, mask = multi_crop(batch, crops, rng), dino.block_masks(64, (2, 2), rng)
        out = dino.train_step(net, optimizer, views, mask, temperature=0.015, momentum=0.9)
        found.append(dino.diagnostics(out.targets[0], out.student[1], out.features[:32]))
    return dino.Diagnostics(*torch.tensor(found[-20:]).mean(0).tolist())


@pytest.fixture(scope="module")
def healthy():
    return short_training()


def test_with_all_safeguards_answers_differ_and_are_learnt(healthy):
    assert healthy.entropy_of_mean > 0.9 and healthy.spread > 0.9
    explained = (1 - healthy.mean_entropy) * math.log(32) - healthy.kl
    assert healthy.mean_entropy < 0.8 and explained > 0.4


@pytest.mark.parametrize("name", COLLAPSES)
def test_each_safeguard_holds_off_its_collapse(name, healthy):
    options, collapsed = COLLAPSES[name]
    found = short_training(**options)
    assert collapsed(found), found
    assert not collapsed(healthy)
