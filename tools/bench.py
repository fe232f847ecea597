"""Times our networks against the libraries' own: `make bench`, or `python -m tools.bench --quick`.

Each row runs forward and backward of two networks with the same weights on the same input, taking
turns within one run, and reports the median of the pairwise ratios. Prints a table and writes
`_build/bench.json`: a list of {"name", "ours_s", "reference_s", "ratio"}, where
ratio = reference / ours, so at 1 and above ours is as fast. A chapter adds its rows to `BENCHES`.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from timm.models.convnext import checkpoint_filter_fn
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from modarch_utils import measure
from modarch_utils.models import (
    convnext,
    dinov2,
    efficientnetv2,
    hyena,
    mamba,
    resnet,
    swin,
    transformer,
    vit,
)

OUTPUT = Path(__file__).resolve().parents[1] / "_build" / "bench.json"


def copy_in_order(ours: nn.Module, reference: nn.Module) -> None:
    """Copies weights between networks whose state dicts list the same tensors in one order."""
    values = ours.state_dict().values()
    reference.load_state_dict(dict(zip(reference.state_dict(), values, strict=True)))


def copy_convnext(ours: nn.Module, reference: nn.Module) -> None:
    """Copies from the authors' names, which ours are, to timm's."""
    reference.load_state_dict(checkpoint_filter_fn(ours.state_dict(), reference))


def copy_by_name(ours: nn.Module, reference: nn.Module) -> None:
    """Copies weights between networks that give the same tensors the same names."""
    reference.load_state_dict(ours.state_dict())


def copy_dinov2(ours: nn.Module, reference: nn.Module) -> None:
    """Copies from the authors' names, which ours are, to transformers'."""
    reference.model.load_state_dict(dinov2.to_transformers(ours.model.state_dict()))


def copy_damped(ours: nn.Module, reference: nn.Module) -> None:
    """Copies by name, after making the residual branches small.

    The check for equality uses a new network's running statistics, mean 0 and variance 1, which
    hold nothing back: 40 branches of full size would blow up the numbers, and the rounding, until
    two equal networks differ. Time does not depend on the weights.
    """
    with torch.no_grad():
        for module in ours.modules():
            if getattr(module, "has_skip", False):
                [n for n in module.children() if isinstance(n, nn.BatchNorm2d)][-1].weight.mul_(0.3)
    copy_by_name(ours, reference)


@dataclass(frozen=True)
class Bench:
    """One row: two ways to make a network, and how to give the second the first's weights.

    The input is normal noise of `input_shape`, or of `quick_shape` with `--quick`: images by
    default, but sequences `(N, L, dim)` or whatever else the two networks take will do.
    """

    name: str
    ours: Callable[[], nn.Module]
    reference: Callable[[], nn.Module]
    copy: Callable[[nn.Module, nn.Module], None] = copy_in_order
    input_shape: tuple[int, ...] = (2, 3, 224, 224)
    quick_shape: tuple[int, ...] = (1, 3, 64, 64)


class ClassToken(nn.Module):
    """The class token that a DINOv2 answers with, ours or transformers'."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(N, 3, H, W)` to `(N, dim)`."""
        features = self.model(x)
        return features.cls if isinstance(features, dinov2.Features) else features.pooler_output


def transformers_dinov2_small() -> nn.Module:
    """transformers' DINOv2-S with four registers."""
    config, _ = dinov2.transformers_state(dinov2.dinov2_small(registers=4))
    return AutoModel.from_config(AutoConfig.for_model(**config))


class LongConv(nn.Module):
    """One causal convolution as long as its input, by FFT or by sliding the filter along."""

    def __init__(self, dim: int, length: int, fft: bool):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(dim, length) / length**0.5)
        self.bias = nn.Parameter(torch.ones(dim))
        self.fft = fft

    def forward(self, u: Tensor) -> Tensor:
        """Maps `(N, dim, L)` to `(N, dim, L)`."""
        length = u.shape[-1]
        h = self.filter[:, :length]
        if self.fft:
            return hyena.fft_conv(u, h, self.bias)
        y = F.conv1d(F.pad(u, (length - 1, 0)), h.flip(-1)[:, None], groups=len(h))
        return y + self.bias[:, None] * u


