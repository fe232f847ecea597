"""The ladder's rungs: the paper's costs in between, and known networks at both ends."""

import dataclasses

import pytest
import timm
import torch

from modarch_utils.claims import paper
from modarch_utils.measure import count_macs
from modarch_utils.models.convnext import convnext_tiny
from modarch_utils.models.ladder import LADDER, Design, LadderNet, small

STEPS = {step.key: step for step in LADDER}

# The two rows of table 10 that differ: (ours, the paper's). LayerNorm for BatchNorm changes no
# convolution, so it cannot change this count; chapter 02 discusses both rows.
DIFFERENT = {"layer_norm": (4.15, 4.46), "separate_downsampling": (4.46, 4.49)}


@pytest.mark.parametrize("key", STEPS)
def test_gmacs_equal_the_papers(key):
    with torch.device("meta"):
        net = LadderNet(STEPS[key].design)
    gmacs = round(count_macs(net, (1, 3, 224, 224)) / 1e9, 2)
    quoted = paper("convnext.ladder")[key]["gmacs"]
    assert (gmacs, quoted) == DIFFERENT.get(key, (quoted, quoted))


def test_the_rungs_are_the_papers_rows_in_order():
    rows = [key for key, row in paper("convnext.ladder").items() if isinstance(row, dict)]
    assert [step.key for step in LADDER] == rows
    assert [step.key for step in LADDER if not step.kept] == ["kernel5", "kernel9", "kernel11"]
    assert [step.recipe for step in LADDER] == ["2015"] + ["modern"] * 16


def test_each_step_changes_one_setting():
    def changes(a: Design, b: Design) -> list[str]:
        names = [f.name for f in dataclasses.fields(Design)]
        return [name for name in names if getattr(a, name) != getattr(b, name)]

    first, recipe, *rest = LADDER
    assert first.design == recipe.design == Design()
    kept = recipe
    for step in rest:
        changed = changes(kept.design, step.design)
        if step.key in ("kernel9", "kernel11"):  # tried beside kernel 7, from which they differ
            assert kept.key == "kernel7"
        assert len(changed) == 1, step.key
        if step.kept:
            kept = step


@torch.no_grad()
def test_first_rung_is_resnet50():
    torch.manual_seed(0)
    theirs = timm.create_model("resnet50", zero_init_last=False).eval()
    ours = LadderNet(LADDER[0].design).eval()
    # Names differ, the order is the same.
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 64, 96)
    expected = theirs(x)
    assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_last_rung_is_convnext_tiny():
    torch.manual_seed(0)
    theirs = convnext_tiny().eval()
    ours = LadderNet(LADDER[-1].design, layer_scale=1e-6).eval()
    assert sum(p.numel() for p in ours.parameters()) == 28_589_128
    assert all((p == 1e-6).all() for name, p in ours.named_parameters() if "gamma" in name)
    for p in theirs.parameters():
        p.data += 0.1 * torch.randn_like(p) if p.ndim > 1 else 0.5 * torch.rand_like(p)
    source = []
    for downsample, stage in zip(theirs.downsample_layers, theirs.stages, strict=True):
        source += [*downsample.parameters(), *stage.parameters()]
    source += [*theirs.norm.parameters(), *theirs.head.parameters()]
    for p, q in zip(ours.parameters(), source, strict=True):
        assert p.squeeze().shape == q.squeeze().shape  # 1×1 convolutions are linear layers there
        p.data = q.reshape(p.shape)
    x = torch.randn(2, 3, 64, 96)
    expected = theirs(x)
    assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_small_values():
    first, last = small(LADDER[0].design, 32), small(LADDER[-1].design, 32)
    assert (first.width, first.depths, first.dims) == (20, (1, 1, 2, 1), (80, 160, 320, 640))
    assert (last.width, last.depths, last.dims) == (32, (1, 1, 3, 1), (32, 64, 128, 256))
    assert dataclasses.replace(last, width=96, depths=(3, 3, 9, 3)) == LADDER[-1].design


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("key", STEPS)
def test_small_rungs_learn_from_every_weight(key, stride):
    torch.manual_seed(0)
    net = LadderNet(small(STEPS[key].design, 16), num_classes=5, stem_stride=stride)
    x = torch.randn(4, 3, 64, 32)
    assert net.stem(x).shape[-2:] == (64 // stride, 32 // stride)
    features = net.stages(net.stem(x))
    assert features.shape[-2:] == (64 // stride // 8, 32 // stride // 8)
    logits = net(x)
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_unknown_stem_stride(stride):
    with pytest.raises(ValueError, match=f"2 or 4, but {stride}"):
        LadderNet(Design(), stem_stride=stride)
