"""What the trainings that begin with ``mini-sd`` share (chapter 05_latent_consistency)."""

from dataclasses import dataclass, replace
from pathlib import Path

from diffusers import LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import get_peft_model_state_dict

from modarch_utils import zoo
from modarch_utils.models.mini_sd import pipeline, token_ids
from modarch_utils.training.latent_consistency import (
    LatentDistillationConfig,
    Row,
    distil,
    encode_prompts,
)
from recipes import mini_sd
from recipes.mini_sd import GUIDANCE, Sheet

TEACHER = "mini-sd"


@dataclass(frozen=True)
class Plan:
    """How a student is distilled, and how closely that is followed."""

    config: LatentDistillationConfig
    data: mini_sd.DataSettings = mini_sd.DATA
    every: int = 50
    """Steps between two printed losses, and between two checkpoints."""
    sheet_every: int = 200
    sheet: Sheet = Sheet(steps=4)
    """Drawn with the ``guidance`` that the student wants."""


def teacher() -> StableDiffusionPipeline:
    """``mini-sd`` as it is shipped.

    Raises FileNotFoundError when there is none.
    """
    return zoo.load_pipeline(TEACHER)


def few_step_pipeline(
    pipe: StableDiffusionPipeline, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """A student among the teacher's other parts, with LCM's sampler."""
    fast = pipeline(pipe.vae, pipe.text_encoder, pipe.tokenizer, unet)
    fast.scheduler = LCMScheduler.from_config(fast.scheduler.config)
    fast.set_progress_bar_config(disable=True)
    return fast


def distilled(
    pipe: StableDiffusionPipeline,
    student: UNet2DConditionModel,
    plan: Plan,
    run: Path,
    guidance: float = GUIDANCE,
) -> tuple[UNet2DConditionModel, list[Row]]:
    """Distil a student on the latents that ``mini-sd`` was trained on, with prints and sheets.

    Args:
        pipe: the teacher.
        student: see :func:`modarch_utils.training.latent_consistency.distil`.
        plan: the recipe.
        run: folder of the checkpoint and the sheets; a stopped run goes on.
        guidance: the pipeline's ``guidance_scale`` for the sheets.

    Returns:
        The target, which is the student's average, and the curve.
    """
    latents, captions = mini_sd.training_set(pipe.vae, plan.data)
    ids, empty = token_ids(pipe.tokenizer, captions), token_ids(pipe.tokenizer, [""])[0]
    prompts = encode_prompts(pipe.text_encoder, ids, empty)
    sheet, steps = replace(plan.sheet, guidance=guidance), plan.config.steps
    options = {"every": plan.every, "out": run, "progress": False}
    done = 0
    while done < steps:
        model, curve = distil(
            pipe.unet,
            student,
            latents,
            prompts,
            plan.config,
            stop_after=done + plan.every,
            **options,
        )
        done, loss, seconds, _ = curve[-1]
        print(f"step {done}: loss {loss:.4f}, {seconds:.0f} s", flush=True)
        if done % plan.sheet_every == 0 or done == steps:
            fast = few_step_pipeline(pipe, model.target.unet)
            sheet.draw(fast, run / f"step-{done:05d}.png")
    return model.target.unet, curve


def save_lora(unet: UNet2DConditionModel, folder: Path) -> Path:
    """Write a U-Net's adapters in half precision for ``load_lora_weights``; returns the file.

    Under peft's own names of the layers: those of ``convert_state_dict_to_diffusers`` are older
    ones, with which diffusers 0.42 loads no adapter of the attention, with a warning only.
    """
    layers = {name: value.half() for name, value in get_peft_model_state_dict(unet).items()}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
    (file,) = folder.glob("*.safetensors")
    file.chmod(0o644)  # it is written for its owner alone
    return file


def record_rows(curve: list[Row]) -> list[dict]:
    """A distillation's curve as rows of a record."""
    return [{"step": row.step, "loss": row.loss, "seconds": row.seconds} for row in curve]
