"""The training loop: one recipe for every network of the course, on 🤗 Accelerate.

`fit` trains; `TrainConfig` is the recipe; `History` is what comes back; `evaluate` scores.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from tqdm import tqdm

from modarch_utils import bars, devices
from modarch_utils.training import checkpoint
from modarch_utils.training.batches import Batches, to_input
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.evaluation import Evaluation, evaluate, totals
from modarch_utils.training.history import History
from modarch_utils.training.randomness import seeded
from modarch_utils.training.schedules import parameter_groups, warmup_cosine

__all__ = ["Evaluation", "History", "TrainConfig", "evaluate", "fit"]

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, images (N, C, H, W) float32, targets (N, ...)) -> scalar loss, a mean over N.

It must call `model(...)` itself, not a method of it: across processes the model is wrapped.
"""

EachEpoch = Callable[[int], tuple[tuple[Tensor, Tensor], TrainConfig]]
"""epoch -> training set and recipe of that epoch."""


def fit(
    model: nn.Module,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor] | None,
    config: TrainConfig,
    *,
    loss_fn: Loss | None = None,
    each_epoch: EachEpoch | None = None,
    out: str | Path | None = None,
    stop_after: int | None = None,
    progress: bool | None = None,
) -> History:
    """Trains `model` in place, with warm-up and cosine decay, and returns the `History`.

    Args:
        model: moved to the device Accelerate finds (cuda, mps, cpu) and left there, in eval mode.
        train: images (N, C, H, W), uint8 (scaled to [-1, 1]) or float (used as they are), and
            targets (N, ...): int64 labels (N,) unless `loss_fn` wants something else.
        val: labelled images scored after every epoch, or None.
        config: the recipe.
        loss_fn: another objective than classification, for example a masked autoencoder's. Its
            random numbers must come from torch's global generator. Augmentation touches the
            images only; mixup, cutmix and label smoothing belong to the default objective.
        each_epoch: called before every epoch, for what changes during training: images of another
            size, other augmentation, mixup or label smoothing, and, by its own hand, the model's
            dropout. The epoch must have as many steps as with `train` and `config`, which rule
            the rest (learning rate, EMA, precision).
        out: folder of the checkpoint, written after each epoch. The same call with the same
            folder continues a run that was stopped or killed, and reaches the same weights bit
            for bit (on a CPU with the same number of threads, or with torch's deterministic
            algorithms on a GPU); a finished run is returned at once, its weights in `model`.
            One folder for one run: settings, shapes and data are compared, `loss_fn` and
            `each_epoch` are not.
        stop_after: stop after this many epochs of the schedule, as a kill would.
        progress: show a bar with the time left; by default as the profile says.

    EMA: timm's average of the weights. Its decay is min(ema_decay, 1 - (1 + step)^(-2/3)), because
    a plain 0.9999 would still remember the random start after 10,000 steps, longer than a
    laptop's whole run. The averaged weights come back as `History.ema_weights`.

    Several processes (`accelerate launch --multi_gpu --num_processes 2 script.py`; to try it on a
    CPU, with ACCELERATE_USE_CPU=true in the environment, as `--cpu` starts only one process)
    share each global batch and follow one process's loss curve. BatchNorm is the exception, as
    its statistics are then taken over each process's share: on GPUs convert the model with
    `torch.nn.SyncBatchNorm.convert_sync_batchnorm` first. Drop-path also draws its own numbers
    in each process.

    The number of threads is the caller's choice (`modarch_utils.measure.best_threads`), and so is
    the memory format: on a CPU `model.to(memory_format=torch.channels_last)` made convolution +
    BatchNorm networks 1.2 to 1.8 times as fast, and LayerNorm networks no faster.

    Raises:
        ValueError: data that are empty, of different lengths, fewer than a batch or with labels
            out of range; an epoch with another number of steps; a folder that holds another run.
        FloatingPointError: the loss is not finite.
    """
    _check_data("training", train)
    if val is not None:
        _check_data("validation", val)
    if loss_fn is not None and config.mixes:
        raise ValueError("mixup and cutmix need the default objective: set them to 0.")

    accelerator = _accelerator(config.autocast)
    device = accelerator.device
    model.to(device)
    num_classes = None
    if loss_fn is None:
        num_classes = _num_classes(model, train[0][:2].to(device))
        _check_labels("training", train[1], num_classes)
        if val is not None:
            _check_labels("validation", val[1], num_classes)

    def make_batches(data: tuple[Tensor, Tensor], recipe: TrainConfig) -> Batches:
        return Batches(
            *data,
            recipe,
            num_classes=num_classes,
            device=device,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )

    batches = make_batches(train, config)
    steps = len(batches)
    total, warmup = config.epochs * steps, round(config.warmup_epochs * steps)

    ema = config.ema_decay and ModelEmaV3(model, decay=config.ema_decay, use_warmup=True)
    optimizer = _optimizer(model, config)
    raw = model
    model, optimizer = accelerator.prepare(raw, optimizer)
    history = History()

    if out is not None:
        out = Path(out)
        data = {"training": train} | ({"validation": val} if val is not None else {})
        fingerprint = checkpoint.fingerprint(raw, config, data)
        state = checkpoint.load(out, fingerprint)
        if state:
            raw.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            history = History.from_dict(state["history"])
            if ema:
                ema.module.load_state_dict(state["ema"])
            if accelerator.scaler:
                accelerator.scaler.load_state_dict(state["scaler"])

    def score(network: nn.Module) -> Evaluation:
        mine = slice(accelerator.process_index, None, accelerator.num_processes)
        with accelerator.autocast():
            sums = totals(network, *(t[mine] for t in val), batch_size=256, device=device)
        if accelerator.num_processes > 1:
            sums = accelerator.reduce(sums.to(device), "sum")
        correct, loss, n = sums.tolist()
        return Evaluation(correct / n, loss / n)

    def run_epoch(epoch: int, bar: tqdm) -> None:
        now = batches if each_epoch is None else make_batches(*each_epoch(epoch))
        if len(now) != steps:
            raise ValueError(
                f"each_epoch gives epoch {epoch} {len(now)} steps, but the schedule has {steps}: "
                f"give as many images, in batches of the same size."
            )
        objective = loss_fn or _cross_entropy(now.config)
        model.train()
        for step, (images, targets) in enumerate(now.epoch(epoch), start=epoch * steps):
            lr = warmup_cosine(step, total, warmup, config.lr)
            for group in optimizer.param_groups:
                group["lr"] = lr
            with accelerator.autocast():
                loss = objective(model, images, targets)
            value = accelerator.reduce(loss.detach(), "mean").item()
            if not math.isfinite(value):
                raise FloatingPointError(_diverged(value, step, epoch, lr, config))
            accelerator.backward(loss)
            if config.grad_clip is not None:
                accelerator.clip_grad_norm_(model.parameters(), config.grad_clip)
            optimizer.step()
            optimizer.zero_grad()
            if ema:
                ema.update(raw, step=step + 1)
            history.step_loss.append(value)
            bar.set_postfix(loss=f"{value:.3f}", refresh=False)
            bar.update()
        history.train_loss.append(math.fsum(history.step_loss[-steps:]) / steps)
        history.lr.append(lr)

    def save() -> None:
        state = {
            "fingerprint": fingerprint,
            "history": history.to_dict(),
            "model": raw.state_dict(),
            "optimizer": optimizer.state_dict(),
            "ema": ema.module.state_dict() if ema else None,
            "scaler": accelerator.scaler.state_dict() if accelerator.scaler else None,
        }
        checkpoint.save(out, state)

    last = config.epochs if stop_after is None else min(stop_after, config.epochs)
    bar = bars.bar(
        total=last * steps,
        initial=min(history.epochs, last) * steps,
        unit="step",
        progress=progress,
        needed=accelerator.is_main_process and history.epochs < last,
    )
    try:
        for epoch in range(history.epochs, last):
            bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
            started = time.perf_counter()
            # Each epoch has its own seed, so that resuming here needs no saved generator.
            with seeded(config.seed, epoch, accelerator.process_index, device=device):
                run_epoch(epoch, bar)
            history.seconds.append(time.perf_counter() - started)
            if val is not None:
                accuracy, val_loss = score(raw)
                history.val_accuracy.append(accuracy)
                history.val_loss.append(val_loss)
                if ema:
                    history.ema_accuracy.append(score(ema.module).accuracy)
            if out is not None:
                if accelerator.is_main_process:
                    save()
                accelerator.wait_for_everyone()
    finally:
        bar.close()
        # Takes autocast's wrapper off `forward` again, after an interrupt too.
        accelerator.unwrap_model(model, keep_fp32_wrapper=False).eval()
    if ema:
        history.ema_weights = ema.module.state_dict()
    return history


