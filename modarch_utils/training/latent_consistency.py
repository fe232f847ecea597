"""Consistency distillation of a latent diffusion model (Luo et al. 2023, arXiv 2310.04378).

What :mod:`modarch_utils.training.consistency` distils, made of diffusers' U-Nets: a whole network
that is told the guidance scale, or low-rank adapters with one scale baked in (LCM-LoRA, Luo et al.
2023, arXiv 2311.05556). The text model stays as it is.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor, nn

from modarch_utils import bars
from modarch_utils.devices import plain_attention
from modarch_utils.training import checkpoint
from modarch_utils.training.consistency import (
    ConsistencyConfig,
    ConsistencyDistillation,
    draw,
    train_step,
)
from modarch_utils.training.randomness import generator, seeded
from modarch_utils.training.schedules import warmup_cosine

LORA_TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj"),
    *("downsamplers.0.conv", "upsamplers.0.conv"),
)
"""Ends of the names of the layers that LCM-LoRA adapts: all but the first and last convolution and
the time embedding."""


def guidance_embedding(omega: Tensor, dim: int) -> Tensor:
    """Sines and cosines of 1000 ω, (N, dim): what diffusers feeds as ``timestep_cond``.

    Args:
        omega: (N,) the paper's guidance scale, diffusers' ``guidance_scale`` less 1.
        dim: length of the embedding.

    Raises:
        ValueError: a length that is odd or below 4.
    """
    if dim < 4 or dim % 2:
        raise ValueError(f"A guidance embedding needs an even length of at least 4, not {dim}.")
    octave = torch.tensor(10_000.0).log() / (dim // 2 - 1)
    # In the library's order: 1000 ω is so large that another rounding shows in the sine.
    rates = (torch.arange(dim // 2) * -octave).exp().to(omega.device)
    angle = (omega.float() * 1000)[:, None] * rates
    return torch.cat((angle.sin(), angle.cos()), dim=1)


class LatentNetwork(nn.Module):
    """A U-Net as a :class:`modarch_utils.training.consistency.Network`.

    Args:
        unet: predicts the noise. One with ``time_cond_proj_dim`` is told ω, others are not.
        autocast: matrix products in bfloat16; it pays where the processor has instructions for it.
    """

    def __init__(self, unet: UNet2DConditionModel, autocast: bool = False):
        super().__init__()
        self.unet = unet
        self.autocast = autocast

    def forward(
        self, x: Tensor, t: Tensor, condition: Tensor, omega: Tensor | None = None
    ) -> Tensor:
        """The noise in latents x (N, C, h, w) at t (N,), told a text (N, tokens, dim) and ω (N,).

        Raises ValueError when the U-Net takes a guidance scale and none is given.
        """
        dim, told = self.unet.config.time_cond_proj_dim, None
        if dim is not None:
            if omega is None:
                raise ValueError(
                    "This U-Net wants to be told a guidance scale: give omega (N,), in a "
                    "distillation by ConsistencyConfig(omega=(low, high))."
                )
            told = guidance_embedding(omega, dim)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            answer = self.unet(x, t, encoder_hidden_states=condition, timestep_cond=told).sample
        return answer.to(x.dtype)


def with_guidance(unet: UNet2DConditionModel, dim: int = 256) -> UNet2DConditionModel:
    """A copy that also takes a guidance embedding (N, dim), and does not look at it yet.

    Raises ValueError for a U-Net that takes one already.
    """
    if unet.config.time_cond_proj_dim is not None:
        raise ValueError("This U-Net takes a guidance scale already: copy it with copy.deepcopy.")
    told = UNet2DConditionModel.from_config(unet.config, time_cond_proj_dim=dim)
    weight = told.time_embedding.cond_proj.weight
    nn.init.zeros_(weight)
    told.load_state_dict(
        {**unet.state_dict(), "time_embedding.cond_proj.weight": weight.detach().clone()}
    )
    return told.to(unet.device)


def add_lora(unet: UNet2DConditionModel, rank: int, seed: int = 0) -> UNet2DConditionModel:
    """Freeze a U-Net and give its :data:`LORA_TARGETS` adapters W + B A, in place.

    A is (rank, inputs) and random, B (outputs, rank) is 0: at first nothing changes. The factor
    alpha / rank is 1, which a file of weights alone means too.

    Args:
        unet: trained; the same object comes back.
        rank: of the adapters.
        seed: of A.

    Raises:
        ValueError: no positive rank, or adapters are there already.
    """
    if rank < 1:
        raise ValueError(f"The adapters' rank must be at least 1, not {rank}.")
    if getattr(unet, "peft_config", None):
        raise ValueError("This U-Net has adapters already: begin with a copy that has none.")
    unet.requires_grad_(False)
    with seeded(seed):
        unet.add_adapter(
            LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS)),
        )
    return unet


class Prompts(NamedTuple):
    """What the networks are told; each different prompt is encoded once."""

    text: Tensor
    """(M, tokens, dim) the different prompts' embeddings."""
    index: Tensor
    """(N,) which of them belongs to a latent."""
    empty: Tensor
    """(1, tokens, dim) of the prompt without a word."""

    def of(self, rows: Tensor) -> Tensor:
        """(n, tokens, dim), from the numbers (n,) of latents."""
        return self.text[self.index[rows]]


