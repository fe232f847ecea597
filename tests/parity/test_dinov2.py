"""Our DINOv2 against transformers' and timm's, with the same weights."""

from collections.abc import Callable

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import vision_transformer as timm_vit
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, Dinov2Model, Dinov2WithRegistersModel

from modarch_utils.models import dinov2
from tests.parity.near import assert_near, compare, randomise

TINY = {"image_size": 56, "patch_size": 14, "dim": 48, "depth": 2, "num_heads": 3}
MAKERS = (dinov2.dinov2_small, dinov2.dinov2_base, dinov2.dinov2_large, dinov2.dinov2_giant)


def ready(model: dinov2.DinoVisionTransformer) -> dinov2.DinoVisionTransformer:
    """Random weights, with tokens large enough for their absence to show."""
    randomise(model)
    torch.manual_seed(0)
    for token in (model.mask_token, model.register_tokens):
        if token is not None:
            nn.init.normal_(token)
    return model


def read(model: nn.Module, tokens: Callable, **kwargs) -> nn.Module:
    """The model with its answer turned into one tensor, all tokens in order."""
    forward = model.forward
    model.forward = lambda x: tokens(forward(x, **kwargs))
    return model


def in_order(features: dinov2.Features) -> Tensor:
    return torch.cat((features.cls[:, None], features.registers, features.patches), dim=1)


def transformers_pair(ours: dinov2.DinoVisionTransformer) -> nn.Module:
    config, state = dinov2.transformers_state(ready(ours))
    theirs = AutoModel.from_config(AutoConfig.for_model(**config))
    theirs.load_state_dict(state)
    assert type(theirs) is (Dinov2WithRegistersModel if ours.registers else Dinov2Model)
    return theirs.train()  # with drop path 0


def assert_equals_transformers(ours: dinov2.DinoVisionTransformer, n: int, size: tuple) -> None:
    theirs = transformers_pair(ours)
    rows, columns = ours.grid(*size)
    mask = torch.rand(n, rows * columns, generator=torch.Generator().manual_seed(2)) < 0.4
    assert mask.any() and not mask.all()
    read(theirs, lambda out: out.last_hidden_state, bool_masked_pos=mask)
    read(ours, in_order, mask=mask)
    # A bias on all keys moves no softmax: what is computed of its gradient is rounding.
    shape = (n, ours.patch_embed.proj.in_channels, *size)
    compare(ours, theirs, shape, dinov2.to_transformers, rounding=1e-6)


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("size", [(224, 224), (224, 336)], ids=["square", "wide"])
def test_small_equals_transformers(registers, size):
    assert_equals_transformers(dinov2.dinov2_small(registers=registers), 1, size)


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize(
    ("size", "kwargs"),
    [
        ((56, 56), {}),  # the learned grid itself
        ((28, 112), {}),  # as many patches as learned, in another shape
        ((70, 126), {}),
        ((42, 28), {"swiglu": True}),  # smaller: antialiasing matters
        ((24, 40), {"image_size": 48, "patch_size": 8, "in_chans": 4, "mlp_ratio": 3}),
    ],
    ids=["same", "reshaped", "larger", "smaller", "patch8"],
)
def test_other_sizes_equal_transformers(registers, size, kwargs):
    ours = dinov2.DinoVisionTransformer(**TINY | kwargs, registers=registers)
    assert_equals_transformers(ours, 2, size)


def to_timm(named: dict, theirs: nn.Module) -> dict:
    return timm_vit.checkpoint_filter_fn(dict(named), theirs)


def assert_equals_timm(ours: dinov2.DinoVisionTransformer, theirs: nn.Module, shape: tuple) -> None:
    theirs.load_state_dict(to_timm(ready(ours).state_dict(), theirs))
    theirs.forward = theirs.forward_features
    read(ours, in_order)
    ours.mask_token.requires_grad_(False)  # timm has none

    def grads(named: dict) -> dict:
        if ours.registers and named:
            # With registers timm's class token includes its position; that sum would add the two
            # gradients, each of which is timm's.
            named = named | {"cls_token": named["cls_token"] - named["pos_embed"][:, :1]}
        return to_timm(named, theirs) if named else {}

    compare(ours.train(), theirs.train(), shape, grads)


