"""Wrong answers to exercise 1: each is one mistake, with the row and words that must name it.

Every mistake stands in the shortest block that makes it: the base class is right.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Base(nn.Module):
    """A right answer in pieces, so that a mistake replaces one of them."""

    kernel, groups, ratio, init, eps = 7, True, 4, 1e-6, 1e-6

    def __init__(self, dim):
        super().__init__()
        groups = dim if self.groups else 1
        self.dw = nn.Conv2d(dim, dim, self.kernel, padding=self.kernel // 2, groups=groups)
        self.norm = nn.LayerNorm(dim, eps=self.eps)
        hidden = int(self.ratio * dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.gamma = nn.Parameter(torch.full((dim,), float(self.init)))

    def act(self, y):
        return F.gelu(y)

    def mlp(self, y):
        return self.fc2(self.act(self.fc1(y)))

    def normalise(self, y):  # (N, H, W, C)
        return self.norm(y)

    def spatial(self, x):
        return self.dw(x)

    def branch(self, x):
        y = self.spatial(x).permute(0, 2, 3, 1)
        return (self.gamma * self.mlp(self.normalise(y))).permute(0, 3, 1, 2)

    def forward(self, x):
        return x + self.branch(x)


# The normalisation.


class NormOverHW(Base):
    def normalise(self, y):
        mean, var = y.mean((1, 2), keepdim=True), y.var((1, 2), keepdim=True, correction=0)
        return (y - mean) / (var + 1e-6).sqrt() * self.norm.weight + self.norm.bias


class NormOverHWWithoutWeights(Base):
    def __init__(self, dim):
        super().__init__(dim)
        del self.norm

    def normalise(self, y):
        y = y.permute(0, 3, 1, 2)
        return F.layer_norm(y, y.shape[-2:], eps=1e-6).permute(0, 2, 3, 1)


class NormOverCHW(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.norm = nn.GroupNorm(1, dim, eps=1e-6)

    def normalise(self, y):
        return self.norm(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Batch(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.norm = nn.BatchNorm2d(dim)

    def normalise(self, y):
        return self.norm(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class NormOverW(Base):
    """By hand over the last axis of (N, C, H, W): no error, whatever the width."""

    def spatial(self, x):
        y = self.dw(x)
        y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()
        return y

    def normalise(self, y):
        return y * self.norm.weight + self.norm.bias


class NormOnChannelsFirst(Base):
    def spatial(self, x):
        return self.norm(self.dw(x))

    def normalise(self, y):
        return y


class NoNorm(Base):
    def normalise(self, y):
        return y * self.norm.weight + self.norm.bias


class NormFirst(Base):
    """A pre-norm block, as in a Transformer."""

    def spatial(self, x):
        return self.dw(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))

    def normalise(self, y):
        return y


class DefaultEps(Base):
    eps = 1e-5


class EpsOutsideTheRoot(Base):
    def normalise(self, y):
        mean, var = y.mean(-1, keepdim=True), y.var(-1, keepdim=True, correction=0)
        return (y - mean) / (var.sqrt() + 1e-6) * self.norm.weight + self.norm.bias


class UnbiasedVariance(Base):
    def normalise(self, y):
        mean, var = y.mean(-1, keepdim=True), y.var(-1, keepdim=True)
        return (y - mean) / (var + 1e-6).sqrt() * self.norm.weight + self.norm.bias


class NormWithoutWeights(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)


# The shortcut and gamma.


class NoResidual(Base):
    def forward(self, x):
        return self.branch(x)


class ShortcutTooLate(Base):
    def forward(self, x):
        x = shortcut = self.dw(x)
        y = self.mlp(self.norm(x.permute(0, 2, 3, 1)))
        return shortcut + (self.gamma * y).permute(0, 3, 1, 2)


class ShortcutTooLateWithoutGamma(Base):
    def __init__(self, dim):
        super().__init__(dim)
        del self.gamma

    def forward(self, x):
        x = shortcut = self.dw(x)
        return shortcut + self.mlp(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class AddedBeforeTheMlp(Base):
    def forward(self, x):
        x = x + self.dw(x)
        y = self.mlp(self.norm(x.permute(0, 2, 3, 1)))
        return (self.gamma * y).permute(0, 3, 1, 2)


class GammaOnTheSum(Base):
    def forward(self, x):
        y = self.mlp(self.norm(self.dw(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.gamma[:, None, None] * (x + y)


class GammaOnTheShortcut(Base):
    def forward(self, x):
        y = self.mlp(self.norm(self.dw(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.gamma[:, None, None] * x + y


class ActivationAfterTheSum(Base):
    def forward(self, x):
        return F.gelu(x + self.branch(x))


class GammaAsTensor(Base):
    def __init__(self, dim):
        super().__init__(dim)
        del self.gamma
        self.gamma = 1e-6 * torch.ones(dim)


class GammaAsBuffer(Base):
    def __init__(self, dim):
        super().__init__(dim)
        del self.gamma
        self.register_buffer("gamma", 1e-6 * torch.ones(dim))


class NoGamma(Base):
    def __init__(self, dim):
        super().__init__(dim)
        del self.gamma
        self.gamma = 1.0


class OneGamma(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.gamma = nn.Parameter(torch.tensor(1e-6))


class FrozenGamma(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.gamma.requires_grad_(False)


class GammaFromOne(Base):
    init = 1


class GammaFromZero(Base):
    init = 0


class GammaAtRandom(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.gamma = nn.Parameter(torch.randn(dim))


class GammaOfCaiT(Base):
    init = 0.1


# The layers.


class SmallKernel(Base):
    kernel = 3


class LargeKernel(Base):
    kernel = 9


class Dense(Base):
    groups = False


class Dilated(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.dw = nn.Conv2d(dim, dim, 3, padding=3, dilation=3, groups=dim)


class PaddedByReflection(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.dw = nn.Conv2d(dim, dim, 7, padding=3, groups=dim, padding_mode="reflect")


class NoPadding(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.dw = nn.Conv2d(dim, dim, 7, groups=dim)


class DepthwiseInTheMiddle(Base):
    """MBConv's order."""

    def __init__(self, dim):
        super().__init__(dim)
        self.dw = nn.Conv2d(4 * dim, 4 * dim, 7, padding=3, groups=4 * dim)

    def spatial(self, x):
        return x

    def mlp(self, y):
        y = self.fc1(y).permute(0, 3, 1, 2)
        return self.fc2(F.gelu(self.dw(y)).permute(0, 2, 3, 1))