@torch.no_grad()
def encode_prompts(
    text_encoder: nn.Module, ids: Tensor, empty: Tensor, chunk: int = 256
) -> Prompts:
    """Embed prompts as Stable Diffusion's pipeline does.

    Args:
        text_encoder: transformers' ``CLIPTextModel``.
        ids: (N, tokens) the latents' prompts.
        empty: (tokens,) ids of the prompt without a word.
        chunk: prompts that are encoded together.
    """
    different, index = ids.unique(dim=0, return_inverse=True)
    device = next(text_encoder.parameters()).device
    parts = [
        text_encoder(part.to(device)).last_hidden_state
        for part in (*different.split(chunk), empty[None])
    ]
    return Prompts(torch.cat(parts[:-1]), index.to(device), parts[-1])


@dataclass(frozen=True)
class LatentDistillationConfig:
    """The recipe. Raises ValueError for a setting that cannot work."""

    steps: int
    lr: float
    batch_size: int = 32
    warmup: int = 50
    """Steps in which the learning rate rises; half a cosine leads down from there."""
    guidance_rate: float = 1.0
    """Times ``lr``: the learning rate of the layer that reads the guidance embedding. It begins at
    zero, while the other weights begin as the teacher's (:func:`with_guidance`)."""
    autocast: bool = False
    """See :class:`LatentNetwork`."""
    seed: int = 0
    objective: ConsistencyConfig = field(default_factory=ConsistencyConfig)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError("Distillation needs at least 1 step and 1 latent in a batch.")
        if min(self.lr, self.guidance_rate) <= 0:
            raise ValueError(
                f"lr and guidance_rate must be positive, not {self.lr} and {self.guidance_rate}."
            )


class Row(NamedTuple):
    """A point of a distillation's curve."""

    step: int
    loss: float | None
    """Mean since the row before; None before the first step."""
    seconds: float
    """By the clock, of these steps alone."""
    value: Any
    """What ``watch`` returned."""


