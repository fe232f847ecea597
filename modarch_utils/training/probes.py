"""What frozen features are good for: probes with a linear layer or a very small head (04_dinov2).

The protocols of DINOv2 (arXiv 2304.07193, section 7), made small: k-NN, a linear classifier with
a regularisation chosen on validation images, a linear layer on patches for segmentation and for
depth, principal components of patches, nearest neighbours.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from modarch_utils.devices import plain_attention
from modarch_utils.training.batches import to_input

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""scikit-learn's C, the inverse of the regularisation, from which :func:`linear_probe` chooses."""


class Frozen(NamedTuple):
    """Features of N images on the CPU, from a network, its teacher or the pixels themselves."""

    cls: Tensor
    """(N, D): about the whole image."""
    patches: Tensor
    """(N, P, C): about each of the H' · W' patches, row by row."""
    grid: tuple[int, int]
    """(H', W')"""

    @property
    def mean_patch(self) -> Tensor:
        """(N, C)"""
        return self.patches.mean(1)

    def patch_map(self) -> Tensor:
        """The patches where they lie in the image: (N, C, H', W')."""
        return self.patches.transpose(1, 2).unflatten(2, self.grid)

    def take(self, index: slice | Tensor) -> "Frozen":
        """Those of the images in ``index``."""
        return Frozen(self.cls[index], self.patches[index], self.grid)


@torch.no_grad()
def extract(backbone: Callable[[Tensor], NamedTuple], images: Tensor, batch_size=250) -> Frozen:
    """Features of uint8 images (N, 3, H, W).

    Args:
        backbone: maps float images in [-1, 1] to something with ``cls``, ``patches`` and ``grid``,
            as :class:`modarch_utils.models.dinov2.DinoVisionTransformer` and :func:`pixels` do; a
            network must be in eval mode.
        images: all of one size.
        batch_size: images at a time.
    """
    parameters = backbone.parameters() if isinstance(backbone, nn.Module) else iter(())
    device = next((p.device for p in parameters), torch.device("cpu"))
    cls, patches = [], []
    with plain_attention(device):
        for batch in images.split(batch_size):
            out = backbone(to_input(batch.to(device)))
            cls.append(out.cls.float().cpu())
            patches.append(out.patches.float().cpu())
    return Frozen(torch.cat(cls), torch.cat(patches), tuple(out.grid))


