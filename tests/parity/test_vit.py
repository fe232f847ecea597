"""Our ViT against timm's, with the same weights under the same names."""

import pytest
import torch
from timm.models import vision_transformer as reference
from torch import nn

from modarch_utils.models import vit
from tests.parity.near import assert_near, assert_same

TINY = {"patch_size": 8, "depth": 3, "num_heads": 3, "num_classes": 7}


def timm_tiny(dim: int = 24, **kwargs) -> nn.Module:
    return reference.VisionTransformer(**TINY, embed_dim=dim, **kwargs)


def test_base_equals_timm():
    ours, theirs = vit.vit_base_patch16_224(), reference.vit_base_patch16_224()
    assert_same(ours, theirs, (1, 3, 224, 224))
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        features = ours.forward_features(x)
        assert features.shape == (1, 1 + 14 * 14, 768)
        assert_near(features, theirs.forward_features(x), 1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        ({"image_size": 32}, {"img_size": 32}, (3, 3, 32, 32)),
        ({"image_size": (24, 40)}, {"img_size": (24, 40)}, (2, 3, 24, 40)),
        ({"image_size": 16, "in_chans": 4}, {"img_size": 16, "in_chans": 4}, (2, 4, 16, 16)),
        ({"image_size": 16, "mlp_ratio": 2.5}, {"img_size": 16, "mlp_ratio": 2.5}, (2, 3, 16, 16)),
    ],
    ids=["square", "wide", "chans4", "mlp2.5"],
)
def test_other_sizes_equal_timm(ours, theirs, shape):
    assert_same(vit.VisionTransformer(**TINY, dim=24, **ours), timm_tiny(**theirs), shape)


def test_parameters_and_eps():
    with torch.device("meta"):
        models = vit.vit_base_patch16_224(), reference.vit_base_patch16_224()
    counts = [sum(p.numel() for p in m.parameters()) for m in models]
    assert counts == [86_567_656, 86_567_656]
    # 1e-5 instead of 1e-6 would move the outputs by less than the tolerance.
    eps = [
        {n: m.eps for n, m in model.named_modules() if isinstance(m, nn.LayerNorm)}
        for model in models
    ]
    assert eps[0] == eps[1]


def test_bad_sizes_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="do not fill an image of 224×230; take sides that are"):
        vit.VisionTransformer(image_size=(224, 230))
    with pytest.raises(ValueError, match="cannot be shared by 5 heads"):
        vit.VisionTransformer(num_heads=5, depth=1)
    model = vit.VisionTransformer(**TINY, image_size=(16, 24), dim=24)
    with pytest.raises(ValueError, match="images are 24×16, but .* made for 16×24; resize"):
        model(torch.randn(1, 3, 24, 16))
