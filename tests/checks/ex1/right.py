"""Right answers to exercise 1, each written in another way."""

import torch
from torch import nn
from torch.nn import functional as F

from modarch_utils.models.convnext import GRN, Block


class AsInTheChapter(nn.Module):
    def __init__(self, dim, layer_scale_init=1e-6):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(layer_scale_init * torch.ones(dim))

    def forward(self, x):
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class ChannelsFirstNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.scale[:, None, None] * x + self.shift[:, None, None]


class Convolutions(nn.Module):
    """1×1 convolutions in an nn.Sequential, gamma of shape (C, 1, 1)."""

    def __init__(self, dim):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(dim, dim, 7, 1, 3, groups=dim),
            ChannelsFirstNorm(dim),
            nn.Conv2d(dim, 4 * dim, 1),
            nn.GELU(),
            nn.Conv2d(4 * dim, dim, 1),
        )
        self.ls = nn.Parameter(torch.full((dim, 1, 1), 1e-6))

    def forward(self, inputs):
        return inputs + self.ls * self.branch(inputs)


class Functional(nn.Module):
    """No layers, parameters only; gamma of shape (1, C, 1, 1)."""

    def __init__(self, dim):
        super().__init__()
        self.kernel = nn.Parameter(0.02 * torch.randn(dim, 1, 7, 7))
        self.kernel_bias = nn.Parameter(torch.zeros(dim))
        self.ln_w, self.ln_b = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.up = nn.Parameter(0.02 * torch.randn(4 * dim, dim))
        self.up_bias = nn.Parameter(torch.zeros(4 * dim))
        self.down = nn.Parameter(0.02 * torch.randn(dim, 4 * dim))
        self.down_bias = nn.Parameter(torch.zeros(dim))
        self.g = nn.Parameter(1e-6 * torch.ones(1, dim, 1, 1))

    def forward(self, x):
        c = x.shape[1]
        y = F.conv2d(x, self.kernel, self.kernel_bias, padding=3, groups=c)
        y = F.layer_norm(y.movedim(1, -1), (c,), self.ln_w, self.ln_b, 1e-6)
        y = F.linear(F.gelu(F.linear(y, self.up, self.up_bias)), self.down, self.down_bias)
        return torch.add(x, self.g * y.movedim(-1, 1))


class Einsum(nn.Module):
    """Matrices stored (inputs, outputs), applied by einsum; torch.var with correction=0."""

    def __init__(self, dim):
        super().__init__()
        self.spatial = nn.Conv2d(dim, dim, kernel_size=7, padding="same", groups=dim)
        self.a = nn.Parameter(torch.randn(dim, 4 * dim) * 0.02)
        self.a0 = nn.Parameter(torch.zeros(4 * dim, 1, 1))
        self.b = nn.Parameter(torch.randn(4 * dim, dim) * 0.02)
        self.b0 = nn.Parameter(torch.zeros(dim, 1, 1))
        self.weight = nn.Parameter(torch.ones(dim, 1, 1))
        self.bias = nn.Parameter(torch.zeros(dim, 1, 1))
        self.scale = nn.Parameter(torch.zeros(dim) + 1e-6)

    def forward(self, x):
        y = self.spatial(x)
        var, mean = torch.var_mean(y, dim=1, keepdim=True, correction=0)
        y = (y - mean) * torch.rsqrt(var + 1e-6) * self.weight + self.bias
        y = torch.einsum("nchw,cd->ndhw", y, self.a) + self.a0
        y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
        y = torch.einsum("ndhw,dc->nchw", y, self.b) + self.b0
        return torch.einsum("c,nchw->nchw", self.scale, y) + x


class Flattened(nn.Module):
    """Positions as one axis of tokens, (N, H·W, C), and back."""

    def __init__(self, dim):
        super().__init__()
        self.tokens = nn.Conv2d(dim, dim, 7, padding=(3, 3), groups=dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm([dim], eps=1e-6),
            nn.Linear(dim, dim * 4),
            nn.GELU(approximate="none"),
            nn.Linear(dim * 4, dim),
        )
        self.register_parameter("layer_scale", nn.Parameter(torch.ones(dim).mul(1e-6)))

    def forward(self, x):
        n, c, h, w = x.shape
        t = self.tokens(x).flatten(2).transpose(1, 2)
        t = self.mlp(t) * self.layer_scale
        return t.transpose(1, 2).reshape(n, c, h, w) + x


class Unfold(nn.Module):
    """The depthwise convolution by unfold, and a block inside a block."""

    class Scale(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.value = nn.Parameter(torch.empty(dim, 1, 1).fill_(1e-6))

        def forward(self, x):
            return x * self.value

    def __init__(self, dim):
        super().__init__()
        self.w = nn.Parameter(torch.randn(dim, 49) * 0.02)
        self.c = nn.Parameter(torch.zeros(1, dim, 1))
        self.rest = nn.ModuleList([nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)])
        self.n = nn.LayerNorm(dim, 1e-6)
        self.s = self.Scale(dim)

    def forward(self, x):
        n, c, h, w = x.shape
        patches = F.unfold(x, 7, padding=3).view(n, c, 49, h * w)
        y = (patches * self.w[None, :, :, None]).sum(2) + self.c
        y = self.n(y.view(n, c, h, w).permute(0, 2, 3, 1))
        up, down = self.rest
        y = down(F.gelu(up(y)))
        return self.s(y.permute(0, 3, 1, 2)) + x


class ScaleBeforePermute(nn.Module):
    """GroupNorm over one position at a time is a LayerNorm, too."""

    def __init__(self, dim):
        super().__init__()
        self.depth = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.gn = nn.GroupNorm(1, dim, eps=1e-6)
        self.fc1, self.fc2 = nn.Conv1d(dim, 4 * dim, 1), nn.Conv1d(4 * dim, dim, 1)
        self.gamma = nn.Parameter(torch.full([1, dim], 1e-6))

    def forward(self, x):
        n, c, h, w = x.shape
        y = self.depth(x).permute(0, 2, 3, 1).reshape(n * h * w, c)
        y = self.gn(y)
        y = self.fc2(F.gelu(self.fc1(y.unsqueeze(-1)))).squeeze(-1)
        y = (y * self.gamma).view(n, h, w, c)
        return x + y.permute(0, 3, 1, 2)


# The stretch parts.


def grn(x, gamma, beta):
    size = (x**2).sum((1, 2), keepdim=True) ** 0.5
    return gamma * (x * (size / (size.mean(-1, keepdim=True) + 1e-6))) + beta + x


def grn_of_the_package(x, gamma, beta):
    layer = GRN(x.shape[-1]).double()
    layer.load_state_dict({"gamma": gamma.view(1, 1, 1, -1), "beta": beta.view(1, 1, 1, -1)})
    return layer(x)


def from_timm(theirs):
    ours = Block(theirs.conv_dw.in_channels)
    theirs = theirs.state_dict()
    for key, value in ours.state_dict().items():
        key = key.replace("dwconv", "conv_dw").replace("pwconv1", "mlp.fc1")
        value.copy_(theirs[key.replace("pwconv2", "mlp.fc2")])
    return ours


ANSWERS = {
    "ConvNeXtBlock": [
        AsInTheChapter,
        Convolutions,
        Functional,
        Einsum,
        Flattened,
        Unfold,
        ScaleBeforePermute,
        Block,
    ],
    "grn": [grn, grn_of_the_package],
    "from_timm": [from_timm],
}
