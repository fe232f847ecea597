"""DINOv2's objective (Oquab et al. 2023, arXiv 2304.07193, section 4) and one step of training.

A student learns to give, for any crop of an image, the answer that a teacher gives for another
crop of it. Nobody says what the answers mean; the teacher is an average of earlier students. That
all answers become the same, or all uniform, would satisfy the two: the safeguards against this
collapse are arguments of :class:`DinoConfig`, so that each can be switched off and watched.

N counts images, G global crops of each, S all crops of each, P patches, D features, K prototypes.
"""

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CENTRINGS = ("sinkhorn", "ema", "none")


class Features(Protocol):
    """What a backbone returns."""

    cls: Tensor
    """(N, D) the class token."""
    patches: Tensor
    """(N, P, D) the patch tokens, without class token and registers."""


@dataclass(frozen=True)
class DinoConfig:
    """The objective. Defaults are the paper's but for the sizes of the heads.

    Raises ValueError for a setting that cannot work.
    """

    prototypes: int = 512
    """K; 131,072 in the paper."""
    hidden: int = 256
    """Channels of the heads' two hidden layers; 2048 in the paper."""
    bottleneck: int = 64
    """Channels before the prototypes; 256 to 384 in the paper."""
    batch_norm: bool = False
    """BatchNorm in the heads, as the released code's ``use_bn``; see :class:`DinoHead`."""
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    """At the first step and after the warm-up."""
    sharpening: bool = True
    """A teacher colder than the student. Off: both have the student's temperature."""
    centring: str = "sinkhorn"
    """``"sinkhorn"``: Sinkhorn-Knopp over the batch; ``"ema"``: subtract a running mean, as DINO
    did; ``"none"``."""
    centre_momentum: float = 0.9
    koleo_weight: float = 0.1
    ibot_weight: float = 0.5
    """The released code divides by all images, of which it masks half: a weight of 1 there is 0.5
    here, where the mean is over masked images."""
    ema: bool = True
    """Off: the teacher is the student of the step before."""
    stop_gradient: bool = True
    """Off: the student is its own teacher, and learns through both of its roles."""
    momentum: tuple[float, float] = (0.994, 1.0)
    """Of the teacher's weights, at the first and at the last step."""

    def __post_init__(self) -> None:
        if self.centring not in CENTRINGS:
            raise ValueError(f"centring must be one of {CENTRINGS}, not {self.centring!r}.")
        if min(self.teacher_temperature) <= 0 or self.student_temperature <= 0:
            raise ValueError("Temperatures must be positive.")
        if not all(0 <= m <= 1 for m in (*self.momentum, self.centre_momentum)):
            raise ValueError("Momenta must lie in [0, 1].")


class DinoHead(nn.Module):
    """An MLP of three layers, a bottleneck on the unit sphere, cosines with K prototypes.

    The prototypes have length 1, as the released code's have at the start (it then lets the
    lengths learn), so that logits lie in [-1, 1] and the temperature alone decides the sharpness.

    At the start the class tokens of all images are nearly the same. ``batch_norm`` takes away what
    a batch has in common, so that differences between images count from the first step; it uses
    the batch's own statistics always, the teacher's in its answers too.
    """

    def __init__(
        self,
        dim: int,
        prototypes: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        batch_norm: bool = False,
    ):
        super().__init__()

        def layer(inputs: int) -> list[nn.Module]:
            norm = [nn.BatchNorm1d(hidden, track_running_stats=False)] if batch_norm else []
            return [nn.Linear(inputs, hidden), *norm, nn.GELU()]

        self.mlp = nn.Sequential(*layer(dim), *layer(hidden), nn.Linear(hidden, bottleneck))
        for module in self.mlp:
            # A bias would point all samples the same way, and no prototype could tell them apart.
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., dim)`` to logits ``(..., K)``."""
        return F.normalize(self.mlp(x), dim=-1) @ F.normalize(self.prototypes, dim=-1).T


def sinkhorn_knopp(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Share samples out among prototypes: each prototype is used equally often.

    Args:
        logits: (N, K), N samples of the batch.
        temperature: the teacher's.
        iterations: alternations; 3 in the paper.

    Returns:
        (N, K): rows sum to 1 exactly, columns to N / K up to what the iterations leave over.
    """
    log_q = logits.float() / temperature
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=0, keepdim=True)  # a prototype's share: equal
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)  # a sample's share: one
    return log_q.exp()


