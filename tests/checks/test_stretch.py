"""The checks of the stretch parts: right answers pass, mistakes are called by their names."""

import pytest
import torch
from torch import nn

from modarch_utils.checks.ex1.stretch import check_from_timm, check_grn
from modarch_utils.models.convnext import GRN, Block
from tests.checks.mistakes import assert_names


def grn(x, gamma, beta):
    size = (x**2).sum((1, 2), keepdim=True) ** 0.5
    return gamma * (x * (size / (size.mean(-1, keepdim=True) + 1e-6))) + beta + x


def grn_of_the_package(x, gamma, beta):
    layer = GRN(x.shape[-1]).double()
    layer.load_state_dict({"gamma": gamma.view(1, 1, 1, -1), "beta": beta.view(1, 1, 1, -1)})
    return layer(x)


def no_residual(x, gamma, beta):
    return grn(x, gamma, beta) - x


def over_channels(x, gamma, beta):
    size = x.norm(dim=-1, keepdim=True)
    return gamma * x * size / size.mean((1, 2), keepdim=True) + beta + x


def without_share(x, gamma, beta):
    return gamma * x * x.norm(dim=(1, 2), keepdim=True) + beta + x


def share_of_the_batch(x, gamma, beta):
    size = torch.linalg.vector_norm(x, dim=(0, 1, 2), keepdim=True)
    return gamma * x * size / size.mean(-1, keepdim=True) + beta + x


def mean_over_samples(x, gamma, beta):
    size = x.norm(dim=(1, 2), keepdim=True)
    return gamma * x * size / size.mean((0, 3), keepdim=True) + beta + x


def without_beta(x, gamma, beta):
    return grn(x, gamma, 0 * beta)


def unwritten(*_):
    raise NotImplementedError()


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("answer", [grn, grn_of_the_package], ids=name)
def test_grn_passes(answer):
    assert check_grn(answer).passed


@pytest.mark.parametrize(
    ("answer", "rows", "words"),
    [
        (no_residual, {"identity"}, "Add x at the end"),
        (over_channels, {"response"}, "a norm over H and W"),
        (without_share, {"response"}, "divides it by the mean"),
        (share_of_the_batch, {"samples"}, "each sample by itself"),
        (mean_over_samples, {"samples"}, "each sample by itself"),
        (without_beta, {"beta"}, "Add beta"),
        (unwritten, {"identity"}, "Replace"),
        (lambda x, gamma, beta: x.sum(), {"identity"}, "Keep the shape"),
    ],
    ids=name,
)
def test_grn_mistakes(answer, rows, words):
    assert_names(check_grn(answer), rows, words)


def to_ours(theirs):
    ours = Block(theirs.conv_dw.in_channels)
    theirs = theirs.state_dict()
    for key, value in ours.state_dict().items():
        key = key.replace("dwconv", "conv_dw").replace("pwconv1", "mlp.fc1")
        value.copy_(theirs[key.replace("pwconv2", "mlp.fc2")])
    return ours


def no_gamma(theirs):
    ours = to_ours(theirs)
    ours.gamma.data.fill_(1e-6)
    return ours


def no_bias(theirs):
    ours = to_ours(theirs)
    ours.pwconv1.bias.data.zero_()
    return ours


def shared(theirs):
    ours = to_ours(theirs)
    ours.gamma = theirs.gamma
    return ours


def backwards(theirs):
    ours = Block(theirs.conv_dw.in_channels)
    with torch.no_grad():
        for a, b in zip(theirs.parameters(), theirs.parameters(), strict=True):
            a.copy_(0 * b)
    return ours


def test_from_timm():
    assert check_from_timm(to_ours).passed
    for answer, rows, words in (
        (no_gamma, {"same numbers"}, "gamma is not copied"),
        (no_bias, {"same numbers"}, "A weight or a bias"),
        (shared, {"own weights"}, "Copy the numbers"),
        (backwards, {"same numbers", "the other way"}, "from yours to theirs"),
        (unwritten, {"same numbers"}, "Replace"),
        (lambda theirs: None, {"same numbers"}, "Return the block"),
        (lambda theirs: nn.Flatten(), {"same numbers"}, "keeps (N, C, H, W)"),
        (lambda theirs: nn.Identity(), {"same numbers"}, "gamma is not copied"),
    ):
        assert_names(check_from_timm(answer), rows, words)
