"""Self-distillation and distillation: they learn, resume exactly and refuse what cannot work."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from modarch_utils.training.crops import Crops
from modarch_utils.training.dino import Diagnostics, DinoConfig, DINOv2
from recipes.distillation import (
    Distiller,
    Teaching,
    distillation_loss,
    pack,
    standardise,
    teach,
)
from recipes.self_distillation import (
    SelfDistillationConfig,
    self_distil,
)
from tests.training.tiny_backbone import TinyBackbone

CONFIG = SelfDistillationConfig(
    epochs=3,
    batch_size=8,
    crops=Crops(global_size=8, local_size=4, local_crops=2),
    objective=DinoConfig(prototypes=16, hidden=16, bottleneck=8),
    seed=5,
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(n=44, side=12):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, side, side), generator=rng, dtype=torch.uint8)


def model(seed=0, config=CONFIG):
    torch.manual_seed(seed)
    return DINOv2(TinyBackbone(8, dropout=0.2), 8, config.objective)


def run(net, config=CONFIG, **options):
    return self_distil(net, images(), config, patch_size=4, progress=False, **options)


def numbers(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def same(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


@pytest.mark.parametrize("centring", ["sinkhorn", "ema"])
def test_a_stopped_run_ends_in_the_same_bits(tmp_path, centring):
    config = replace(CONFIG, objective=replace(CONFIG.objective, centring=centring))
    straight = model(config=config)
    expected = run(straight, config)

    run(model(config=config), config, out=tmp_path, stop_after=2)
    torch.manual_seed(99)
    resumed = model(seed=7, config=config)  # other first weights: the checkpoint's count
    history = run(resumed, config, out=tmp_path)
    assert same(resumed, straight)
    assert numbers(history) == numbers(expected)
    assert len(history) == 3 and not same(resumed.student, resumed.teacher)
    assert bool(straight.dino_centre.any()) == (centring == "ema")


def test_a_finished_run_comes_back_at_once(tmp_path):
    first = model()
    run(first, out=tmp_path)
    calls = []
    again = model(seed=3)
    run(again, out=tmp_path, after_epoch=lambda *args: calls.append(args))
    assert same(first, again) and not calls
    assert not again.training


def test_a_folder_belongs_to_one_run(tmp_path):
    run(model(), out=tmp_path, stop_after=1)
    with pytest.raises(ValueError, match="lr: 0.001 there, 0.1 here"):
        run(model(), replace(CONFIG, lr=0.1), out=tmp_path)


def test_records_hold_losses_diagnostics_and_more():
    seen = []

    def after_epoch(net, epoch, record):
        seen.append((epoch, net.training))
        record["extra"] = epoch

    history = run(model(), after_epoch=after_epoch)
    assert seen == [(1, False), (2, False), (3, False)]
    wanted = {"loss", "dino", "ibot", "koleo", "seconds", "extra", *Diagnostics._fields}
    assert all(row.keys() == wanted for row in history)
    goal = CONFIG.objective
    for row in history:
        total = row["dino"] + goal.ibot_weight * row["ibot"] + goal.koleo_weight * row["koleo"]
        assert row["loss"] == pytest.approx(total, rel=1e-4)


def test_schedules_are_followed(monkeypatch):
    from modarch_utils.training import dino

    seen, original = [], dino.train_step

    def spy(net, optimizer, views, mask, **options):
        decays = [group["weight_decay"] for group in optimizer.param_groups]
        seen.append(options | {"lr": optimizer.param_groups[0]["lr"], "decays": decays})
        return original(net, optimizer, views, mask, **options)

    monkeypatch.setattr(dino, "train_step", spy)
    run(model(), replace(CONFIG, temperature_epochs=2.0))
    assert len(seen) == 15  # 44 images, 8 a batch, the last 4 dropped
    column = {key: [step[key] for step in seen] for key in seen[0]}
    assert column["temperature"][0] == pytest.approx(0.04)
    assert column["temperature"][5] == pytest.approx(0.055)
    assert column["temperature"][10:] == [0.07] * 5
    assert column["momentum"][0] == pytest.approx(0.994) and column["momentum"][-1] == 1
    assert column["decays"][0] == [pytest.approx(0.04), 0] and column["decays"][-1] == [0.2, 0]
    assert column["lr"].index(max(column["lr"])) in (4, 5)


def test_the_seed_decides_the_run():
    a, b, c = (model() for _ in range(3))
    run(a)
    run(b)
    run(c, replace(CONFIG, seed=6))
    assert same(a, b) and not same(a, c)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 50}, "larger than the training set"),
        ({"crops": Crops(global_size=10, local_size=4)}, "do not fill crops of 10"),
        ({"objective": DinoConfig(prototypes=17)}, "another objective"),
    ],
)
def test_what_cannot_work(change, message):
    with pytest.raises(ValueError, match=message):
        run(model(), replace(CONFIG, **change))


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}])
def test_bad_settings(options):
    with pytest.raises(ValueError, match="needs at least|positive"):
        SelfDistillationConfig(**options)


def test_standardise_levels_the_channels():
    x = torch.randn(50, 4, 3, 3) * torch.tensor([1.0, 10, 0.1, 0]).view(1, 4, 1, 1) + 7
    out = standardise(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        out.std((0, 2, 3), correction=0), torch.tensor([1.0, 1, 1, 0]), atol=1e-3, rtol=0
    )
    assert torch.isfinite(standardise(torch.randn(50, 5).half())).all()


def test_teaching_is_what_the_teacher_says():
    import timm

    torch.manual_seed(0)
    teacher = timm.create_model("tf_efficientnet_lite0").eval()
    x = torch.randn(2, 3, 64, 64)
    found = teach(teacher, x, 3)
    assert found.maps.shape == (2, 112, 4, 4)
    stage = nn.Sequential(teacher.conv_stem, teacher.bn1, *teacher.blocks[:5])
    torch.testing.assert_close(found.maps, stage(x))
    teacher.reset_classifier(0)
    torch.testing.assert_close(found.pooled, teacher(x))


def test_distillation_loss_meets_the_map_at_the_patches():
    teaching = Teaching(torch.randn(5, 7), torch.randn(5, 3, 4, 4))
    targets = pack(teaching)
    assert targets.shape == (5, 7 + 3 * 16) and targets.dtype == torch.float16
    perfect = (teaching.pooled, teaching.maps.flatten(2).transpose(1, 2))
    assert distillation_loss(perfect, targets, (4, 4)).item() < 1e-5
    # A linear slope stays one when it is resized: away from the border the guess is known.
    slope = torch.arange(4.0).expand(5, 3, 4, 4)
    finer = ((torch.arange(8) + 0.5) / 2 - 0.5).clamp(0, 3).expand(5, 3, 8, 8)
    guess = (teaching.pooled, finer.flatten(2).transpose(1, 2))
    packed = pack(Teaching(teaching.pooled, slope))
    assert distillation_loss(guess, packed, (8, 8)).item() < 1e-5
    turned = (teaching.pooled, finer.transpose(2, 3).flatten(2).transpose(1, 2))
    assert distillation_loss(turned, packed, (8, 8)).item() > 0.1


def test_distillation_weighs_its_two_parts():
    guess = (torch.zeros(2, 3), torch.zeros(2, 4, 5))
    targets = pack(Teaching(torch.full((2, 3), 0.5), torch.full((2, 5, 2, 2), 3.0)))
    # Smooth-L1: a half of the square below 1, the distance less a half above.
    for weight in (0.0, 1.0, 2.0):
        loss = distillation_loss(guess, targets, (2, 2), weight)
        assert loss.item() == pytest.approx(0.125 + weight * 2.5, rel=1e-3)


def test_a_student_learns_its_teacher():
    torch.manual_seed(0)
    x = torch.randn(16, 3, 8, 8)
    targets = pack(Teaching(torch.randn(16, 5), torch.randn(16, 4, 2, 2)))
    student = Distiller(TinyBackbone(32), 32, 5, 4)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = distillation_loss(student(x), targets, (2, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
