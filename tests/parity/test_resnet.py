"""Our ResNet-50 and ResNeXt-50 against timm's, whose names they share."""

import copy

import pytest
import torch
from timm.models import resnet as reference
from torch import nn

from modarch_utils.models import resnet
from tests.parity.near import assert_near, compare

PAIRS = {
    "resnet50": (resnet.resnet50, reference.resnet50, 25_557_032),
    "resnext50": (resnet.resnext50_32x4d, reference.resnext50_32x4d, 25_028_904),
}


def randomise(model: nn.Module) -> None:
    """Give the norms scales, shifts and running statistics that matter."""
    generator = torch.Generator().manual_seed(0)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.weight.shape
            branch_end = name.endswith("bn3")  # small, so that 16 blocks do not explode
            module.weight.data = (0.3 if branch_end else 1) * (
                1 + 0.2 * torch.randn(size, generator=generator)
            )
            module.bias.data = 0.2 * torch.randn(size, generator=generator)
            module.running_mean = 0.2 * torch.randn(size, generator=generator)
            module.running_var = 1 + torch.rand(size, generator=generator)


@pytest.fixture(scope="module", params=PAIRS)
def models(request):
    make, make_reference, params = PAIRS[request.param]
    torch.manual_seed(0)
    ours, theirs = make(), make_reference()
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, params


def test_parameters(models):
    ours, theirs, params = models
    assert sum(p.numel() for p in ours.parameters()) == params
    assert sum(p.numel() for p in theirs.parameters()) == params


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_forward_and_gradients(models, mode):
    ours, theirs = (copy.deepcopy(m).train(mode == "train") for m in models[:2])
    compare(ours, theirs, (4, 3, 64, 96))


def test_odd_sides_and_other_channels():
    settings = {"num_classes": 5, "in_chans": 1}
    ours = resnet.ResNet(depths=(1, 1, 1, 1), **settings)
    theirs = reference.ResNet(block=reference.Bottleneck, layers=(1, 1, 1, 1), **settings)
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 1, 75, 50)
    with torch.no_grad():
        assert_near(ours.eval()(x), theirs.eval()(x), 1e-5)
        assert ours.forward_features(x).shape == (2, 2048, 3, 2)
