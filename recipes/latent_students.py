"""What the trainings that begin with ``mini-sd`` share (chapter 05_latent_consistency)."""

import hashlib
from pathlib import Path

from diffusers import LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from peft import get_peft_model_state_dict

from modarch_utils import records, zoo
from modarch_utils.models.mini_sd import pipeline, token_ids
from modarch_utils.training.latent_consistency import (
    LatentDistillationConfig,
    Row,
    distil,
    encode_prompts,
)
from recipes import export, mini_sd
from recipes.mini_sd_autoencoder import save_sheet

TEACHER = "mini-sd"
GUIDANCE = 3.0
"""The teacher's good ``guidance_scale``; the paper's ω is 1 less."""

EVERY = 50
"""Steps between two printed losses, and between two checkpoints."""
SHEET_EVERY = 200
SHEET_STEPS = 4


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


def sheet(pipe: StableDiffusionPipeline, file: Path, guidance: float) -> None:
    """Draw the captions of :func:`recipes.mini_sd.prompts` in four steps."""
    prompts = mini_sd.prompts()
    images = mini_sd.draw(pipe, prompts, SHEET_STEPS, guidance)
    save_sheet(images, file, [mini_sd.short(prompt) for prompt in prompts])


def distilled(
    pipe: StableDiffusionPipeline,
    student: UNet2DConditionModel,
    config: LatentDistillationConfig,
    run: Path,
    guidance: float,
) -> tuple[UNet2DConditionModel, list[Row]]:
    """Distil a student on the latents that ``mini-sd`` was trained on, with prints and sheets.

    Args:
        pipe: the teacher.
        student: see :func:`modarch_utils.training.latent_consistency.distil`.
        config: the recipe.
        run: folder of the checkpoint and the sheets; a stopped run goes on.
        guidance: the pipeline's ``guidance_scale`` for the sheets.

    Returns:
        The target, which is the student's average, and the curve.
    """
    latents, captions = mini_sd.training_set(pipe.vae)
    ids, empty = token_ids(pipe.tokenizer, captions), token_ids(pipe.tokenizer, [""])[0]
    prompts = encode_prompts(pipe.text_encoder, ids, empty)
    done = 0
    while done < config.steps:
        model, curve = distil(
            pipe.unet,
            student,
            latents,
            prompts,
            config,
            every=EVERY,
            out=run,
            stop_after=done + EVERY,
            progress=False,
        )
        done, loss, seconds, _ = curve[-1]
        print(f"step {done}: loss {loss:.4f}, {seconds:.0f} s", flush=True)
        if done % SHEET_EVERY == 0 or done == config.steps:
            fast = few_step_pipeline(pipe, model.target.unet)
            sheet(fast, run / f"step-{done:05d}.png", guidance)
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


def minutes(curve: list[Row]) -> float:
    """Length of a distillation by the clock."""
    return sum(row.seconds for row in curve) / 60


def save_curve(name: str, settings: dict, curve: list[Row]) -> Path:
    """Write the record of a distillation; ``name`` is that of its folder in ``weights/``."""
    rows = [{"step": row.step, "loss": row.loss, "seconds": row.seconds} for row in curve]
    return records.save(name.replace("-", "_"), settings=settings, results=rows)


def write_card(
    file: Path, what: str, code: str, facts: dict[str, str], limits: str, title: str
) -> None:
    """Write a model card beside a file of weights, without the measured quality.

    Args:
        file: of the weights, in half precision.
        what: the first paragraph.
        code: how it is used, from any folder.
        facts: further rows of the table.
        limits: what the model is not.
        title: name of the model, which with underscores is that of its recipe.
    """
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    facts = facts | {
        "Recipe": f"`python -m recipes.{title.replace('-', '_')}`, after `{TEACHER}`",
        "Weights": f"`{file.name}`, float16, {file.stat().st_size / 1e6:.2f} MB, sha256 `{digest}`",
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in facts.items())
    text = f"""{export.FRONT}# {title}

{what}

```python
{code.strip()}
```

| | |
|---|---|
{table}
{export.LICENCE}

## What it is not

{limits}
"""
    (file.parent / "README.md").write_text(text, "utf-8")
