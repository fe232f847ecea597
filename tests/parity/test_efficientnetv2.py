"""Our EfficientNetV2 against timm's, whose names it shares: both paddings, three sizes."""

from functools import partial

import pytest
import timm
import torch
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from torch import nn

from modarch_utils.models import efficientnetv2
from modarch_utils.models.efficientnetv2 import EfficientNetV2, Stage
from tests.parity import near

PADDINGS = {"same": "tf_", "symmetric": ""}  # ours: the beginning of timm's name

# (our stage, timm's); the last two are not in the paper's networks, but a search may try them.
TINY = [
    (Stage("fused", 3, 1, 8, layers=2, expand=1), "cn_r2_k3_s1_e1_c8_skip"),
    (Stage("fused", 3, 2, 16, layers=2, expand=4), "er_r2_k3_s2_e4_c16"),
    (Stage("mbconv", 3, 2, 24, layers=2, expand=4, se=0.25), "ir_r2_k3_s2_e4_c24_se0.25"),
    (Stage("mbconv", 5, 2, 24, layers=2, expand=6), "ir_r2_k5_s2_e6_c24"),
    (Stage("fused", 5, 1, 24, layers=1, expand=2, se=0.5), "er_r1_k5_s1_e2_c24_se0.5"),
]


def tiny(padding: str, in_chans: int = 3) -> tuple[nn.Module, nn.Module]:
    ours = EfficientNetV2(
        tuple(stage for stage, _ in TINY), 8, 40, 5, in_chans=in_chans, padding=padding
    )
    theirs = EfficientNet(
        decode_arch_def([[row] for _, row in TINY]),
        num_classes=5,
        num_features=40,
        in_chans=in_chans,
        stem_size=8,
        pad_type="same" if padding == "same" else "",
        act_layer=nn.SiLU,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3 if padding == "same" else 1e-5),
        round_chs_fn=lambda channels: channels,
    )
    return ours, theirs


def full(padding: str) -> tuple[nn.Module, nn.Module]:
    ours = efficientnetv2.efficientnetv2_s(padding=padding)
    return ours, timm.create_model(f"{PADDINGS[padding]}efficientnetv2_s")


def calm(ours: nn.Module, theirs: nn.Module) -> None:
    """Weights and running statistics like a trained network's, the same in both.

    Branches of full size on the running statistics of a new network (mean 0, variance 1) would
    multiply rounding by more than 1e6 on the way through 40 blocks.
    """
    near.randomise(ours)
    generator = torch.Generator().manual_seed(2)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = 0.2 * torch.randn(module.num_features, generator=generator)
            module.running_var = 1 + torch.rand(module.num_features, generator=generator)
        if getattr(module, "has_skip", False):
            last = [n for n in module.children() if isinstance(n, nn.BatchNorm2d)][-1]
            last.weight.data *= 0.3
    theirs.load_state_dict(ours.state_dict())


def assert_equal(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> None:
    near.compare(ours, theirs, shape, rounding=1e-6 if ours.training else 0)


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (3, 3, 65, 97), (2, 3, 50, 71)], ids=str)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_tiny_equals_timm(mode, padding, shape):
    ours, theirs = tiny(padding)
    calm(ours, theirs)
    assert_equal(ours.train(mode == "train"), theirs.train(mode == "train"), shape)


def test_greyscale_equals_timm():
    ours, theirs = tiny("same", in_chans=1)
    calm(ours, theirs)
    assert_equal(ours, theirs, (2, 1, 64, 48))


@pytest.mark.parametrize("shape", [(1, 3, 96, 96), (1, 3, 65, 97)], ids=str)
@pytest.mark.parametrize("padding", PADDINGS)
def test_s_equals_timm(padding, shape):
    """On the running statistics; for those of the batch see the next test."""
    ours, theirs = full(padding)
    calm(ours, theirs)
    assert_equal(ours.eval(), theirs.eval(), shape)


@pytest.mark.parametrize("padding", PADDINGS)
def test_s_in_training_mode_equals_timm(padding):
    """In float64: the statistics of few positions in late stages multiply float32's rounding."""
    ours, theirs = full(padding)
    calm(ours, theirs)
    assert_equal(ours.double(), theirs.double(), (2, 3, 96, 65))


@pytest.mark.parametrize("prefix", PADDINGS.values())
@pytest.mark.parametrize(
    ("size", "params"), [("s", 21_458_488), ("m", 54_139_356), ("l", 118_515_272)]
)
def test_parameters_and_names(size, params, prefix):
    with torch.device("meta"):
        ours = getattr(efficientnetv2, f"efficientnetv2_{size}")()
        theirs = timm.create_model(f"{prefix}efficientnetv2_{size}")
    assert sum(p.numel() for p in ours.parameters()) == params
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_mbconv_without_expansion_equals_timm():
    """timm has a class of its own for it, with other names."""
    ours = EfficientNetV2((Stage("mbconv", 3, 2, 16, 2, expand=1, se=0.25),), 8, 24, 5)
    theirs = EfficientNet(
        decode_arch_def([["ds_r2_k3_s2_e1_c16_se0.25"]]),
        num_classes=5,
        num_features=24,
        stem_size=8,
        pad_type="same",
        act_layer=nn.SiLU,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
        round_chs_fn=lambda channels: channels,
    )
    table = {"bn2": "bn1", "conv_pwl": "conv_pw", "bn3": "bn2"}

    def rename(named: dict) -> dict:
        return {
            ".".join(table.get(part, part) for part in name.split("."))
            if name.startswith("blocks")
            else name: value
            for name, value in named.items()
        }

    near.assert_same(ours.eval(), theirs.eval(), (2, 3, 33, 40), rename)