def _accelerator(autocast: str) -> Accelerator:
    """An Accelerator with this precision, whatever an earlier run in this process used."""
    cpu = devices.current().type == "cpu"
    if autocast == "fp16" and cpu:
        raise ValueError("autocast='fp16' needs a GPU: on a CPU choose 'no' or 'bf16'.")
    if AcceleratorState._shared_state:
        state = AcceleratorState()
        leaves = cpu and state.device.type != "cpu"
        if leaves or state.mixed_precision != autocast:
            AcceleratorState._reset_state(reset_partial_state=leaves)
    # Left alone, Accelerate takes any GPU that torch lists.
    avoids = cpu and torch.accelerator.is_available()
    accelerator = Accelerator(mixed_precision=autocast, cpu=avoids)
    world = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != world:
        raise ValueError(
            f"This is one of {world} processes, but Accelerate did not connect them, so each would "
            f"train alone: on a CPU set ACCELERATE_USE_CPU=true before launching."
        )
    return accelerator


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    groups = parameter_groups(model, config.weight_decay)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=config.lr)


def _cross_entropy(config: TrainConfig) -> Loss:
    # Mixup's soft targets are smoothed already.
    smoothing = 0.0 if config.mixes else config.label_smoothing

    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(images), targets, label_smoothing=smoothing)

    return loss


