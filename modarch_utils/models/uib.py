"""MobileNetV4's universal inverted bottleneck (Qin et al. 2024, arXiv 2404.10518, section 4).

One block with two optional depthwise convolutions, and so four blocks in one: a search over
networks need only choose two kernels. :data:`KINDS` names them as the paper does.
"""

from torch import Tensor, nn

KINDS = {
    "FFN": (False, False),
    "ConvNext": (True, False),
    "IB": (False, True),
    "ExtraDW": (True, True),
}
"""Whether there is a depthwise convolution before the expansion, and one after it."""


def conv_norm(
    dim_in: int, dim_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution without bias, which the BatchNorm behind it would take away again."""
    conv = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(dim_out)]


class UniversalInvertedBottleneck(nn.Module):
    """(Depthwise,) 1×1 up, (depthwise,) 1×1 down, plus the shortcut where shapes allow it.

    BatchNorm follows each convolution; ReLU only those that end in the wide middle: the expansion
    and the depthwise convolution behind it. What goes between blocks is narrow and stays linear.

    Args:
        dim_in: channels that come in.
        dim_out: channels that come out; the block has a shortcut if they are equal and stride is 1.
        kernel_before: side of the depthwise kernel before the expansion; 0 leaves it out.
        kernel_between: side of the depthwise kernel between the two 1×1; 0 leaves it out.
        stride: of the depthwise convolution between, or, where there is none, of the one before.
        expand: channels inside the block, divided by ``dim_in``.

    Raises:
        ValueError: an even or negative kernel, no channel inside the block, a stride below 1, or
            one above 1 with no depthwise convolution to carry it.
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        kernel_before: int = 3,
        kernel_between: int = 3,
        stride: int = 1,
        expand: float = 4.0,
    ):
        super().__init__()
        for kernel in (kernel_before, kernel_between):
            if kernel and (kernel < 0 or kernel % 2 == 0):
                raise ValueError(f"A kernel must be odd, or 0 for none, but one is {kernel}.")
        if stride < 1 or (stride > 1 and not kernel_before and not kernel_between):
            raise ValueError(
                "The stride must be 1 without a depthwise convolution and at least 1 with one, "
                f"but is {stride}."
            )
        hidden = round(dim_in * expand)
        if hidden < 1:
            raise ValueError(f"{dim_in} channels times expand = {expand} leave none in the block.")
        layers: list[nn.Module] = []
        if kernel_before:
            first = 1 if kernel_between else stride
            layers += conv_norm(dim_in, dim_in, kernel_before, first, groups=dim_in)
        layers += [*conv_norm(dim_in, hidden), nn.ReLU(inplace=True)]
        if kernel_between:
            layers += conv_norm(hidden, hidden, kernel_between, stride, groups=hidden)
            layers += [nn.ReLU(inplace=True)]
        layers += conv_norm(hidden, dim_out)
        self.branch = nn.Sequential(*layers)
        self.has_skip = stride == 1 and dim_in == dim_out

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, dim_in, H, W)`` to ``(N, dim_out, H / stride, W / stride)``, rounded up."""
        return x + self.branch(x) if self.has_skip else self.branch(x)
