"""DINOv2's losses against direct sums, and each safeguard against collapse."""

import math

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


def test_sinkhorn_is_the_alternation_written_out():
    logits = 0.1 * random(10, K)
    q = (logits / 0.05).exp()
    for _ in range(3):
        q = q / q.sum(0)
        q = q / q.sum(1)[:, None]
    torch.testing.assert_close(dino.sinkhorn_knopp(logits, 0.05), q)


def test_batch_norm_in_the_head_takes_away_what_all_images_share():
    torch.manual_seed(0)
    x, common = random(10, 8), 5 * random(8, seed=1)
    for batch_norm, equal in ((True, True), (False, False)):
        head = dino.DinoHead(8, K, 16, 6, batch_norm).eval()
        assert torch.allclose(head(x), head(x + common), atol=1e-4) == equal


def test_the_centre_is_a_running_mean_of_earlier_batches():
    net, centre = model(centring="ema"), torch.zeros(K)
    first, second = random(10, K), random(10, K, seed=1)
    torch.testing.assert_close(net.balance(first, centre, 0.1), (first / 0.1).softmax(1))
    torch.testing.assert_close(
        net.balance(second, centre, 0.1), ((second - 0.1 * first.mean(0)) / 0.1).softmax(1)
    )
    torch.testing.assert_close(centre, 0.09 * first.mean(0) + 0.1 * second.mean(0))


def test_without_centring_the_centre_rests():
    net, centre, logits = model(centring="none"), torch.zeros(K), random(10, K)
    torch.testing.assert_close(net.balance(logits, centre, 0.1), (logits / 0.1).softmax(1))
    assert not centre.any()


def test_dino_loss_is_the_sum_over_different_crops():
    student, targets = random(5, 7, K), probabilities(2, 7, K)
    terms = []
    for s in range(5):
        for t in range(2):
            if s != t:
                for n in range(7):
                    log_p = F.log_softmax(student[s, n] / 0.1, dim=0)
                    terms.append(-sum(targets[t, n, k] * log_p[k] for k in range(K)))
    assert len(terms) == 8 * 7
    torch.testing.assert_close(dino.dino_loss(student, targets), torch.stack(terms).mean())


def test_ibot_loss_is_a_mean_of_means_over_masked_patches():
    mask = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    student, targets = random(3, K), probabilities(3, K)
    each = -(targets * F.log_softmax(student / 0.1, dim=1)).sum(1)
    expected = ((each[0] + each[1]) / 2 + each[2]) / 2
    torch.testing.assert_close(dino.ibot_loss(student, targets, mask), expected)


