"""DINOv2's grid, first weights and refusals; tests/parity has its tokens and positions."""

import pytest
import torch
from torch import nn

from modarch_utils.models import dinov2

TINY = {"image_size": 32, "patch_size": 8, "dim": 24, "depth": 2, "num_heads": 3}


def tiny(**kwargs) -> dinov2.DinoVisionTransformer:
    """Random weights of a size at which every part matters."""
    torch.manual_seed(0)
    model = dinov2.DinoVisionTransformer(**TINY | {"layer_scale": 1.0} | kwargs)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("registers", [0, 1, 4])
@pytest.mark.parametrize("size", [(32, 32), (16, 72), (24, 8)])
def test_shapes(registers, size):
    model = tiny(registers=registers)
    grid = (size[0] // 8, size[1] // 8)
    features = model(torch.randn(2, 3, *size))
    assert features.cls.shape == (2, 24)
    assert features.registers.shape == (2, registers, 24)
    assert features.patches.shape == (2, grid[0] * grid[1], 24)
    assert features.grid == grid
    assert features.patch_map().shape == (2, 24, *grid)
    for row, column in ((0, 0), (grid[0] - 1, 0), (0, grid[1] - 1)):
        at = features.patch_map()[:, :, row, column]
        assert torch.equal(at, features.patches[:, row * grid[1] + column])


def test_gradients_reach_every_parameter():
    for registers, swiglu in ((0, False), (3, True)):
        model = tiny(registers=registers, swiglu=swiglu).train()
        features = model(torch.randn(2, 3, 16, 24), torch.rand(2, 6) < 0.5)
        sum(f.square().sum() for f in features[:3] if f.numel()).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_half_precision_runs_at_any_size():
    model = tiny(registers=4).to(torch.bfloat16)
    features = model(torch.randn(1, 3, 16, 40, dtype=torch.bfloat16))
    assert features.patches.dtype == torch.bfloat16 and features.patches.isfinite().all()


def test_start_as_the_authors_have_it():
    torch.manual_seed(0)
    model = dinov2.DinoVisionTransformer(**TINY | {"dim": 192}, registers=4)
    assert all((b.ls1.gamma == 1e-5).all() and (b.ls2.gamma == 1e-5).all() for b in model.blocks)
    for weight in (model.pos_embed, *(m.weight for m in model.modules() if type(m) is nn.Linear)):
        assert 0.018 < weight.std() < 0.022
    assert (model.mask_token == 0).all()
    assert 0 < model.cls_token.abs().max() < 1e-5
    assert 0 < model.register_tokens.abs().max() < 1e-5


def test_swiglu_has_as_many_weights_as_two_layers():
    # Two thirds of the hidden channels, up to the next multiple of 8.
    assert dinov2.SwiGLU(1536, 4 * 1536).w3.in_features == 4096
    assert dinov2.SwiGLU(16, 64).w3.in_features == 48
    mlp = dinov2.SwiGLU(2, 10)
    assert mlp.w3.in_features == 8
    x = torch.randn(3, 2)
    a, b = mlp.w12(x)[:, :8], mlp.w12(x)[:, 8:]
    torch.testing.assert_close(mlp(x), mlp.w3(a * a.sigmoid() * b))


def test_bad_input_is_refused_in_one_sentence():
    model = tiny()
    with pytest.raises(ValueError, match="do not fill an image of 30×32; resize or crop it to"):
        model(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ValueError, match="8 pixels do not fill an image of 36×36"):
        dinov2.DinoVisionTransformer(**TINY | {"image_size": 36})
    with pytest.raises(ValueError, match="cannot be shared by 5 heads"):
        dinov2.DinoVisionTransformer(**TINY | {"num_heads": 5})
    for mask in (torch.zeros(1, 15, dtype=torch.bool), torch.zeros(1, 16)):
        with pytest.raises(ValueError, match=r"bool tensor of shape \(1, 16\), one entry for each"):
            model(torch.zeros(1, 3, 32, 32), mask)
