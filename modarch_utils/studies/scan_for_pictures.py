"""Do pictures need Mamba's scan? MambaOut's question at laptop size (chapter 01_timeline).

MambaOut (Yu and Wang 2024, arXiv 2405.07992) takes the state space out of Mamba's block, keeps
what is left, a gated convolution, and asks whether classification misses it. The paper compares
whole networks that differ in much else. Here one small network is trained three times over:

* ``scan``: Mamba's block, fitted to pictures in the two ways below;
* ``gated``: the same without the scan;
* ``pointwise``: without the convolution too, so that tokens meet in the final mean alone. What it
  reaches needs no mixing of tokens at all.

Everything that they share, they share with the same first weights. The scan has weights of its
own, so the network without it is smaller; nothing is given back to it.

What a token can see:

* Mamba's own convolution looks at the token and three before it in the row order: to its left, and
  at the start of a row at the end of the one above. All networks have a depthwise 3×3 convolution
  in its place, as VMamba's block has (arXiv 2401.10166). Otherwise the scan alone would bring
  rows together, and be credited with a second dimension. Four of these see 9×9 tokens: from the
  middle of an 8×8 map all of it, from a corner 5×5.
* A scan sees what came before. Every second block scans from the last token to the first
  (Mamba-ND, arXiv 2402.05892), so after two blocks each token has heard of all the others.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from modarch_utils.measure import count_macs, count_params
from modarch_utils.models.mamba import Mamba
from modarch_utils.models.sequence import SequenceBlock
from modarch_utils.models.vit import PatchEmbed
from modarch_utils.studies import inductive_bias
from modarch_utils.studies.inductive_bias import SWIN, BiasSettings
from modarch_utils.training.history import History

SETTINGS = SWIN
"""2,048 scenes seen from close, and 256 steps: the budget of the study of Swin's shift."""


@dataclass(frozen=True)
class NetSettings:
    """The network that all three share."""

    patch_size: int = 4
    dim: int = 32
    depth: int = 4
    state: int = 8
    """Numbers of state for each inner channel, of which there are twice ``dim``."""
    kernel_size: int = 3


NET = NetSettings()

RATES = {"scan": (2e-3, 4e-3), "gated": (2e-3, 4e-3), "pointwise": (2e-3, 4e-3)}
"""Learning rates tried first for each network; the best one on validation data is used."""


class GridConv(nn.Conv2d):
    """Depthwise convolution over tokens that lie row by row on a square, on ``(N, L, D)``.

    Args:
        dim: channels D.
        kernel_size: side of what it sees, odd.
    """

    def __init__(self, dim: int, kernel_size: int):
        super().__init__(dim, dim, kernel_size, padding="same", groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, D)`` to ``(N, L, D)``.

        Raises:
            ValueError: the L tokens fill no square.
        """
        side = round(x.shape[1] ** 0.5)
        if side * side != x.shape[1]:
            raise ValueError(f"{x.shape[1]} tokens fill no square; cut the picture into squares.")
        return super().forward(x.mT.unflatten(2, (side, side))).flatten(2).mT


class PictureMixer(Mamba):
    """Mamba's mixer for tokens of a picture, from which the scan can be taken out.

    Args:
        name: ``"scan"``, ``"gated"`` or ``"pointwise"``.
        backwards: scan from the last token to the first.
        settings: width, state and convolution.
    """

    def __init__(self, name: str, backwards: bool, settings: NetSettings = NET):
        super().__init__(settings.dim, settings.state)
        # All is built and then taken away: one seed gives all networks the same first weights.
        self.conv1d = GridConv(self.in_proj.out_features // 2, settings.kernel_size)
        self.scans, self.backwards = name == "scan", backwards
        if not self.scans:
            for part in ("x_proj", "dt_proj", "A_log", "D"):
                delattr(self, part)
        if name == "pointwise":
            self.conv1d = nn.Identity()

    def scan(self, u: Tensor) -> Tensor:
        """The state space over all tokens, or nothing, on ``(N, L, 2·dim)``."""
        if not self.scans:
            return u
        return super().scan(u.flip(1)).flip(1) if self.backwards else super().scan(u)


class PictureNet(nn.Module):
    """Patches, learned positions, blocks around :class:`PictureMixer`, mean over the tokens.

    Args:
        name: see :class:`PictureMixer`.
        image_size, num_classes: of the pictures.
        settings: the network.
    """

    def __init__(self, name: str, image_size: int, num_classes: int, settings: NetSettings = NET):
        super().__init__()
        dim, length = settings.dim, (image_size // settings.patch_size) ** 2
        self.patch_embed = PatchEmbed(settings.patch_size, 3, dim)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(length, dim))
        self.blocks = nn.Sequential(
            *[
                SequenceBlock(dim, PictureMixer(name, i % 2 == 1, settings))
                for i in range(settings.depth)
            ]
        )
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to logits ``(N, num_classes)``."""
        x = self.blocks(self.patch_embed(x) + self.pos_embed)
        return self.head(self.norm(x).mean(1))


def build(
    name: str, seed: int, settings: BiasSettings = SETTINGS, net: NetSettings = NET
) -> PictureNet:
    """A network of the study; all of them start from the same weights for one ``seed``.

    Args:
        name: ``"scan"``, ``"gated"`` or ``"pointwise"``.
        seed: initialisation.
        settings: image size and classes.
        net: the network.

    Raises:
        ValueError: no such network.
    """
    if name not in RATES:
        raise ValueError(f"No network {name!r}; the study has {', '.join(RATES)}.")
    torch.manual_seed(seed)
    return PictureNet(name, settings.image_size, settings.num_classes, net)


def cost(name: str, settings: BiasSettings = SETTINGS, net: NetSettings = NET) -> dict[str, int]:
    """Parameters and multiply-adds of one image.

    To the products of matrices that :func:`count_macs` counts, the scan adds three multiply-adds
    for each number of state at each token: ``delta · A``, ``x · B`` and ``a · h``. Its exponentials
    are free, as all activations are.
    """
    model = build(name, 0, settings, net)
    macs = count_macs(model, (1, 3, settings.image_size, settings.image_size))
    states = sum(
        m.A_log.numel() for m in model.modules() if isinstance(m, PictureMixer) and m.scans
    )
    return {"params": count_params(model), "macs": macs + 3 * states * len(model.pos_embed)}


def train(
    name: str,
    lr: float,
    seed: int,
    data: tuple[Tensor, Tensor],
    settings: BiasSettings = SETTINGS,
    net: NetSettings = NET,
    **options,
) -> tuple[PictureNet, History]:
    """Do :func:`modarch_utils.studies.inductive_bias.train`, with :func:`build`'s networks."""
    made = partial(build, net=net)
    return inductive_bias.train(name, lr, seed, data, settings, made, **options)