def dino_loss(student: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of every crop against the teacher's answer to every *other* global crop.

    Args:
        student: (S, N, K) logits; the first G crops are the ones that the teacher saw.
        targets: (G, N, K) the teacher's probabilities.
        temperature: the student's.

    Returns:
        The mean over pairs of crops and over images, in nats; ln K when the student is uniform.
    """
    log_p = F.log_softmax(student.float() / temperature, dim=-1)
    pairs = -(targets[:, None] * log_p).sum(-1).mean(-1)
    different = torch.ones_like(pairs, dtype=torch.bool).fill_diagonal_(False)
    return pairs[different].mean()


def ibot_loss(student: Tensor, targets: Tensor, mask: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy at the patches hidden from the student, which the teacher sees.

    Args:
        student: (M, K) logits of the M masked patches, in the order of ``mask``.
        targets: (M, K) the teacher's probabilities there.
        mask: (N, P) bool.
        temperature: the student's.

    Returns:
        The mean over an image's masked patches, then over the images that have any; 0 without.
    """
    log_p = F.log_softmax(student.float() / temperature, dim=-1)
    hidden = mask.sum(dim=1, keepdim=True)
    weight = (1 / hidden.clamp(min=1)).expand(mask.shape)[mask]
    return -((targets * log_p).sum(-1) * weight).sum() / (hidden > 0).sum().clamp(min=1)


def koleo_loss(cls: Tensor, eps: float = 1e-8) -> Tensor:
    """Kozachenko-Leonenko: the mean of -ln(distance to the nearest other), on the unit sphere.

    Lower when the features (N, D) of a batch spread out. Raises ValueError for a single sample.
    """
    if len(cls) < 2:
        raise ValueError("KoLeo compares the images of a batch; give it at least two.")
    # In bfloat16 near neighbours would be equally near.
    with torch.autocast(cls.device.type, enabled=False):
        x = F.normalize(cls.float(), dim=-1, eps=eps)
        with torch.no_grad():
            nearest = (x @ x.T).fill_diagonal_(-1).argmax(dim=1)
        return -F.pairwise_distance(x, x[nearest], eps=eps).add(eps).log().mean()


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher ← momentum · teacher + (1 - momentum) · student, parameter by parameter."""
    old, new = list(teacher.parameters()), list(student.parameters())
    torch._foreach_lerp_(old, new, 1 - momentum)


def cosine(step: int, total: int, start: float, end: float) -> float:
    """From ``start`` at step 0 to ``end`` at step ``total - 1``, along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * step / max(total - 1, 1)))


def ramp(step: int, steps: int, start: float, end: float) -> float:
    """A line from ``start`` at step 0 to ``end`` at step ``steps``; ``end`` from there on."""
    return end if step >= steps else start + (end - start) * step / steps


