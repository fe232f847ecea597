"""What the candidates of :mod:`.tree` cost, counted on the meta device (chapter 08)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from modarch_utils import measure
from modarch_utils.studies import comparison
from modarch_utils.studies.comparison import Cost, Network

_DINOV2 = {
    "S": {"hidden_size": 384, "num_attention_heads": 6},
    "L": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
}


class _SmallConvNet(Network):
    """The small ConvNet of chapter 01, for eight classes."""

    def build(self, side: int | None = None) -> nn.Module:
        from modarch_utils.studies.inductive_bias import build

        return build("convnet", seed=0)


NETWORKS = dict(comparison.NETWORKS) | {
    network.name: network
    for network in (
        Network("EfficientNet-B0", 224, "tf_efficientnet_b0"),
        Network("EfficientNet-B1", 240, "tf_efficientnet_b1"),
        Network("EfficientNet-Lite0", 64, "tf_efficientnet_lite0"),
        Network("EfficientNetV2-L", 480, "tf_efficientnetv2_l"),
        Network("Swin-L", 384, "swin_large_patch4_window12_384", sized=True),
        Network("ConvNeXt V2-L", 384, "convnextv2_large"),
        Network("DINOv2-S", 224, dinov2=_DINOV2["S"]),
        Network("DINOv2-L", 224, dinov2=_DINOV2["L"]),
        _SmallConvNet("small ConvNet", 64),
    )
}
"""Each with the side, in pixels, at which its accuracy is given; those of chapter 06 and more."""


@cache
def cost(name: str) -> Cost:
    """Count a network of :data:`NETWORKS` for one picture of its own side.

    Raises:
        ValueError: unknown name.
    """
    if name not in NETWORKS:
        raise ValueError(f"Unknown network {name!r}; chapter 08 has {', '.join(NETWORKS)}.")
    return comparison.count_network(NETWORKS[name])


@dataclass(frozen=True)
class Generator:
    """A latent diffusion model: the shapes of its U-Net, and the side of its latents."""

    latent: int
    unet: Mapping[str, Any]
    """What differs from the defaults of diffusers' ``UNet2DConditionModel``."""


GENERATORS = {
    "Stable Diffusion 1.5": Generator(64, MappingProxyType({"cross_attention_dim": 768})),
    "SDXL": Generator(
        128,
        MappingProxyType(
            {
                "block_out_channels": (320, 640, 1280),
                "down_block_types": ("DownBlock2D", *2 * ("CrossAttnDownBlock2D",)),
                "up_block_types": (*2 * ("CrossAttnUpBlock2D",), "UpBlock2D"),
                "transformer_layers_per_block": (1, 2, 10),
                "attention_head_dim": (5, 10, 20),
                "cross_attention_dim": 2048,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 2816,
                "use_linear_projection": True,
            }
        ),
    ),
}
"""SDXL's shapes: ``configs/inference/sd_xl_base.yaml`` of Stability-AI/generative-models."""

TOKENS = 77
"""Length of a prompt in CLIP's text models."""


class _Denoising(nn.Module):
    """A U-Net as a function of latents alone, for counting."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, latents: Tensor) -> Tensor:
        n, config = len(latents), self.unet.config
        text = latents.new_zeros(n, TOKENS, config.cross_attention_dim)
        added = {}
        if config.addition_embed_type:  # SDXL is told sizes and a pooled prompt as well
            pooled = config.projection_class_embeddings_input_dim
            pooled -= 6 * config.addition_time_embed_dim
            added["text_embeds"] = latents.new_zeros(n, pooled)
            added["time_ids"] = latents.new_zeros(n, 6)
        return self.unet(latents, latents.new_zeros(n), text, added_cond_kwargs=added).sample


class _Decoding(nn.Module):
    def __init__(self, autoencoder: nn.Module):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents).sample


@cache
def unet_cost(name: str) -> Cost:
    """Count one call of a generator's U-Net for one picture.

    Raises:
        ValueError: unknown name.
    """
    from diffusers import UNet2DConditionModel  # slow to import

    generator = _generator(name)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**generator.unet)
    shape = 1, unet.config.in_channels, generator.latent, generator.latent
    return Cost(measure.count_params(unet), measure.count_macs(_Denoising(unet), shape))


@cache
def decoder_macs(name: str) -> int:
    """Multiply-adds that turn a generator's latents into pixels, once for each picture.

    Raises:
        ValueError: unknown name.
    """
    from diffusers import AutoencoderKL  # slow to import

    side = _generator(name).latent
    with torch.device("meta"):
        autoencoder = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=4 * ("DownEncoderBlock2D",),
            up_block_types=4 * ("UpDecoderBlock2D",),
            layers_per_block=2,
        )
    return measure.count_macs(_Decoding(autoencoder), (1, 4, side, side))


def _generator(name: str) -> Generator:
    if name not in GENERATORS:
        raise ValueError(f"Unknown generator {name!r}; there are {', '.join(GENERATORS)}.")
    return GENERATORS[name]


def evaluations(steps: int, *, guided: bool, scheduler: str = "ddim") -> int:
    """U-Net passes for one picture: one for each call, two with classifier-free guidance.

    Args:
        steps: as given to the pipeline.
        guided: whether the U-Net is asked with and without the prompt.
        scheduler: ``"pndm"``, Stable Diffusion 1.5's own, makes one call more.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"A picture takes at least 1 step, not {steps}.")
    calls = steps + (scheduler == "pndm")
    return calls * (2 if guided else 1)


def picture_macs(name: str, passes: int) -> int:
    """Multiply-adds of a picture: U-Net passes and the decoder; the prompt's are left out."""
    return passes * unet_cost(name).macs + decoder_macs(name)
