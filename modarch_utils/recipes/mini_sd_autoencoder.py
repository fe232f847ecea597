"""Train the autoencoder of ``mini-sd`` on scenes (chapter 05_latent_consistency).

``python -m modarch_utils.recipes.mini_sd_autoencoder`` trains on one thread, goes on where it was
stopped, and ends with the autoencoder in ``runs/mini_sd_autoencoder-8/vae``, where
:mod:`modarch_utils.recipes.mini_sd` looks for it. Each epoch prints what is left of scenes that it
was not trained on, and some epochs write a picture of them, originals over reconstructions, beside
it. ``--side 16`` trains one with larger latents.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from modarch_utils import plots, zoo
from modarch_utils.data import scenes
from modarch_utils.models import mini_sd
from modarch_utils.models.mini_sd import MiniSDConfig
from modarch_utils.recipes.epochs import each_epoch, keep
from modarch_utils.training import autoencoder as ae
from modarch_utils.training.batches import to_input
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History


@dataclass(frozen=True)
class DataSettings:
    """The scenes: stream 0 to train on, stream 1 held out."""

    framing: str = "close"
    images: int = 16_000
    held_out: int = 1_000


DATA = DataSettings()

SIZES = {
    8: MiniSDConfig(),
    # Text is looked at on the second level, 8x8, and in the middle: in a pilot attention among
    # 256 positions more than doubled the time of a step.
    16: MiniSDConfig(
        vae_channels=(16, 32, 64), unet_channels=(64, 96, 96), attention=(False, True, False)
    ),
}
"""By the side of the latents."""

CONFIG = TrainConfig(
    epochs=20,
    batch_size=16,
    lr=1e-3,
    weight_decay=0.01,
    warmup_epochs=0.2,
    label_smoothing=0.0,
    ema_decay=0.999,
    grad_clip=1.0,
    augment="flip",
)

OBJECTIVE = ae.AutoencoderObjective()

STAGES = (0, 1, 2)
"""Maps of EfficientNet-Lite0 in which pictures are compared: sides 32, 16 and 8."""

SHEET_EVERY = 2
"""Epochs between two pictures."""


def run_folder(side: int, name: str = "mini_sd_autoencoder") -> Path:
    """Where a run with latents of this side is kept."""
    return Path("runs") / f"{name}-{side}"


def load(stream: int, image_size: int = 64) -> scenes.Scenes:
    """Stream 0 or 1."""
    n = (DATA.images, DATA.held_out)[stream]
    return scenes.load(n, image_size, seed=stream, framing=DATA.framing)


def perception() -> ae.Features:
    """The first stages of the frozen ImageNet network, which takes pictures in [-1, 1]."""
    network = zoo.load_timm("efficientnet_lite0").requires_grad_(False)

    def features(images: Tensor) -> list[Tensor]:
        return network.forward_intermediates(
            images, indices=list(STAGES), stop_early=True, intermediates_only=True
        )

    return features


def save_sheet(images: Tensor, file: Path, captions: list[str] | None = None) -> None:
    """Write a PNG of images (N, 3, H, W) in [-1, 1], eight in a row."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure = plots.image_grid((images.clamp(-1, 1) + 1) / 2, captions)
    figure.savefig(file, dpi=110)
    plots.plt.close(figure)


def scores(vae: AutoencoderKL, held_out: Tensor) -> dict[str, float]:
    """Of held-out pictures (N, 3, H, W) uint8.

    ``psnr`` in dB, ``l1`` in [0, 2], ``edge`` error, and ``noise``: the deviation of a latent's
    distribution as a part of that between latents. Near 0 it leaves the latent space unsmoothed.
    """
    codes, wanted = ae.encode(vae, held_out), to_input(held_out)
    found = ae.reconstruct(vae, held_out)
    return {
        "psnr": ae.psnr(found, wanted),
        "l1": (found - wanted).abs().mean().item(),
        "edge": ae.edge_error(found, wanted).item(),
        "noise": (codes.std.mean() / codes.mean.std()).item(),
    }


def sheet(vae: AutoencoderKL, held_out: Tensor, file: Path, n: int = 16) -> None:
    """Rows of eight originals, each row over their reconstructions."""
    some = held_out[:n]
    pairs = zip(to_input(some).split(8), ae.reconstruct(vae, some).split(8), strict=True)
    save_sheet(torch.cat([row for pair in pairs for row in pair]), file)


def main() -> None:
    """Train what is missing of the run, measure its scaling factor, save the autoencoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, choices=SIZES, default=8, help="of the latents")
    parser.add_argument("--epochs", type=int, default=CONFIG.epochs, help="length of the schedule")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, folder = SIZES[options.side], run_folder(options.side)
    config = replace(CONFIG, epochs=options.epochs)
    train, held_out = (load(stream, size.image_size).images for stream in (0, 1))
    features = perception()

    def until(epoch: int) -> History:
        return ae.train_autoencoder(
            vae,
            train,
            config,
            OBJECTIVE,
            features,
            out=folder,
            stop_after=epoch,
            progress=False,
        )

    torch.manual_seed(config.seed)
    vae = mini_sd.autoencoder(size)
    for epoch, history in each_epoch(until, config.epochs):
        values = {"loss": history.train_loss[-1], "seconds": history.seconds[-1]}
        keep(folder, epoch, values | scores(vae, held_out))
        if epoch % SHEET_EVERY == 0 or epoch == config.epochs:
            sheet(vae, held_out, folder / f"epoch-{epoch:03d}.png")
    factor = ae.set_scaling(vae, ae.encode(vae, train))
    vae.save_pretrained(folder / "vae")
    print(folder / "vae", f"scaling factor {factor:.4f}")


if __name__ == "__main__":
    main()