def block_masks(
    n: int,
    grid: tuple[int, int],
    rng: torch.Generator,
    ratio: tuple[float, float] = (0.1, 0.5),
    probability: float = 0.5,
) -> Tensor:
    """Hide one rectangle of patches in a part of the images.

    Simplified: the authors' ``MaskingGenerator`` unites rectangles until enough patches are hidden,
    and shares the ratios out evenly over the masked images of a batch.

    Args:
        n: images.
        grid: rows and columns of patches.
        rng: source of the random numbers.
        ratio: bounds of the hidden share; rounding to whole rows and columns moves it a little.
        probability: part of the images that are masked, rounded down.

    Returns:
        (n, rows · columns) bool, true where hidden.
    """

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, generator=rng)

    area, stretch = draw(*ratio), draw(math.log(0.5), math.log(2)).exp().sqrt()
    inside = []
    for size, share in zip(grid, (area.sqrt() * stretch, area.sqrt() / stretch), strict=True):
        side = (share * size).round().clamp(1, size)
        first = (draw(0, 1) * (size - side + 1)).floor().clamp(max=size - 1)
        index = torch.arange(size)
        inside.append((index >= first) & (index < first + side))
    rows, columns = inside
    mask = (rows[:, :, None] & columns[:, None, :]).flatten(1)
    mask[torch.randperm(n, generator=rng)[int(n * probability) :]] = False
    return mask


class Diagnostics(NamedTuple):
    """What tells a collapse. The loss alone does not: it may be low *because* of one."""

    entropy_of_mean: float
    """Entropy of the teacher's mean answer, in units of ln K: near 0 when every image gets the
    same one answer. Sinkhorn-Knopp keeps it near 1 whatever the network does."""
    mean_entropy: float
    """Mean entropy of its answers, in units of ln K: 1 when they are all uniform."""
    kl: float
    """KL divergence of the student's answer from the teacher's, in nats: what is left to learn."""
    spread: float
    """Root mean square distance of the l2-normalised features from their mean: near 1 when they
    point in all directions, 0 when all are the same."""


@torch.no_grad()
def diagnostics(
    targets: Tensor, student: Tensor, features: Tensor, temperature: float = 0.1
) -> Diagnostics:
    """Measure how near a batch is to collapse.

    Args:
        targets: (N, K) the teacher's probabilities.
        student: (N, K) the student's logits for the same images.
        features: (N, D) class tokens.
        temperature: the student's.
    """

    def entropy(p: Tensor) -> Tensor:
        return -torch.xlogy(p, p).sum(-1)

    unit = math.log(targets.shape[-1])
    own = entropy(targets).mean()
    cross = -(targets * F.log_softmax(student.float() / temperature, dim=-1)).sum(-1).mean()
    x = F.normalize(features.float(), dim=-1)
    return Diagnostics(
        (entropy(targets.mean(0)) / unit).item(),
        (own / unit).item(),
        (cross - own).item(),
        x.var(0, correction=0).sum().sqrt().item(),
    )


class Outcome(NamedTuple):
    """One batch's losses, and what :func:`diagnostics` wants to know."""

    loss: Tensor
    dino: Tensor
    ibot: Tensor
    koleo: Tensor
    targets: Tensor
    """(G, N, K)"""
    student: Tensor
    """(S, N, K)"""
    features: Tensor
    """(G · N, D) the student's class tokens of the global crops."""


