"""Train the autoencoder of ``mini-sd`` on scenes (chapter 05_latent_consistency).

``python -m recipes.mini_sd_autoencoder`` trains on two threads, goes on where it was
stopped, and ends by writing the autoencoder to ``weights/mini-sd/vae``, where
:mod:`recipes.mini_sd` looks for it, and the course of the training to
``records/mini_sd_autoencoder.json``; called again, it writes both again without training. Each
epoch prints what is left of pictures that it was not trained on, and writes some of them, originals
over reconstructions, to ``runs/``.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from modarch_utils import plots, records, zoo
from modarch_utils.data import scenes
from modarch_utils.data.factors import FRAMINGS
from modarch_utils.models import mini_sd
from modarch_utils.models.mini_sd import MiniSDConfig
from modarch_utils.training.autoencoder import encode, reconstruct
from modarch_utils.training.batches import to_input
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from recipes import autoencoder_training as ae
from recipes.epochs import measured
from recipes.sketch import pencil


@dataclass(frozen=True)
class DataSettings:
    """The pictures: of stream 0 to train on, of stream 1 held out."""

    scenes: int = 6_000
    """Of each framing."""
    sketches: int = 4_000
    """So many of these scenes are shown once more, drawn with a pencil: a decoder that has never
    seen a style cannot be taught it later by training the U-Net."""
    held_out: int = 300


DATA = DataSettings()

SIZE = MiniSDConfig()

CONFIG = TrainConfig(
    epochs=8,
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

RUN = Path("runs/mini_sd_autoencoder")
THREADS = 2


def folder() -> Path:
    """Where the autoencoder is shipped."""
    return zoo.WEIGHTS / "mini-sd" / "vae"


def load(n: int, sketches: int, seed: int, size: int = SIZE.image_size) -> Tensor:
    """``n`` scenes of each framing, and ``sketches`` of them again: (N, 3, S, S) uint8."""
    sets = (scenes.load(n, size, seed=seed, framing=each) for each in FRAMINGS)
    images = torch.cat([each.images for each in sets])
    return torch.cat((images, pencil(images[:: len(images) // sketches][:sketches])))


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
    plots.use_style(dpi=110)
    figure = plots.image_grid((images.clamp(-1, 1) + 1) / 2, captions)
    figure.savefig(file)
    plots.plt.close(figure)


def scores(vae: AutoencoderKL, held_out: Tensor) -> dict[str, float]:
    """Of held-out pictures (N, 3, H, W) uint8.

    ``psnr`` in dB, ``l1`` in [0, 2], ``edge`` error, and ``noise``: the deviation of a latent's
    distribution as a part of that between latents. Near 0 it leaves the latent space unsmoothed.
    """
    codes, wanted = encode(vae, held_out), to_input(held_out)
    found = reconstruct(vae, held_out)
    return {
        "psnr": ae.psnr(found, wanted),
        "l1": (found - wanted).abs().mean().item(),
        "edge": ae.edge_error(found, wanted).item(),
        "noise": (codes.std.mean() / codes.mean.std()).item(),
    }


def sheet(vae: AutoencoderKL, held_out: Tensor, file: Path, n: int = 16) -> None:
    """Rows of eight originals, each row over their reconstructions."""
    some = held_out[:n]
    pairs = zip(to_input(some).split(8), reconstruct(vae, some).split(8), strict=True)
    save_sheet(torch.cat([row for pair in pairs for row in pair]), file)


def main(
    data: DataSettings = DATA, config: TrainConfig = CONFIG, size: MiniSDConfig = SIZE
) -> None:
    """Train what is missing of the run, measure its scaling factor, save the autoencoder."""
    torch.set_num_threads(THREADS)
    train = load(data.scenes, data.sketches, 0, size.image_size)
    held_out = load(data.held_out, data.held_out, 1, size.image_size)
    some = held_out[:: len(held_out) // 16]
    features = perception()
    torch.manual_seed(config.seed)
    vae = mini_sd.autoencoder(size)

    def until(epoch: int) -> History:
        return ae.train_autoencoder(
            vae, train, config, OBJECTIVE, features, out=RUN, stop_after=epoch, progress=False
        )

    def measure(epoch: int, history: History) -> dict[str, float]:
        sheet(vae, some, RUN / f"epoch-{epoch:03d}.png")
        return scores(vae, held_out)

    _, rows = measured(until, config.epochs, RUN, measure)
    factor = ae.set_scaling(vae, encode(vae, train))
    print(f"{mini_sd.save_half(vae, folder())} scaling factor {factor:.4f}")
    settings = {"scenes": scenes.version(), "data": asdict(data), "training": asdict(config)}
    settings |= {"objective": asdict(OBJECTIVE), "vae_channels": size.vae_channels}
    print(records.save("mini_sd_autoencoder", settings=settings, results=rows))


if __name__ == "__main__":
    main()
