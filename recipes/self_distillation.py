"""Self-distillation on images without labels: the loop around :mod:`modarch_utils.training.dino`.

Everything random in a step is a function of (seed, epoch, step), so that a run that was stopped
goes on to the same weights, bit for bit.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from modarch_utils import bars
from modarch_utils.devices import plain_attention
from modarch_utils.training import checkpoint, dino
from modarch_utils.training.crops import Crops, multi_crop
from modarch_utils.training.randomness import generator, seeded
from modarch_utils.training.schedules import parameter_groups, warmup_cosine


@dataclass(frozen=True)
class SelfDistillationConfig:
    """The recipe. Numbers that do not depend on size are the paper's; see :class:`DinoConfig`.

    Raises ValueError for a setting that cannot work.
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 1e-3
    warmup_epochs: float = 1.0
    weight_decay: tuple[float, float] = (0.04, 0.2)
    """At the first and at the last step."""
    temperature_epochs: float = 3.0
    """Warm-up of the teacher's temperature."""
    grad_clip: float | None = 3.0
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    mask_probability: float = 0.5
    """Part of the global crops that are masked for the student."""
    crops: Crops = field(default_factory=Crops)
    objective: dino.DinoConfig = field(default_factory=dino.DinoConfig)
    autocast: bool = False
    """Matrix products in bfloat16; it pays where the processor has instructions for it."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError("Self-distillation needs at least 1 epoch and 2 images in a batch.")
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, not {self.lr}.")


AfterEpoch = Callable[[dino.DINOv2, int, dict], None]
"""(model in eval mode, finished epochs, the epoch's record); may add plain values to the record."""


def self_distil(
    model: dino.DINOv2,
    images: Tensor,
    config: SelfDistillationConfig,
    *,
    patch_size: int,
    out: str | Path | None = None,
    stop_after: int | None = None,
    after_epoch: AfterEpoch | None = None,
    progress: bool | None = None,
) -> list[dict]:
    """Train ``model``'s student and teacher in place, on its own device; afterwards in eval mode.

    Args:
        model: student and teacher; ``config.objective`` must be the model's.
        images: (N, 3, H, W) uint8.
        config: the recipe.
        patch_size: of the backbone, to know the grid of its patches.
        out: folder of the checkpoint, written after each epoch. The same call with the same
            folder goes on where a run was stopped or killed.
        stop_after: stop after this many epochs of the schedule, as a kill would.
        after_epoch: called after each epoch, before its checkpoint is written.
        progress: show a bar; by default as the profile says.

    Returns:
        A record for each epoch: means of ``loss``, ``dino``, ``ibot``, ``koleo`` and of
        :class:`modarch_utils.training.dino.Diagnostics` over its steps, ``seconds``, and what
        ``after_epoch`` added.

    Raises:
        ValueError: fewer images than a batch, crops that patches do not fill, a model with
            another objective, or a folder that holds another run.
        FloatingPointError: the loss is not finite.
    """
    steps = _check(model, images, config, patch_size)
    device = next(model.parameters()).device
    side = config.crops.global_size // patch_size
    total, warmup = config.epochs * steps, round(config.warmup_epochs * steps)
    temperature_steps = round(config.temperature_epochs * steps)
    optimizer = torch.optim.AdamW(parameter_groups(model.student, config.weight_decay[0]))
    history: list[dict] = []
    if out is not None:
        out = Path(out)
        fingerprint = checkpoint.fingerprint(model, config, {"training": (images,)})
        state = checkpoint.load(out, fingerprint)
        if state:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            history = state["history"]

    def run_epoch(epoch: int, bar: tqdm) -> dict:
        model.train()
        order = torch.randperm(len(images), generator=generator(config.seed, epoch))
        rows = []
        for i in range(steps):
            step, rng = epoch * steps + i, generator(config.seed, epoch, i)
            batch = images[order[i * config.batch_size : (i + 1) * config.batch_size]]
            views = multi_crop(batch.to(device), config.crops, rng)
            mask = dino.block_masks(
                2 * len(batch), (side, side), rng, config.mask_ratio, config.mask_probability
            )
            for group in optimizer.param_groups:
                group["lr"] = warmup_cosine(step, total, warmup, config.lr)
            optimizer.param_groups[0]["weight_decay"] = dino.cosine(
                step, total, *config.weight_decay
            )
            goal = config.objective
            outcome = dino.train_step(
                model,
                optimizer,
                views,
                mask.to(device),
                temperature=dino.ramp(step, temperature_steps, *goal.teacher_temperature),
                momentum=dino.cosine(step, total, *goal.momentum),
                grad_clip=config.grad_clip,
                autocast=config.autocast,
            )
            # The first global crop: the teacher's answer against the student's to the second.
            found = dino.diagnostics(
                outcome.targets[0],
                outcome.student[1],
                outcome.features[: len(batch)],
                goal.student_temperature,
            )
            losses = {k: getattr(outcome, k).item() for k in ("loss", "dino", "ibot", "koleo")}
            rows.append(losses | found._asdict())
            bar.set_postfix(loss=f"{losses['loss']:.3f}", refresh=False)
            bar.update()
        return {name: math.fsum(row[name] for row in rows) / steps for name in rows[0]}

    last = config.epochs if stop_after is None else min(stop_after, config.epochs)
    done = min(len(history), last)
    bar = bars.bar(
        total=last * steps,
        initial=done * steps,
        unit="step",
        progress=progress,
        needed=done < last,
    )
    with bar, plain_attention(device):
        for epoch in range(len(history), last):
            bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
            started = time.perf_counter()
            with seeded(config.seed, epoch, device=device):  # for drop-path, if there is any
                record = run_epoch(epoch, bar)
            record["seconds"] = time.perf_counter() - started
            if after_epoch is not None:
                after_epoch(model.eval(), epoch + 1, record)
            history.append(record)
            if out is not None:
                state = {"fingerprint": fingerprint, "history": history}
                state |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                checkpoint.save(out, state)
    model.eval()
    return history


def _check(
    model: dino.DINOv2, images: Tensor, config: SelfDistillationConfig, patch_size: int
) -> int:
    """Raise what :func:`self_distil` promises; return the steps of an epoch."""
    if model.config != config.objective:
        raise ValueError("The model was built for another objective than config.objective.")
    for side in (config.crops.global_size, config.crops.local_size):
        if side % patch_size:
            raise ValueError(f"Patches of {patch_size} pixels do not fill crops of {side}.")
    if len(images) < config.batch_size:
        raise ValueError(
            f"The batch ({config.batch_size}) is larger than the training set ({len(images)} "
            f"images): choose a smaller batch_size."
        )
    return len(images) // config.batch_size