def distil(
    teacher: UNet2DConditionModel,
    student: UNet2DConditionModel,
    latents: Tensor,
    prompts: Prompts,
    config: LatentDistillationConfig,
    *,
    watch: Callable[[ConsistencyDistillation], Any] | None = None,
    every: int = 100,
    out: str | Path | None = None,
    stop_after: int | None = None,
    progress: bool | None = None,
) -> tuple[ConsistencyDistillation, list[Row]]:
    """Train a student in place to go in one jump where a teacher goes in many steps.

    Args:
        teacher: predicts the noise; it is frozen.
        student: another object, from :func:`with_guidance` or :func:`add_lora`; what requires a
            gradient is trained.
        latents: (N, C, h, w) with a deviation of 1.
        prompts: of the latents; see :func:`encode_prompts`.
        config: the recipe. ``objective.omega`` None distils the teacher without guidance.
        watch: called with the three networks before the first step and with each row.
        every: steps of a row.
        out: folder of the checkpoint, written with each row. The same call with the same folder
            goes on where a run was stopped or killed, to the same bits; what ``watch`` returns
            must then be plain values.
        stop_after: stop after this many steps of the schedule, as a kill would.
        progress: show a bar; by default as the profile says.

    Returns:
        The three networks, as :class:`LatentNetwork`, and a row for each ``every`` steps; with
        ``watch`` there is one for step 0 too.

    Raises:
        ValueError: latents without prompts, a student that has nothing to train or shares its
            weights with the teacher, or a folder that holds another run.
        FloatingPointError: the loss is not finite.
    """
    _check(teacher, student, latents, prompts)
    model = ConsistencyDistillation(
        LatentNetwork(teacher, config.autocast),
        LatentNetwork(student, config.autocast),
        config.objective,
    ).train()
    device = student.device
    optimizer = torch.optim.Adam(_groups(student, config))
    curve: list[Row] = []
    if out is not None:
        out = Path(out)
        data = {
            "training": (latents, prompts.index, prompts.text, prompts.empty),
            "teacher": tuple(teacher.parameters()),
        }
        fingerprint = checkpoint.fingerprint(model.student, config, data)
        state = checkpoint.load(out, fingerprint)
        if state:
            model.student.load_state_dict(state["student"])
            model.target.load_state_dict(state["target"])
            optimizer.load_state_dict(state["optimizer"])
            curve = [Row(*row) for row in state["history"]]

    def one_step(step: int) -> float:
        for group in optimizer.param_groups:
            group["lr"] = warmup_cosine(step, config.steps, config.warmup, group["peak"])
        # A function of seed and step alone, so that resuming needs no state.
        rng = generator(config.seed, step)
        rows = torch.randint(len(latents), (config.batch_size,), generator=rng)
        x = latents[rows].to(device)
        numbers = draw(x, config.objective, rng)
        nothing = prompts.empty.expand(len(x), -1, -1)
        return train_step(model, optimizer, x, numbers, prompts.of(rows), nothing).loss.item()

    last = config.steps if stop_after is None else min(stop_after, config.steps)
    done = curve[-1].step if curve else 0
    if watch is not None and not curve:
        curve.append(Row(0, None, 0.0, watch(model)))
    bar = bars.bar(total=last, initial=done, unit="step", progress=progress, needed=done < last)
    with bar, plain_attention(device):
        while done < last:
            end = min((done // every + 1) * every, last)
            started, losses = time.perf_counter(), []
            for step in range(done, end):
                losses.append(one_step(step))
                bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                bar.update()
            seconds, loss = time.perf_counter() - started, math.fsum(losses) / len(losses)
            curve.append(Row(end, loss, seconds, watch(model) if watch is not None else None))
            done = end
            if out is not None:
                state = {"fingerprint": fingerprint, "history": [list(row) for row in curve]}
                state |= {"student": model.student.state_dict()}
                state |= {"target": model.target.state_dict()}
                checkpoint.save(out, state | {"optimizer": optimizer.state_dict()})
    return model, curve


def _groups(student: nn.Module, config: LatentDistillationConfig) -> list[dict[str, Any]]:
    """What is trained, as Adam's groups, each with the ``peak`` of its learning rate."""
    trained = {name: p for name, p in student.named_parameters() if p.requires_grad}
    told = [trained.pop(name) for name in list(trained) if "cond_proj" in name]
    rates = config.lr, config.lr * config.guidance_rate
    pairs = zip((list(trained.values()), told), rates, strict=True)
    return [{"params": part, "peak": peak, "lr": peak} for part, peak in pairs if part]


def _check(teacher: nn.Module, student: nn.Module, latents: Tensor, prompts: Prompts) -> None:
    if len(latents) != len(prompts.index):
        raise ValueError(
            f"There are {len(latents)} latents but {len(prompts.index)} prompts: each latent "
            f"needs one."
        )
    shared = {p.data_ptr() for p in teacher.parameters()}
    if any(p.data_ptr() in shared for p in student.parameters()):
        raise ValueError(
            "Student and teacher are the same network: make the student from "
            "copy.deepcopy(teacher)."
        )
    if not any(p.requires_grad for p in student.parameters()):
        raise ValueError(
            "The student has nothing to train: give it adapters with add_lora, or make it with "
            "with_guidance."
        )