@torch.no_grad()
def _num_classes(model: nn.Module, images: Tensor) -> int:
    """Width of the model's output; a forward in eval mode, which changes nothing."""
    shape = model.eval()(to_input(images)).shape
    if len(shape) != 2:
        raise ValueError(
            f"Classification needs a model that returns logits (N, classes), not {tuple(shape)}; "
            f"for another objective pass loss_fn."
        )
    return shape[1]


def _check_data(name: str, data: tuple[Tensor, Tensor]) -> None:
    images, targets = data
    if len(images) == 0:
        raise ValueError(f"The {name} set is empty.")
    if images.ndim != 4:
        raise ValueError(f"The {name} images must be (N, C, H, W), not {tuple(images.shape)}.")
    if len(images) != len(targets):
        raise ValueError(
            f"The {name} set has {len(images)} images but {len(targets)} targets: "
            f"they must be as many."
        )


def _check_labels(name: str, labels: Tensor, num_classes: int) -> None:
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise ValueError(
            f"The {name} labels must be int64 (N,), not {labels.dtype} {tuple(labels.shape)}."
        )
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"The {name} labels run from {low} to {high}, but the model has {num_classes} "
            f"outputs: labels must lie in 0..{num_classes - 1}."
        )


def _diverged(value: float, step: int, epoch: int, lr: float, config: TrainConfig) -> str:
    tries = ["a lower lr", "a longer warm-up (warmup_epochs)"]
    if config.grad_clip is None:
        tries.append("grad_clip=1.0")
    if config.autocast == "fp16":
        tries.append("autocast='bf16'")
    return (
        f"The loss is {value} at step {step} (epoch {epoch + 1}), where lr is {lr:.2e}. "
        f"Try {', '.join(tries[:-1])} or {tries[-1]}; if it happens at step 0, look for NaN in "
        f"the data."
    )
