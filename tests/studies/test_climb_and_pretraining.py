"""The two studies of chapter 02: what they build, and that they learn."""

from dataclasses import fields, replace

import torch

from modarch_utils.data import scenes
from modarch_utils.models.ladder import LadderBlock
from modarch_utils.studies import climb, pretraining
from recipes.small_net_recipe import CHOICES


def test_rungs_share_the_budget_and_differ_in_recipe():
    old, new = climb.recipe("resnet50", 0.1, 0), climb.recipe("recipe", 2e-3, 0)
    assert (old.optimizer, new.optimizer) == ("sgd", "adamw")
    assert (old.epochs, old.batch_size) == (new.epochs, new.batch_size)


def test_the_same_seed_builds_the_same_rung():
    a, b, c = (climb.build("gelu", 8, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["head.weight"], c["head.weight"])
    # PyTorch's default reaches 1/sqrt(fan-in), far above ConvNeXt's 0.02 for so narrow a layer.
    assert a["head.weight"].std() > 0.03


def test_each_choice_of_the_paper_reaches_the_network_or_its_training():
    assert {f for c in CHOICES.values() for f in c} <= {f.name for f in fields(climb.SETTINGS)}
    paper = replace(
        climb.SETTINGS, init="convnext", layer_scale=1e-6, mixup=0.8, cutmix=1.0, drop_path=0.1
    )
    config = climb.recipe("gelu", 2e-3, 0, paper)
    assert (config.mixup, config.cutmix) == (0.8, 1.0)
    model = climb.build("gelu", 8, 0, paper)
    assert abs(model.head.weight.std().item() - 0.02) < 0.005
    blocks = [m for m in model.modules() if isinstance(m, LadderBlock)]
    assert all(torch.all(block.gamma == 1e-6) for block in blocks)
    assert abs(blocks[-1].drop_path.rate - 0.1) < 1e-6


def test_pretraining_learns_without_labels_and_moves_grn():
    train = scenes.render(128, 32, framing="close")
    settings = pretraining.FcmaeSettings(pretrain_epochs=4)
    model = pretraining.build(True, 0, settings)
    _, history = pretraining.pretrain(model, train.images, 0, settings, progress=False)
    assert history.train_loss[-1] < history.train_loss[0]
    assert model.stages[0][0].grn.gamma.abs().sum() > 0
    values = pretraining.diversity(model, train[:8].to_float())
    assert len(values) == sum(settings.depths)
    assert all(0 < v < 1 for v in values)
    assert not model.stages[0][0].pwconv2._forward_pre_hooks
