"""``mini-sd``: the parts of Stable Diffusion (Rombach et al. 2022, arXiv 2112.10752), made small.

Every part is an object of diffusers or transformers, so that the folder which :func:`pipeline`'s
``save_pretrained`` writes is loaded by ``DiffusionPipeline.from_pretrained`` without this package.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    ModelMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

START, END, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<|unknown|>"
WORD_END = "</w>"
"""CLIP's mark of a word's last letter."""


@dataclass(frozen=True)
class MiniSDConfig:
    """Sizes. Raises ValueError for those that do not fit together."""

    image_size: int = 64
    vae_channels: tuple[int, ...] = (16, 32, 64)
    """Of each level; between two levels the side is halved. Stable Diffusion has four levels and 8
    times smaller latents; three, and 4 times smaller ones, keep the edges of 64 pixels sharp."""
    latent_channels: int = 4
    unet_channels: tuple[int, ...] = (64, 96)
    attention: tuple[bool, ...] = (False, True)
    """Whether a level looks at the text, and each position at all others; the middle always does.
    Among the 256 positions of the first level that would double the time of a step."""
    head_dim: int = 32
    text_dim: int = 64
    text_layers: int = 2
    tokens: int = 20
    """Length of a prompt, with start and end."""

    def __post_init__(self) -> None:
        if self.image_size % self.down:
            raise ValueError(
                f"{len(self.vae_channels)} levels halve the side {len(self.vae_channels) - 1} "
                f"times, and {self.image_size} pixels cannot be halved so often."
            )
        if self.latent_side % 2 ** (len(self.unet_channels) - 1):
            raise ValueError(
                f"Latents of side {self.latent_side} cannot be halved "
                f"{len(self.unet_channels) - 1} times: choose fewer unet_channels."
            )
        if len(self.attention) != len(self.unet_channels):
            raise ValueError("attention needs one answer for each level of unet_channels.")
        for name in ("unet_channels", "text_dim"):
            if any(n % self.head_dim for n in torch.tensor(getattr(self, name)).view(-1).tolist()):
                raise ValueError(f"{name} must be multiples of head_dim, {self.head_dim}.")

    @property
    def down(self) -> int:
        """Pixels along the side of a latent."""
        return 2 ** (len(self.vae_channels) - 1)

    @property
    def latent_side(self) -> int:
        return self.image_size // self.down


def autoencoder(config: MiniSDConfig) -> AutoencoderKL:
    """Images (N, 3, S, S) in [-1, 1] to the mean and variance of latents, and back.

    Its ``scaling_factor`` is 1 until it is measured.
    """
    levels = len(config.vae_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.vae_channels,
        latent_channels=config.latent_channels,
        norm_num_groups=min(8, *config.vae_channels),
        sample_size=config.image_size,
        scaling_factor=1.0,
    )


def unet(config: MiniSDConfig, guidance_dim: int | None = None) -> UNet2DConditionModel:
    """Predicts the noise in latents (N, 4, s, s), from a time (N,) and text (N, tokens, text_dim).

    Args:
        config: sizes.
        guidance_dim: length of a guidance scale's embedding, which latent consistency models take
            as ``timestep_cond`` (N, guidance_dim); None: the network takes none.
    """
    down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in config.attention]
    up = ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention)]
    return UNet2DConditionModel(
        sample_size=config.latent_side,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.unet_channels,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        layers_per_block=1,
        cross_attention_dim=config.text_dim,
        # diffusers' name is wrong, and kept for old checkpoints: it is the number of heads.
        attention_head_dim=tuple(c // config.head_dim for c in config.unet_channels),
        norm_num_groups=16,
        time_cond_proj_dim=guidance_dim,
    )


def tokenizer(words: Iterable[str], tokens: int = MiniSDConfig.tokens) -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary in which each of ``words`` is one token.

    Byte-pair encoding builds a word from letters, so the vocabulary holds the pieces on the way
    too. A word that is not in it falls into such pieces ("zebra" into some and the article "a"),
    and letters it has never seen into :data:`UNKNOWN`. Ids: start, end (also the padding),
    unknown, the words in alphabetical order, the pieces. The words are saved with it, as
    ``init_kwargs["words"]``.

    Raises ValueError for no words, or for what the tokenizer would cut apart or change.
    """
    words = sorted(set(words))
    if not words:
        raise ValueError("A tokenizer needs at least one word.")
    for word in words:
        if not re.fullmatch(r"[^\W\d_]+", word) or word != word.lower():
            raise ValueError(f"Words are made of small letters only, and {word!r} is not.")
    bpe = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    # Merging goes on until nothing is left to merge: until each word is one token.
    trainer = trainers.BpeTrainer(
        vocab_size=2**20, min_frequency=1, end_of_word_suffix=WORD_END, show_progress=False
    )
    bpe.train_from_iterator(words, trainer)
    whole = [word + WORD_END for word in words]
    pieces = sorted(bpe.get_vocab().keys() - set(whole))
    names = [START, END, UNKNOWN, *whole, *pieces]
    return CLIPTokenizer(
        vocab={name: i for i, name in enumerate(names)},
        merges=_merges(bpe),
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=END,
        model_max_length=tokens,
        words=words,
    )