def timm_tiny(registers: int, swiglu: bool = False) -> nn.Module:
    gate = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 16 / 3}
    return timm_vit.VisionTransformer(
        img_size=56,
        patch_size=14,
        embed_dim=48,
        depth=2,
        num_heads=3,
        num_classes=0,
        init_values=1e-5,
        reg_tokens=registers,
        no_embed_class=registers > 0,
        dynamic_img_size=True,
        **gate if swiglu else {},
    )


@pytest.mark.parametrize("size", [(224, 224), (224, 336)], ids=["square", "wide"])
def test_small_with_registers_equals_timm(size):
    theirs = timm.create_model("vit_small_patch14_reg4_dinov2", dynamic_img_size=True)
    assert_equals_timm(dinov2.dinov2_small(registers=4), theirs, (1, 3, *size))


@pytest.mark.parametrize(
    ("registers", "size", "swiglu"),
    [(4, (70, 126), False), (4, (28, 42), True), (1, (28, 112), False), (0, (56, 56), True)],
)
def test_other_sizes_equal_timm(registers, size, swiglu):
    theirs = timm_tiny(registers, swiglu)
    ours = dinov2.DinoVisionTransformer(**TINY, registers=registers, swiglu=swiglu)
    assert_equals_timm(ours, theirs, (2, 3, *size))


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("make", MAKERS)
def test_parameters_and_eps(make, registers):
    size = make.__name__.removeprefix("dinov2_")
    kind = "reg4_dinov2" if registers else "dinov2"
    with torch.device("meta"):
        ours = make(registers=registers)
        config, state = dinov2.transformers_state(ours)
        hub = AutoModel.from_config(AutoConfig.for_model(**config))
        theirs = timm.create_model(f"vit_{size}_patch14_{kind}")
    shapes = {name: value.shape for name, value in hub.state_dict().items()}
    assert {name: value.shape for name, value in state.items()} == shapes
    count = sum(p.numel() for p in ours.parameters())
    expected = {"small": 22_056_576, "base": 86_580_480, "large": 304_368_640}
    expected["giant"] = 1_136_480_768
    assert count == expected[size] + registers * ours.norm.weight.numel()
    # timm has no mask token, and with registers it adds the class token's position to the token.
    missing = ours.norm.weight.numel() * (2 if registers else 1)
    assert sum(p.numel() for p in theirs.parameters()) == count - missing
    for model in (ours, hub, theirs):
        norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
        assert {m.eps for m in norms} == {1e-6} and len(norms) == 2 * len(ours.blocks) + 1


@pytest.mark.parametrize("registers", [0, 4])
def test_weights_go_to_transformers_on_disk_and_back(registers, tmp_path):
    ours = dinov2.DinoVisionTransformer(**TINY, registers=registers, swiglu=True, drop_path=0.2)
    transformers_pair(ours).save_pretrained(tmp_path)
    save_file(dinov2.transformers_state(ours)[1], tmp_path / "state")  # no shared memory
    loaded = AutoModel.from_pretrained(tmp_path)
    assert loaded.config.drop_path_rate == 0.2 and loaded.config.use_swiglu_ffn
    again = dinov2.DinoVisionTransformer(**TINY, registers=registers, swiglu=True)
    dinov2.load_transformers(again, loaded.state_dict())
    assert again.state_dict().keys() == ours.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    x = torch.randn(2, 3, 42, 70)
    with torch.no_grad():
        assert_near(in_order(again.eval()(x)), loaded.eval()(x).last_hidden_state, 1e-5)


def test_other_networks_weights_are_refused():
    other = dinov2.DinoVisionTransformer(**TINY | {"dim": 24})
    state = dinov2.transformers_state(dinov2.DinoVisionTransformer(**TINY))[1]
    with pytest.raises(RuntimeError, match="size mismatch"):
        dinov2.load_transformers(other, state)
    with pytest.raises(KeyError, match="register_tokens"):
        dinov2.load_transformers(dinov2.DinoVisionTransformer(**TINY, registers=4), state)