BENCHES = [
    Bench(
        "convnext_tiny",
        convnext.convnext_tiny,
        lambda: timm.create_model("convnext_tiny"),
        copy_convnext,
    ),
    Bench(
        "convnextv2_tiny",
        convnext.convnextv2_tiny,
        lambda: timm.create_model("convnextv2_tiny"),
        copy_convnext,
    ),
    Bench("resnet50", resnet.resnet50, lambda: timm.create_model("resnet50")),
    Bench("resnext50_32x4d", resnet.resnext50_32x4d, lambda: timm.create_model("resnext50_32x4d")),
    Bench(
        "efficientnetv2_s",
        efficientnetv2.efficientnetv2_s,
        lambda: timm.create_model("tf_efficientnetv2_s"),
        copy_damped,
    ),
    Bench(
        "transformer_encoder_layer",
        lambda: transformer.EncoderLayer(256, 8, 1024, norm_first=True),
        lambda: nn.TransformerEncoderLayer(
            256, 8, 1024, dropout=0.0, norm_first=True, batch_first=True
        ),
        input_shape=(8, 256, 256),
        quick_shape=(1, 64, 256),
    ),
    Bench(
        "vit_base_patch16_224",
        vit.vit_base_patch16_224,
        lambda: timm.create_model("vit_base_patch16_224"),
        copy_by_name,
        quick_shape=(1, 3, 224, 224),  # its learned positions fix the size
    ),
    Bench(
        "dinov2_small",
        lambda: ClassToken(dinov2.dinov2_small(registers=4)),
        lambda: ClassToken(transformers_dinov2_small()),
        copy_dinov2,
        quick_shape=(1, 3, 70, 70),
    ),
    Bench(
        "swin_tiny_patch4_window7_224",
        swin.swin_tiny_patch4_window7_224,
        # Without timm's default drop path, which ours leaves out by default.
        lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", drop_path_rate=0.0, strict_img_size=False
        ),
        copy_by_name,
    ),
    Bench(
        "mamba_256",
        lambda: mamba.Mamba(256),
        lambda: MambaMixer(MambaConfig(hidden_size=256, num_hidden_layers=1), 0),
        copy_by_name,
        input_shape=(1, 512, 256),
        quick_shape=(1, 32, 256),
    ),
    Bench(  # no library has Hyena: its FFT against the direct sum
        "hyena_long_convolution",
        lambda: LongConv(64, 1024, fft=True),
        lambda: LongConv(64, 1024, fft=False),
        copy_by_name,
        input_shape=(2, 64, 1024),
        quick_shape=(1, 64, 128),
    ),
]


def prepare(bench: Bench, input_shape: tuple[int, ...]) -> tuple[measure.Step, measure.Step]:
    """The row's two steps, forward and backward in training mode.

    Raises ValueError when the two networks do not compute the same, as a race between different
    jobs means nothing.
    """
    torch.manual_seed(0)
    ours, reference = bench.ours(), bench.reference()
    randomise(ours)
    bench.copy(ours, reference)
    x = torch.randn(input_shape)
    with torch.no_grad():
        a, b = ours.eval()(x), reference.eval()(x)
    if not torch.allclose(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item()):
        raise ValueError(
            f"{bench.name}: the outputs differ by {(a - b).abs().max():.2g} with equal weights; "
            f"make them equal before timing them."
        )
    return training_step(ours, x), training_step(reference, x)


def randomise(model: nn.Module) -> None:
    """Moves every parameter off its first value: a zero gamma would hide a difference."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))


def training_step(model: nn.Module, x: Tensor) -> measure.Step:
    """Forward and backward of `model`, without the optimizer, which is torch's in both."""
    model.train()

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(x).square().mean().backward()

    return step


def main(
    argv: Sequence[str] | None = None, benches: Sequence[Bench] = BENCHES, output: Path = OUTPUT
) -> None:
    """Runs the rows, prints the table and writes `output`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="rows to run (default: all)")
    parser.add_argument("--quick", action="store_true", help="small inputs, few repeats")
    parser.add_argument("--repeats", type=int, help="pairs to time (default: 20; 3 with --quick)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    options = parser.parse_args(argv)
    known = {bench.name for bench in benches}
    if unknown := set(options.names) - known:
        parser.error(f"no row is called {', '.join(unknown)}; there are {', '.join(known)}")
    repeats = options.repeats or (3 if options.quick else 20)
    torch.set_num_threads(options.threads)

    # One thread's clock stops while other programs have the core; those of several would add up.
    clock, seconds = time.process_time, "CPU time"
    if options.threads > 1:
        clock, seconds = time.perf_counter, "wall time"
    print(
        f"Forward and backward on the CPU, {options.threads} thread(s), {repeats} pairs in turns, "
        f"{seconds}; a ratio above 1 means that ours is faster."
    )
    print(f"{'network':28} {'input':>14} {'ours':>9} {'reference':>9} {'ratio':>6}  quartiles")
    rows = []
    for bench in benches:
        if options.names and bench.name not in options.names:
            continue
        shape = bench.quick_shape if options.quick else bench.input_shape
        ours, reference = prepare(bench, shape)
        result = measure.compare(ours, reference, warmup=2, repeats=repeats, clock=clock)
        print(
            f"{bench.name:28} {'x'.join(map(str, shape)):>14} {1e3 * result.ours_s:6.0f} ms "
            f"{1e3 * result.reference_s:6.0f} ms {result.ratio:6.3f}  "
            f"{result.q1:.3f}-{result.q3:.3f}",
            flush=True,
        )
        rows.append(
            {
                "name": bench.name,
                "ours_s": result.ours_s,
                "reference_s": result.reference_s,
                "ratio": result.ratio,
            }
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