def text_model(tokenizer: CLIPTokenizer, config: MiniSDConfig) -> CLIPTextModel:
    """A small text transformer for the tokens of :func:`tokenizer`.

    What is no whole word is embedded as 0. Captions hold none of it, so training leaves that as
    it is, and a word the network never saw tells it nothing instead of something at random.
    """
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.text_dim,
            intermediate_size=4 * config.text_dim,
            projection_dim=config.text_dim,
            num_hidden_layers=config.text_layers,
            num_attention_heads=config.text_dim // config.head_dim,
            max_position_embeddings=config.tokens,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    known = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    known += tokenizer.convert_tokens_to_ids([w + WORD_END for w in vocabulary(tokenizer)])
    embedding = model.get_input_embeddings().weight.data
    never = torch.ones(len(embedding), dtype=torch.bool)
    never[known] = False
    embedding[never] = 0
    return model


def token_ids(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """(N, tokens) int64, padded as the pipeline pads prompts."""
    return tokenizer(
        prompts,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids


def vocabulary(tokenizer: CLIPTokenizer) -> list[str]:
    """The words that a tokenizer of :func:`tokenizer`, or one loaded from its folder, knows."""
    return list(tokenizer.init_kwargs["words"])


def unknown_words(prompt: str, tokenizer: CLIPTokenizer) -> list[str]:
    """The words of a prompt that the vocabulary lacks, each once and in order; no punctuation."""
    known = set(vocabulary(tokenizer))
    return [w for w in dict.fromkeys(re.findall(r"[^\W_]+", prompt.lower())) if w not in known]


def vocabulary_warning(prompt: str, tokenizer: CLIPTokenizer) -> str | None:
    """One sentence about a prompt's unknown words that lists the vocabulary; None without any."""
    unknown = unknown_words(prompt, tokenizer)
    if not unknown:
        return None
    return (
        f"The model never saw {', '.join(map(repr, unknown))} and will not draw what that means; "
        f"it knows these words: {', '.join(vocabulary(tokenizer))}."
    )


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, to be sampled with DDIM.

    ``PNDMScheduler.from_config(scheduler().config)`` and the like give other samplers.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        # On by default, for pixels in [-1, 1]. Latents reach beyond, and cutting them off at each
        # step changes colours without an error; from_config would hand it on to other samplers.
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def pipeline(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> StableDiffusionPipeline:
    """The parts put together. There is no safety checker: it draws rendered scenes only."""
    return StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_half(network: ModelMixin, folder: Path) -> Path:
    """Write a network of diffusers in half precision; returns the file of weights.

    Its class's ``from_pretrained(folder)`` makes them float32 again.
    """
    _half(network).save_pretrained(folder)
    (file,) = folder.glob("*.safetensors")
    file.chmod(0o644)  # it is written for its owner alone
    return file


def save(pipe: StableDiffusionPipeline, folder: Path) -> list[Path]:
    """Write a pipeline's folder with its weights in half precision; returns the files of weights.

    Loaded again, everything is float32. The text model is stored so: transformers would load
    halves as halves, and a half-precision text does not fit a float32 U-Net.
    """
    halves = {name: _half(getattr(pipe, name)) for name in ("vae", "unet")}
    StableDiffusionPipeline(
        **{**pipe.components, **halves}, requires_safety_checker=False
    ).save_pretrained(folder)
    files = sorted(folder.glob("*/*.safetensors"))
    for file in files:
        file.chmod(0o644)
    return files


def _half(network: ModelMixin) -> ModelMixin:
    """A copy that does not remember the folder it was loaded from: it is of no use elsewhere."""
    config = {key: value for key, value in network.config.items() if key != "_name_or_path"}
    half = type(network).from_config(config).half()
    half.load_state_dict(network.state_dict())
    return half


def _merges(bpe: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