class Narrow(Base):
    ratio = 0.25


class TwiceAsWide(Base):
    ratio = 2


class NotWider(Base):
    ratio = 1


class Relu(Base):
    def act(self, y):
        return F.relu(y)


class TanhGelu(Base):
    def act(self, y):
        return F.gelu(y, approximate="tanh")


class NoActivation(Base):
    def act(self, y):
        return y


class GeluTwiceInARow(Base):
    def act(self, y):
        return F.gelu(F.gelu(y))


class GeluAfterBoth(Base):
    def mlp(self, y):
        return F.gelu(self.fc2(F.gelu(self.fc1(y))))


class GeluAfterTheConvolution(Base):
    def spatial(self, x):
        return F.gelu(self.dw(x))


class WithDropout(Base):
    def act(self, y):
        return F.dropout(F.gelu(y), 0.1, self.training)


class NoBias(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.dw = nn.Conv2d(dim, dim, 7, padding=3, groups=dim, bias=False)


class UnusedLayer(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.shortcut = nn.Conv2d(dim, dim, 1)


class LayersInAList(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.layers = [self.fc1, self.fc2]
        del self.fc1, self.fc2

    def mlp(self, y):
        up, down = self.layers
        return down(F.gelu(up(y)))


class NormMadeInForward(Base):
    def __init__(self, dim):
        super().__init__(dim)
        del self.norm

    def normalise(self, y):
        return nn.LayerNorm(y.shape[-1], eps=1e-6)(y)


# How it is written.


class Detached(Base):
    def forward(self, x):
        return x + self.branch(x.detach())


class WithoutGradient(Base):
    def normalise(self, y):
        with torch.no_grad():
            return self.norm(y)


class InPlace(Base):
    def forward(self, x):
        y = self.branch(x)
        x += y
        return x


class NoPermuteBack(Base):
    def branch(self, x):
        return self.gamma * self.mlp(self.norm(self.dw(x).permute(0, 2, 3, 1)))


class LinearOnChannelsFirst(Base):
    def __init__(self, dim):
        super().__init__(dim)
        self.norm = nn.GroupNorm(1, dim)

    def branch(self, x):
        return self.gamma[:, None, None] * self.mlp(self.norm(self.dw(x)))


class NoReturn(Base):
    def forward(self, x):
        x = x + self.branch(x)


class NoSuper(nn.Module):
    def __init__(self, dim):
        self.dw = nn.Conv2d(dim, dim, 7)


class WrongName(Base):
    def forward(self, x):
        return x + self.gama * self.branch(x)


class NotWritten(nn.Module):
    def __init__(self, dim):
        super().__init__()
        raise NotImplementedError()


class NoModule:
    def __init__(self, dim):
        self.dim = dim


class NoArgument(Base):
    def __init__(self):
        super().__init__(64)


# Answer, the rows that are wrong, and words that only this mistake's message has.
ANSWERS = [
    (NormOverHW, "normalisation", "averages over positions"),
    (NormOverHWWithoutWeights, "normalisation", "averages over positions"),
    (NormOverCHW, "normalisation", "averages over the whole picture"),
    (Batch, "normalisation", "BatchNorm"),
    (NormOverW, "normalisation", "is W, not C"),
    (NormOnChannelsFirst, "runs", "the last axis is not C"),
    (NoNorm, "normalisation", "LayerNorm is missing"),
    (NormFirst, "depthwise", "stands before the depthwise"),
    (DefaultEps, "same numbers", "eps=1e-05"),
    (EpsOutsideTheRoot, "same numbers", "inside the root"),
    (UnbiasedVariance, "same numbers", "divide by C - 1"),
    (NormWithoutWeights, "parameters", "the norm has no weight"),
    (NoResidual, "shortcut", "residual connection is missing"),
    (ShortcutTooLate, "shortcut", "taken too late"),
    (ShortcutTooLateWithoutGamma, "shortcut|LayerScale", "taken too late"),
    (AddedBeforeTheMlp, "shortcut", "added before the last layer"),
    (GammaOnTheSum, "shortcut", "multiplies the sum"),
    (GammaOnTheShortcut, "shortcut", "sits on the shortcut"),
    (ActivationAfterTheSum, "shortcut", "follows the addition"),
    (GammaAsTensor, "LayerScale", "a plain tensor or a buffer"),
    (GammaAsBuffer, "LayerScale", "a plain tensor or a buffer"),
    (NoGamma, "LayerScale", "LayerScale is missing"),
    (OneGamma, "LayerScale", "single number"),
    (FrozenGamma, "LayerScale", "must be learnable"),
    (GammaFromOne, "LayerScale", "begins at 1"),
    (GammaFromZero, "LayerScale", "begins at 0"),
    (GammaAtRandom, "LayerScale", "first value is another"),
    (GammaOfCaiT, "LayerScale", "first value is another"),
    (SmallKernel, "depthwise", "3×3 window"),
    (LargeKernel, "depthwise", "9×9 window"),
    (Dense, "depthwise", "groups=dim"),
    (Dilated, "depthwise", "dilated"),
    (PaddedByReflection, "same numbers", "padding_mode"),
    (NoPadding, "runs", "needs padding 3"),
    (DepthwiseInTheMiddle, "depthwise", "as in MBConv"),
    (Narrow, "bottleneck", "wrong way round"),
    (TwiceAsWide, "bottleneck", "widens C=8 to 16"),
    (NotWider, "bottleneck", "widens C=8 to 8"),
    (Relu, "activation", "ReLU"),
    (TanhGelu, "activation", "tanh approximation"),
    (NoActivation, "activation", "one linear map"),
    (GeluTwiceInARow, "activation", "two times in a row"),
    (GeluAfterBoth, "activation", "follows the last 1×1"),
    (GeluAfterTheConvolution, "activation", "before the norm, after the depthwise"),
    (WithDropout, "same numbers", "Dropout"),
    (NoBias, "parameters", "bias is switched off"),
    (UnusedLayer, "parameters|gradients", "does not need"),
    (LayersInAList, "runs", "in a plain list"),
    (NormMadeInForward, "runs", "made in `forward`"),
    (Detached, "gradients", "x.detach()"),
    (WithoutGradient, "gradients", "torch.no_grad() cuts"),
    (InPlace, "input", "in place"),
    (NoPermuteBack, "runs", "permute back"),
    (LinearOnChannelsFirst, "runs", "works on the last axis"),
    (NoReturn, "runs", "without `return`"),
    (NoSuper, "runs", "super().__init__()"),
    (WrongName, "runs", "typing error in the name"),
    (NotWritten, "runs", "Replace `raise NotImplementedError()`"),
    (NoModule, "runs", "inherit from nn.Module"),
    (NoArgument, "runs", "Compare the signature"),
]