class DINOv2(nn.Module):
    """Student and teacher, each with a backbone and two heads, and their losses.

    Args:
        backbone: ``backbone(images, mask=None)`` maps (N, C, H, W), and optionally (N, P) bool
            (true: hidden), to :class:`Features`.
        dim: D.
        config: the objective.
    """

    def __init__(self, backbone: nn.Module, dim: int, config: DinoConfig | None = None):
        super().__init__()
        self.config = config = config or DinoConfig()
        sizes = (dim, config.prototypes, config.hidden, config.bottleneck, config.batch_norm)
        parts = {"backbone": backbone, "dino": DinoHead(*sizes), "ibot": DinoHead(*sizes)}
        self.student = nn.ModuleDict(parts)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("dino_centre", torch.zeros(config.prototypes))
        self.register_buffer("ibot_centre", torch.zeros(config.prototypes))

    def train(self, mode: bool = True) -> "DINOv2":
        """The teacher stays in eval mode: its answers shall not depend on chance."""
        super().train(mode)
        self.teacher.eval()
        return self

    def balance(self, logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
        """Turn the teacher's logits (N, K) into targets; moves ``centre`` if it is used."""
        if self.config.centring == "sinkhorn":
            return sinkhorn_knopp(logits, temperature)
        if self.config.centring == "none":
            return F.softmax(logits.float() / temperature, dim=-1)
        targets = F.softmax((logits.float() - centre) / temperature, dim=-1)
        if len(logits):
            centre.lerp_(logits.detach().float().mean(0), 1 - self.config.centre_momentum)
        return targets

    def targets(self, images: Tensor, mask: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """The teacher's answers for whole images, (N, K), and for the masked patches, (M, K)."""
        stop = self.config.stop_gradient
        network = self.teacher if stop else self.student
        if not self.config.sharpening:
            temperature = self.config.student_temperature
        with torch.set_grad_enabled(not stop and torch.is_grad_enabled()):
            out = network["backbone"](images)
            dino = self.balance(network["dino"](out.cls), self.dino_centre, temperature)
            ibot = network["ibot"](out.patches[mask])
            return dino, self.balance(ibot, self.ibot_centre, temperature)

    def forward(
        self, global_crops: Tensor, local_crops: Tensor, mask: Tensor, temperature: float = 0.07
    ) -> Outcome:
        """All losses of a batch.

        Args:
            global_crops: (G, N, C, H, W); the only ones that the teacher sees.
            local_crops: (L, N, C, h, w), L may be 0.
            mask: (G · N, P) bool, patches of the global crops that the student does not see.
            temperature: the teacher's.
        """
        config, (crops, n) = self.config, global_crops.shape[:2]
        whole = global_crops.flatten(0, 1)
        dino_targets, ibot_targets = self.targets(whole, mask, temperature)
        dino_targets = dino_targets.unflatten(0, (crops, n))

        seen = self.student["backbone"](whole, mask)
        cls = seen.cls
        if len(local_crops):
            cls = torch.cat((cls, self.student["backbone"](local_crops.flatten(0, 1)).cls))
        student = self.student["dino"](cls).unflatten(0, (-1, n))

        dino = dino_loss(student, dino_targets, config.student_temperature)
        hidden = self.student["ibot"](seen.patches[mask])
        ibot = ibot_loss(hidden, ibot_targets, mask, config.student_temperature)
        # Among different images: the two crops of one image shall be near each other.
        koleo = sum(koleo_loss(part) for part in seen.cls.chunk(crops))
        loss = dino + config.ibot_weight * ibot + config.koleo_weight * koleo
        return Outcome(loss, dino, ibot, koleo, dino_targets, student, seen.cls)

    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student, or all the way without ``ema``."""
        ema_update(self.teacher, self.student, momentum if self.config.ema else 0.0)


def train_step(
    model: DINOv2,
    optimizer: torch.optim.Optimizer,
    views: tuple[Tensor, Tensor],
    mask: Tensor,
    *,
    temperature: float,
    momentum: float,
    grad_clip: float | None = 3.0,
    autocast: bool = False,
) -> Outcome:
    """One step: losses, gradients of the student, its update, the teacher's update.

    Args:
        model: student and teacher, changed in place.
        optimizer: holds the student's parameters.
        views: global and local crops, see :meth:`DINOv2.forward`.
        mask: patches hidden from the student.
        temperature, momentum: the teacher's at this step.
        grad_clip: largest norm of all gradients together; the authors clip backbone and heads
            apart.
        autocast: matrix products in bfloat16.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    with torch.autocast(mask.device.type, torch.bfloat16, enabled=autocast):
        outcome = model(*views, mask, temperature)
    if not math.isfinite(outcome.loss.item()):
        raise FloatingPointError(
            f"The loss is {outcome.loss.item()}; try a lower learning rate or a longer warm-up."
        )
    optimizer.zero_grad()
    outcome.loss.backward()
    if grad_clip is not None:
        nn.utils.clip_grad_norm_(model.student.parameters(), grad_clip)
    optimizer.step()
    model.update_teacher(momentum)
    return outcome