def pixels(images: Tensor, patch_size: int = 8, thumbnail: int = 16) -> Frozen:
    """No network at all: a small copy of the whole image, and the pixels of each patch.

    Args:
        images: (N, 3, H, W).
        patch_size: side of a patch; patches must fill the images.
        thumbnail: side of the small copy, which ``cls`` holds.
    """
    small = F.interpolate(images, (thumbnail, thumbnail), mode="area").flatten(1)
    patches = F.unfold(images, patch_size, stride=patch_size).transpose(1, 2)
    return Frozen(small, patches, tuple(side // patch_size for side in images.shape[-2:]))


def knn_accuracy(
    gallery: tuple[Tensor, Tensor], queries: tuple[Tensor, Tensor], k: int = 20
) -> float:
    """Share of queries whose class the k nearest gallery images vote for.

    Features (N, D), compared by their direction; labels (N,). Nearer neighbours count more.
    """
    (x, y), (q, truth) = (
        (F.normalize(f.float(), dim=1).numpy(), t.numpy()) for f, t in (gallery, queries)
    )
    return float(KNeighborsClassifier(k, weights="distance").fit(x, y).score(q, truth))


class Probe(NamedTuple):
    """A trained classifier and how good it is."""

    accuracy: float
    """On the test images, from 0 to 1."""
    strength: float
    """The chosen C."""
    classifier: object
    """scikit-learn's pipeline: standardisation, then logistic regression."""


def linear_probe(
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    strengths: tuple[float, ...] = STRENGTHS,
) -> Probe:
    """Logistic regression on standardised features.

    Args:
        train: features (N, D) and labels (N,).
        val: chooses the regularisation.
        test: is scored once, with the chosen classifier.
        strengths: values of scikit-learn's C to choose from.
    """
    (x, y), chooses, scores = ((f.numpy(), t.numpy()) for f, t in (train, val, test))

    def fitted(strength: float) -> object:
        regression = LogisticRegression(C=strength, max_iter=1000, tol=1e-3)
        return make_pipeline(StandardScaler(), regression).fit(x, y)

    tried = {c: fitted(c) for c in strengths}
    best = max(strengths, key=lambda c: tried[c].score(*chooses))
    return Probe(float(tried[best].score(*scores)), best, tried[best])


class DenseHead(nn.Module):
    """A number for each pixel from standardised patches, upsampled to the image's size.

    Args:
        frozen: features that give the mean and the deviation of each channel.
        hidden: None for one linear layer, the same for each patch; otherwise the channels between
            two 3×3 convolutions, which see neighbours and, by their padding, the border.
    """

    def __init__(self, frozen: Frozen, hidden: int | None = None):
        super().__init__()
        std, mean = torch.std_mean(frozen.patches, dim=(0, 1))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std + 1e-6)
        last = nn.Conv2d(hidden or len(mean), 1, 3 if hidden else 1, padding="same")
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        first = [nn.Conv2d(len(mean), hidden, 3, padding="same"), nn.GELU()] if hidden else []
        self.layers = nn.Sequential(*first, last)

    def forward(self, frozen: Frozen, size: tuple[int, int]) -> Tensor:
        """Answers (N, H, W) for features; ``size`` is (H, W)."""
        standard = frozen._replace(patches=(frozen.patches - self.mean) / self.std)
        # A linear layer acts on each patch alone and upsampling is linear too: upsampling the
        # answers gives what upsampling the features would, with far fewer numbers.
        answers = self.layers(standard.patch_map())
        return F.interpolate(answers, size, mode="bilinear", align_corners=False)[:, 0]

    @torch.no_grad()
    def predict(self, frozen: Frozen, size: tuple[int, int]) -> Tensor:
        """As :meth:`forward`, without a graph."""
        return self(frozen, size)


def _fit_linear(
    frozen: Frozen, size: tuple[int, int], loss: Callable[[Tensor], Tensor], iterations: int
) -> DenseHead:
    """A linear head, trained by L-BFGS on all images at once: the losses here are convex."""
    head = DenseHead(frozen)
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=iterations, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(head(frozen, size))
        value.backward()
        return value

    optimizer.step(closure)
    return head


def segment_linear(frozen: Frozen, masks: Tensor, iterations: int = 40) -> DenseHead:
    """A linear layer that tells the object's pixels (answers above 0) from all others.

    ``masks``: (N, H, W) bool, of the images whose features are given.
    """
    wanted = masks.float()
    return _fit_linear(
        frozen,
        tuple(masks.shape[-2:]),
        lambda answers: F.binary_cross_entropy_with_logits(answers, wanted),
        iterations,
    )


def mean_iou(found: Tensor, masks: Tensor) -> float:
    """Mean of object's and surroundings' intersection over union.

    Pixels of all images count together, as is usual for segmentation. Both (N, H, W) bool.
    """
    both = ((found, masks), (~found, ~masks))
    return sum(((a & b).sum() / (a | b).sum()).item() for a, b in both) / 2


def _log_depth_loss(answers: Tensor, depth: Tensor) -> Tensor:
    """Mean squared error of depth's logarithm where it is measured."""
    measured = depth.isfinite()
    wanted = torch.where(measured, depth, 1).log()
    return ((answers - wanted).square() * measured).sum() / measured.sum()


def depth_linear(frozen: Frozen, depth: Tensor, iterations: int = 40) -> DenseHead:
    """A linear layer that predicts the natural logarithm of depth, by least squares.

    ``depth``: (N, H, W), inf where there is nothing to measure, which is left out.
    """
    size = tuple(depth.shape[-2:])
    return _fit_linear(frozen, size, lambda answers: _log_depth_loss(answers, depth), iterations)


def depth_head(
    frozen: Frozen,
    depth: Tensor,
    *,
    hidden: int = 64,
    steps: int = 600,
    batch_size: int = 50,
    lr: float = 3e-3,
    seed: int = 0,
) -> DenseHead:
    """Two small convolutions that predict the natural logarithm of depth; see :class:`DenseHead`.

    Args:
        frozen: features of the training images.
        depth: as in :func:`depth_linear`.
        hidden: channels between the convolutions.
        steps: of AdamW, with one cycle of the learning rate.
        batch_size: images a step.
        lr: the highest learning rate.
        seed: of first weights and batches.
    """
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = DenseHead(frozen, hidden)
    nn.init.constant_(head.layers[-1].bias, depth[depth.isfinite()].log().mean().item())
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(steps):
        index = torch.randint(len(depth), (batch_size,), generator=rng)
        loss = _log_depth_loss(head(frozen.take(index), tuple(depth.shape[-2:])), depth[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head


class DepthError(NamedTuple):
    """Errors over all measured pixels."""

    rmse_log: float
    """Root of the mean squared error of depth's natural logarithm."""
    abs_rel: float
    """Mean of \\|predicted - true\\| / true."""


def depth_error(log_depth: Tensor, depth: Tensor) -> DepthError:
    """Compare predicted logarithms with depth, both (N, H, W) or broadcast to it."""
    measured = depth.isfinite()
    guess, true = log_depth.expand_as(depth)[measured], depth[measured]
    rmse = (guess - true.log()).square().mean().sqrt()
    return DepthError(rmse.item(), ((guess.exp() - true).abs() / true).mean().item())


def principal_maps(frozen: Frozen, components: int = 3) -> Tensor:
    """First principal components of the patches of all images together, (N, components, H', W').

    The first one's sign is turned so that patches on the images' border lie mostly below zero: it
    is the object that seldom touches the border.
    """
    flat = frozen.patches.flatten(0, 1).numpy()
    found = torch.from_numpy(PCA(components, random_state=0).fit_transform(flat))
    maps = found.view(len(frozen.patches), *frozen.grid, components).permute(0, 3, 1, 2).clone()
    border = torch.ones(frozen.grid, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    first = maps[:, 0]
    if (first[:, border] > 0).float().mean() > (first[:, ~border] > 0).float().mean():
        maps[:, 0] = -first
    return maps


def principal_object(frozen: Frozen, size: tuple[int, int]) -> Tensor:
    """Where the first principal component is above zero, (N, H, W) bool: a guess of the object."""
    first = principal_maps(frozen, 1)
    return F.interpolate(first, size, mode="bilinear", align_corners=False)[:, 0] > 0


def nearest(gallery: Tensor, queries: Tensor, k: int = 5) -> Tensor:
    """Indices (Q, k) of the gallery's features (N, D) that are most alike to each of (Q, D).

    Features are compared by their direction, the nearest first.
    """
    x, q = (F.normalize(f.float(), dim=1).numpy() for f in (gallery, queries))
    return torch.from_numpy(NearestNeighbors(n_neighbors=k).fit(x).kneighbors(q)[1])
