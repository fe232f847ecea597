"""ResNet (He et al. 2015, arXiv 1512.03385) and ResNeXt (Xie et al. 2016, arXiv 1611.05431).

The 3×3 convolution carries the stride, as in every current library ("v1.5"); the paper puts it
on the first 1×1. Names follow torchvision and timm, so that their weights load without renaming.
"""

from torch import Tensor, nn

from .layers import DropPath, drop_path_rates


class Bottleneck(nn.Module):
    """1×1 down, 3×3, 1×1 up by four, plus the shortcut (ResNet fig. 5 right; ResNeXt fig. 3c).

    Args:
        in_dim: channels that come in.
        width: channels of the 3×3 convolution before widening by ``groups``.
        stride: stride of the 3×3 convolution.
        groups: groups of the 3×3 convolution (the paper's *cardinality*; 1 is a ResNet).
        base_width: channels of a group in the first stage (64 is a ResNet, 4 a ResNeXt 32×4d).
        drop_path: probability of dropping the residual branch.
    """

    expansion = 4

    def __init__(
        self,
        in_dim: int,
        width: int,
        stride: int = 1,
        groups: int = 1,
        base_width: int = 64,
        drop_path: float = 0.0,
    ):
        super().__init__()
        mid = width * base_width // 64 * groups
        out_dim = width * self.expansion
        self.conv1 = nn.Conv2d(in_dim, mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, out_dim, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_dim)
        self.act = nn.ReLU(inplace=True)
        self.drop_path = DropPath(drop_path)
        self.downsample = None
        if stride != 1 or in_dim != out_dim:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_dim, out_dim, 1, stride, bias=False), nn.BatchNorm2d(out_dim)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_dim, H, W)`` to ``(N, 4·width, H / stride, W / stride)``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.act(self.bn1(self.conv1(x)))
        x = self.act(self.bn2(self.conv2(x)))
        x = self.drop_path(self.bn3(self.conv3(x)))
        return self.act(x.add_(shortcut))  # in place: one tensor of full size less


class ResNet(nn.Module):
    """A 7×7 stem, four stages of bottlenecks, average pooling and a linear classifier.

    Args:
        depths: blocks in each stage; (3, 4, 6, 3) is ResNet-50.
        width: channels of the stem; stage i ends with ``4 · width · 2**i``.
        groups, base_width: see :class:`Bottleneck`.
        num_classes: outputs of the classifier.
        in_chans: channels of the image.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
    """

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 4, 6, 3),
        width: int = 64,
        groups: int = 1,
        base_width: int = 64,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        dim = width
        for i, rates in enumerate(drop_path_rates(depths, drop_path_rate)):
            blocks = []
            for j, rate in enumerate(rates):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(Bottleneck(dim, width * 2**i, stride, groups, base_width, rate))
                dim = width * 2**i * Bottleneck.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.num_stages = len(depths)
        self.fc = nn.Linear(dim, num_classes)
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to features ``(N, C, H / 32, W / 32)``."""
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        for i in range(self.num_stages):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to logits ``(N, num_classes)``."""
        return self.fc(self.forward_features(x).mean((2, 3)))


def resnet50(**kwargs) -> ResNet:
    """ResNet-50: 25,557,032 parameters."""
    return ResNet(depths=(3, 4, 6, 3), **kwargs)


def resnext50_32x4d(**kwargs) -> ResNet:
    """ResNeXt-50 with 32 groups of 4 channels: 25,028,904 parameters."""
    return ResNet(depths=(3, 4, 6, 3), groups=32, base_width=4, **kwargs)
