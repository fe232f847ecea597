"""A small run that the tests start in other processes: `python -m tests.training.example MODE OUT`.

MODE is "killed" (the process kills itself in the middle of the second epoch) or "shared" (one of
several processes of `accelerate launch`).
"""

import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor, nn

from modarch_utils.models.convnext import ConvNeXt
from modarch_utils.training.loop import TrainConfig, fit

CLASSES = 4
STEPS = 6  # an epoch: 100 images, 16 a batch, the last 4 dropped
RESUMED = TrainConfig(
    epochs=3, batch_size=16, lr=2e-3, mixup=0.8, cutmix=1.0, ema_decay=0.9, grad_clip=1.0, seed=3
)
SHARED = TrainConfig(epochs=3, batch_size=16, lr=2e-3, mixup=0.8, ema_decay=0.9)


def data(n: int = 100, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise (n, 3, 16, 16) uint8, brighter with the label."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=g)
    noise = torch.randn(n, 3, 16, 16, generator=g) * 30
    return (noise + 60 + 40 * labels.view(n, 1, 1, 1)).clamp(0, 255).to(torch.uint8), labels


def network(drop_path: float = 0.0) -> nn.Module:
    """A ConvNeXt small enough to train in a second."""
    torch.manual_seed(0)
    return ConvNeXt(
        depths=(1, 1, 1, 1),
        dims=(8, 8, 16, 16),
        num_classes=CLASSES,
        patch_size=2,
        kernel_size=3,
        drop_path_rate=drop_path,
        layer_scale=None,
    )


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks hold the same numbers, bit for bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def die_at(model: nn.Module, step: int) -> None:
    """Makes the `step`-th training forward (from 0) the process's last."""
    seen = iter(range(step + 1))

    def hook(module: nn.Module, inputs: tuple) -> None:
        if module.training and next(seen) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    model.register_forward_pre_hook(hook)


def main(mode: str, out: Path) -> None:
    torch.set_num_threads(1)
    if mode == "killed":
        model = network(drop_path=0.3)
        die_at(model, STEPS + 3)
        fit(model, data(), data(30, seed=1), RESUMED, out=out, progress=False)
    else:
        # 31 images for two processes: one share is larger.
        fit(network(), data(), data(31, seed=1), SHARED, out=out, progress=False)
        process = PartialState()
        (out / f"rank{process.process_index}of{process.num_processes}").touch()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