def test_ibot_loss_without_any_mask_is_zero():
    empty = torch.zeros(0, K, requires_grad=True)
    loss = dino.ibot_loss(empty, torch.zeros(0, K), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0


def test_ibot_sees_masked_positions_only():
    net, (crops, _, mask) = model(), batch()
    seen = []
    for part in (net.teacher, net.student):
        part["ibot"].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net(crops, crops[:0], mask)
    whole = crops.flatten(0, 1)
    for found, part, hidden in zip(seen, (net.teacher, net.student), (None, mask), strict=True):
        patches = part["backbone"](whole, hidden).patches
        torch.testing.assert_close(found, patches[mask])
        assert 0 < len(found) < patches.shape[0] * patches.shape[1]


def test_hidden_pixels_do_not_reach_the_student():
    net, (crops, locals_, mask) = model(ibot_weight=0.0, koleo_weight=0.0), batch()
    crops.requires_grad_()
    net(crops, locals_, mask).loss.backward()
    pixels = mask.view(-1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    grad = crops.grad.flatten(0, 1)
    assert not grad[pixels.expand_as(grad)].any()
    assert grad[~pixels.expand_as(grad)].any()


def test_koleo_is_the_sum_over_nearest_neighbours():
    x = random(9, 5)
    unit = x / x.norm(dim=1, keepdim=True)
    expected = 0.0
    for i in range(9):
        expected -= math.log(min((unit[i] - unit[j]).norm().item() for j in range(9) if j != i)) / 9
    assert dino.koleo_loss(x).item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(dino.koleo_loss(3 * x), dino.koleo_loss(x))


def test_koleo_survives_equal_features_and_refuses_one():
    same = torch.ones(4, 3, requires_grad=True)
    dino.koleo_loss(same).backward()
    assert same.grad.isfinite().all()
    with pytest.raises(ValueError, match="at least two"):
        dino.koleo_loss(torch.ones(1, 3))


def test_koleo_is_computed_in_full_precision():
    x = random(9, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = dino.koleo_loss(x)
    assert torch.equal(inside, dino.koleo_loss(x))


def test_koleo_compares_different_images_not_crops_of_one():
    net, (crops, locals_, mask) = model(), batch()
    crops[1] = crops[0]  # equal crops of an image must not count as its neighbours
    out = net(crops, locals_, torch.zeros_like(mask))
    expected = 2 * dino.koleo_loss(out.features[: crops.shape[1]])
    torch.testing.assert_close(out.koleo, expected)
    assert out.koleo.item() < 20  # -ln of a distance of nearly 0 would be larger


def test_no_gradient_reaches_the_teacher():
    net = model()
    before = {k: v.clone() for k, v in net.teacher.state_dict().items()}
    out = net(*batch())
    out.loss.backward()
    assert all(p.grad is None for p in net.teacher.parameters())
    assert all(p.grad is not None for p in net.student.parameters())
    assert not out.targets.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in net.teacher.state_dict().items())


def test_without_stop_gradient_the_student_learns_in_both_roles():
    one, two = model(centring="none"), model(centring="none", stop_gradient=False)
    outs = [net(*batch(), 0.05) for net in (one, two)]
    assert outs[1].targets.requires_grad
    for a, b in zip(outs[0][:4], outs[1][:4], strict=True):
        torch.testing.assert_close(a, b)  # at the start the teacher is the student
    for out in outs:
        out.loss.backward()
    grads = [net.student["dino"].prototypes.grad for net in (one, two)]
    assert not torch.allclose(*grads, rtol=0.1)


def test_teacher_moves_by_the_formula():
    net = model()
    nn.init.ones_(net.student["dino"].prototypes)
    before = net.teacher["dino"].prototypes.clone()
    net.update_teacher(0.9)
    torch.testing.assert_close(net.teacher["dino"].prototypes.data, 0.9 * before + 0.1)


def test_without_ema_the_teacher_is_the_last_student():
    net = model(ema=False)
    step(net, momentum=0.9)
    for a, b in zip(net.student.parameters(), net.teacher.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    net = model()
    step(net, momentum=0.9)
    student, teacher = (part["dino"].prototypes for part in (net.student, net.teacher))
    assert not torch.equal(student, teacher)


def test_sharpening_is_a_colder_teacher():
    cold, warm = (model(centring="none", sharpening=on)(*batch(), 0.04) for on in (True, False))
    # Log-probabilities differ as the logits do, over the temperature.
    logits = [
        temperature * out.targets.log().diff(dim=-1)
        for out, temperature in ((cold, 0.04), (warm, 0.1))
    ]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-3)
    entropy = [-torch.xlogy(out.targets, out.targets).sum(-1).mean() for out in (cold, warm)]
    assert entropy[0] < entropy[1]


def test_teacher_sees_global_crops_only_and_whole():
    net, (crops, locals_, mask) = model(), batch()
    seen = []
    net.teacher["backbone"].register_forward_pre_hook(lambda module, args: seen.append(args))
    net(crops, locals_, mask)
    assert len(seen) == 1 and len(seen[0]) == 1  # once, without a mask
    assert torch.equal(seen[0][0], crops.flatten(0, 1))


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


@pytest.mark.parametrize("schedule", [dino.cosine, dino.ramp])
def test_schedules_run_from_end_to_end(schedule):
    last = 9 if schedule is dino.cosine else 10
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"centring": "sinkhorn_knopp"}, "centring must be one of"),
        ({"teacher_temperature": (0.0, 0.07)}, "positive"),
        ({"momentum": (0.9, 1.1)}, r"\[0, 1\]"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        DinoConfig(**options)


COLLAPSES = {
    "no centring: one answer to all": ({"centring": "none"}, lambda d: d.entropy_of_mean < 0.05),
    "no sharpening: the uniform answer": (
        {"sharpening": False},
        lambda d: d.mean_entropy > 0.99 and d.kl < 0.01,
    ),
    "a running mean without sharpening": (
        {"sharpening": False, "centring": "ema"},
        lambda d: d.mean_entropy > 0.99 and d.kl < 0.01,
    ),
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
