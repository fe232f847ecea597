"""Block diagrams read off modules that run, so that no label can lie.

A diagram is columns of boxes from top to bottom. Beside an arrow stands the shape of what it
carries, without the batch and in the code's own order: ``C×H×W``, ``H×W×C`` or ``L×C``. Each
diagram can be had of another module than the paper's; ``plots.show`` displays it.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import nn
from torch.overrides import TorchFunctionMode

from .models import convnext, efficientnetv2, hyena, resnet, transformer
from .models import mamba as mambas
from .models import swin as swins
from .models import uib as uibs
from .models import vit as vits
from .plots import PALETTE

INK = PALETTE["ink"]
COLOURS = {
    "conv": PALETTE["blue"],
    "attention": PALETTE["orange"],
    "linear": PALETTE["green"],
    "scan": PALETTE["pink"],
    "norm": PALETTE["grey"],
}
"""A box's colour means the same in every diagram. A box of any other kind is white: "element" by
element, "join" of two arrows, or a "part" that a column of its own explains; "input" has none."""
HIGH, GAP, ROOM = 0.28, 0.27, 0.68
"""Inches: a box's height, the arrow below it, and from box to box (shortcuts pass there)."""

META = torch.device("meta")


@dataclass(frozen=True)
class Box:
    """A step: text, kind (see :data:`COLOURS`), and the shape of what leaves, with the batch.

    A shortcut may come in from before ``skip`` boxes; ``carries`` names what leaves.
    """

    text: str
    kind: str
    shape: tuple[int, ...] = ()
    skip: int = 0
    carries: str = ""


@dataclass(frozen=True)
class Column:
    """Boxes in rows, from row ``top`` on, with an arrow from each to the next.

    None lets the arrow pass. ``inside`` is the column and row of a box whose inside this is;
    ``tail`` draws an arrow out of the last box.
    """

    boxes: Sequence[Box | None]
    title: str = ""
    top: int = 0
    inside: tuple[int, int] | None = None
    tail: bool = True


@dataclass(frozen=True)
class Link:
    """An arrow between columns, from one (column, box) to another.

    It leaves at the side and comes in from above, ``shift`` inches off the middle; where ``shift``
    is None it leaves below and comes in at the side.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    label: str = ""
    shift: float | None = 0


def shapes(module: nn.Module, *size: int) -> dict[str, tuple[int, ...]]:
    """Run a copy of a module on the meta device; note the shape of every tensor that it makes.

    Args:
        module: stays as it is.
        size: shape of the input, with the batch.

    Returns:
        Shapes by name: ``"attn.proj"`` is what this submodule returns and ``"attn.proj:in"`` what
        it is given; ``""`` is the module itself, ``"cat()"`` a function of PyTorch. The second
        call has ``#2`` behind its name, the items of a tuple ``[0]``, ``[1]``.
    """
    found, calls = {}, Counter()

    def note(name: str, value: object, end: str = "") -> None:
        calls[name + end] += 1
        key = name + (f"#{n}" if (n := calls[name + end]) > 1 else "") + end
        items = enumerate(value) if type(value) is tuple else ()
        for part, one in {key: value, **{f"{key}[{i}]": item for i, item in items}}.items():
            if isinstance(one, torch.Tensor):
                found[part] = tuple(one.shape)

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            note(f"{func.__name__}()", out)
            return out

    # A copy, so that no hook stays behind and no batch norm has seen the zeros.
    module = copy.deepcopy(module).to(META).eval()
    for name, part in module.named_modules():
        part.register_forward_pre_hook(lambda _, args, name=name: note(name, args[0], ":in"))
        part.register_forward_hook(lambda _, args, out, name=name: note(name, out))
    with torch.no_grad(), Functions():
        module(torch.zeros(size, device=META))
    return found


def describe(layer: nn.Module) -> tuple[str, str]:
    """Return the text of a layer's box, from the layer's own settings, and its kind."""
    match layer:
        case nn.Conv2d(kernel_size=(side, _), stride=(stride, _)):
            name = "depthwise" if layer.groups == layer.in_channels else "conv"
            return f"{name} {side}×{side}" + f", stride {stride}" * (stride > 1), "conv"
        case hyena.ShortConv():
            return f"causal conv {layer.weight.shape[-1]}", "conv"
        case transformer.MultiHeadAttention():
            return f"attention, {layer.num_heads} heads", "attention"
        case transformer.FeedForward():
            return f"MLP, {layer.fc1.out_features} hidden", "linear"
        case swins.PatchMerging():
            return "patch merging", "linear"
        case nn.Linear():
            return "linear", "linear"
        case nn.LayerNorm() | nn.BatchNorm2d() | convnext.GRN():
            return type(layer).__name__.removesuffix("2d"), "norm"
    return type(layer).__name__, "element"


class Trace:
    """Makes the boxes of a module; ``size`` is its input's (see :func:`shapes`)."""

    def __init__(self, module: nn.Module, *size: int):
        self.module, self.shapes = module, shapes(module, *size)

    def __call__(self, steps: str, at: str = "") -> list[Box]:
        """Return the boxes of ``"name; name | text | kind | skip | carries; ..."``.

        ``name`` is the tensor, of :func:`shapes`, that leaves the box. Without a text it is a
        submodule's, which then describes itself. ``at`` is a submodule that has all of them.

        Raises:
            KeyError: the module made no such tensor.
            ValueError: the module made them in another order.
        """
        boxes, order, before = [], [*self.shapes], 0
        for step in steps.split(";"):
            name, text, kind, skip, carries = [*map(str.strip, step.split("|")), *[""] * 4][:5]
            name = f"{at}.{name}".strip(".").replace(".:", ":")
            shape, now = self.shapes[name], order.index(name)
            if now < before:
                raise ValueError(f"The module makes {name!r} before {order[before]!r}, not after.")
            if not text:
                text, kind = describe(self.module.get_submodule(name.partition("#")[0]))
            boxes.append(Box(text, kind or "element", shape, int(skip or 0), carries))
            before = now
        return boxes


def draw(
    columns: Sequence[Column],
    links: Sequence[Link] = (),
    *,
    box: float = 1.75,
    room: float = ROOM,
    below: float = 0,
) -> Figure:
    """Draw columns of boxes; the axes are in inches, from the upper left corner.

    Args:
        columns: at most three, for a phone.
        links: arrows between them.
        box, room: inches of a box's width, and between two.
        below: inches left free under them.
    """
    pitch, titled = box + room, 0.4 if any(column.title for column in columns) else 0.06
    rows = max(c.top + len(c.boxes) for c in columns)
    width, height = len(columns) * pitch, titled + rows * (HIGH + GAP) + 0.1 + below
    figure = plt.figure(figsize=(width, height), layout="none")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    ax.axis("off")

    def place(column: int, row: int) -> tuple[float, float]:
        row += columns[column].top
        return (column + 0.5) * pitch, titled + row * (HIGH + GAP) + HIGH / 2

    def half(one: Box) -> float:
        return HIGH / 2 if one.kind == "join" else box / 2

    for i, column in enumerate(columns):
        (x, first), last = place(i, 0), len(column.boxes) - 1
        low, high = first - HIGH / 2 - titled + 0.05, place(i, last)[1] + HIGH / 2 + GAP + 0.05
        if column.inside:
            left, (near, y) = x - pitch / 2 + 0.03, place(*column.inside)
            _patch(ax, left, low, pitch - 0.06, high - low, "#F8FAFC", PALETTE["pale"], zorder=0)
            for side, end in ((-HIGH / 2, low + 0.05), (HIGH / 2, high - 0.05)):
                _line(ax, (near + box / 2, y + side), (left, end), color=PALETTE["line"], ls=":")
        _write(ax, x, low + 0.17, column.title, fontweight="bold")
        ends = [j for j, one in enumerate(column.boxes) if one]
        for j, following in zip(ends, [*ends[1:], None], strict=True):
            one, (x, y) = column.boxes[j], place(i, j)
            _box(ax, x, y, 2 * half(one), one)
            if one.skip:
                start, side = place(i, j - one.skip)[1] - HIGH / 2 - GAP / 2, x - box / 2 - 0.17
                _arrow(ax, (x, start), (side, start), (side, y), (x - half(one), y))
            if following or column.tail:
                out = y + HIGH / 2
                end = place(i, following)[1] - HIGH / 2 if following else out + GAP
                _arrow(ax, (x, out), (x, end))
                text = f"{one.carries} {_times(one.shape)}".strip()
                _write(ax, x + 0.08, out + GAP / 2 - 0.01, text, ha="left", fontsize=9)
    for link in links:
        (x, y), (u, v) = place(*link.source), place(*link.target)
        from_, to = (half(columns[c].boxes[r]) for c, r in (link.source, link.target))
        way = 1 if u > x else -1
        side, end = x + way * from_, u - way * to
        if link.shift is None:
            _arrow(ax, *([(side, y)] if y == v else [(x, y + HIGH / 2), (x, v)]), (end, v))
            _write(ax, (side + end) / 2, v + 0.14, link.label, fontsize=9)
        else:
            u += link.shift
            _arrow(ax, (side, y), (u, y), (u, v - HIGH / 2))
            out, ha = (-0.08, "right") if link.shift < 0 else (0.08, "left")
            _write(ax, u + out, v - (HIGH + GAP) / 2 - 0.01, link.label, ha=ha, fontsize=9)
    return figure


def _box(ax: Axes, x: float, y: float, width: float, box: Box) -> None:
    """Draw a box around its middle: dashed where it is optional."""
    if box.kind != "input":
        edge = COLOURS.get(box.kind, PALETTE["line"] if box.kind == "part" else INK)
        tint = [1 - 0.2 * (1 - c) for c in to_rgb(edge)] if box.kind in COLOURS else "white"
        style = {"ls": (0, (3, 2)) if "optional" in box.text else "-", "gid": "box", "zorder": 2}
        _patch(ax, x - width / 2, y - HIGH / 2, width, HIGH, tint, edge, **style)
    _write(ax, x, y, box.text, zorder=3, gid="inside")


def _patch(ax: Axes, x: float, y: float, w: float, h: float, face, edge: str, **style) -> None:
    shape = "circle,pad=0" if w == h else "round,pad=0,rounding_size=0.05"
    ax.add_patch(FancyBboxPatch((x, y), w, h, shape, fc=face, ec=edge, lw=1.2, **style))


def _line(ax: Axes, *points: tuple[float, float], **style) -> None:
    ax.plot(*zip(*points, strict=True), **{"color": INK, "lw": 1.2, "zorder": 1} | style)


def _arrow(ax: Axes, *points: tuple[float, float]) -> None:
    (*_, (x, y), (u, v)) = points
    length = max(abs(u - x), abs(v - y))
    back = (u - 0.05 * (u - x) / length, v - 0.05 * (v - y) / length)
    _line(ax, *points[:-1], back, solid_capstyle="butt", solid_joinstyle="round")
    head = {"width": 0, "headwidth": 6, "headlength": 6.5, "lw": 0, "fc": INK, "shrink": 0}
    ax.annotate("", (u, v), (x, y), arrowprops=head)


def _write(ax: Axes, x: float, y: float, text: str, **style) -> None:
    ax.text(
        x,
        y,
        text,
        **{"va": "center_baseline", "ha": "center", "fontsize": 10, "color": INK} | style,
    )


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[1:]))


@contextmanager
def _on_meta() -> Iterator[None]:
    """Build modules that take no memory and no time, and leave the random numbers alone."""
    with META:
        yield


def _mlp(block: nn.Module) -> str:
    activation = block.mlp.activation.__name__.upper()
    return f"norm2; mlp.fc1; mlp.fc2:in | {activation}; mlp.fc2; | + | join | 4"


def _msa(block: swins.Block) -> str:
    (high, wide), shift = block.window, max(block.shift)
    name = f"SW-MSA {high}×{wide}, shift {shift}" if shift else f"W-MSA {high}×{wide}"
    return f"{name} | attention"


@_on_meta()
def residual(dim: int = 64, side: int = 56) -> Figure:
    """Draw two 3×3 convolutions without a shortcut and with it (ResNet, 1512.03385, figure 2)."""
    layers = (nn.Conv2d(dim, dim, 3, padding=1), nn.BatchNorm2d(dim), nn.ReLU())
    both = nn.Sequential(*layers, *copy.deepcopy(layers))
    *steps, relu = Trace(both, 1, dim, side, side)(":in | x | input; 0; 1; 2; 3; 4; 5")
    plus = Box("+", "join", relu.shape, skip=len(steps) - 1)
    return draw([Column([*steps, None, relu], "plain"), Column([*steps, plus, relu], "residual")])


@_on_meta()
def vit(model: vits.VisionTransformer | None = None) -> Figure:
    """Draw a ViT (2010.11929, figure 1), and one of its encoder layers."""
    model = model or vits.vit_base_patch16_224()
    t = Trace(model, 1, model.patch_embed.proj.in_channels, *model.image_size)
    depth, patches = len(model.blocks), t.shapes["patch_embed"][1]
    whole = t(
        f":in | image | input; patch_embed.proj; patch_embed | to {patches} patches;"
        "cat() | prepend class token; blocks:in | + positions;"
        f"blocks | {depth} encoder layers | part; norm; head:in | take class token; head"
    )
    first = model.blocks[0]
    layer = t(f":in | x | input; norm1; attn; norm2:in | + | join | 2; {_mlp(first)}", "blocks.0")
    return draw([Column(whole), Column(layer, f"encoder layer, × {depth}", inside=(0, 5))])


@_on_meta()
def swin(model: swins.SwinTransformer | None = None, side: int = 224) -> Figure:
    """Draw a Swin Transformer (2103.14030, figure 3), and the first two blocks of a stage."""
    model = model or swins.swin_tiny_patch4_window7_224()
    t = Trace(model, 1, model.patch_embed.proj.in_channels, side, side)
    whole = t(":in | image | input; patch_embed.proj; patch_embed.norm")
    for i, stage in enumerate(model.layers):
        whole += t("downsample", f"layers.{i}") if i else []
        whole += t(f"layers.{i} | stage {i + 1}: {len(stage.blocks)} blocks | part")
    whole += t("norm; head.fc:in | mean over positions; head.fc")
    pair = t(":in | x | input", "layers.0.blocks")
    for i, block in enumerate(model.layers[0].blocks[:2]):
        steps = f"norm1; attn | {_msa(block)}; norm2:in | + | join | 2; norm2; mlp; | + | join | 2"
        pair += t(steps, f"layers.0.blocks.{i}")
    return draw([Column(whole), Column(pair, "two blocks of stage 1", inside=(0, 3))])


@_on_meta()
def three_blocks(
    bottleneck: resnet.Bottleneck | None = None,
    attention: swins.Block | None = None,
    conv: convnext.Block | None = None,
    side: int = 56,
) -> Figure:
    """Draw the blocks of ResNet, Swin and ConvNeXt (2201.03545, figure 4), without LayerScale."""
    bottleneck = bottleneck or resnet.Bottleneck(256, 64)
    attention = attention or swins.Block(96, 3)
    conv = conv or convnext.Block(96)
    r = Trace(bottleneck, 1, bottleneck.conv1.in_channels, side, side)(
        ":in | x | input; conv1; bn1; act; conv2; bn2; act#2; conv3; bn3;"
        "act#3:in | + | join | 8; act#3"
    )
    s = Trace(attention, 1, side, side, attention.mlp.fc1.in_features)(
        f":in | x | input; norm1; attn.qkv; attn.proj:in | {_msa(attention)}; attn.proj;"
        f"norm2:in | + | join | 4; {_mlp(attention)}"
    )
    c = Trace(conv, 1, conv.dwconv.in_channels, side, side)(
        ":in | x | input; dwconv; norm; pwconv1; act; pwconv2; | + | join | 5"
    )
    return draw([Column(r, "ResNet"), Column(s, "Swin"), Column(c, "ConvNeXt")], box=1.48)


@_on_meta()
def mamba(mixer: mambas.Mamba | None = None, length: int = 64) -> Figure:
    """Draw the Mamba block (2312.00752, figure 3), and what its scan selects by (algorithm 2)."""
    mixer = mixer or mambas.Mamba(96)
    t = Trace(mixer, 1, length, mixer.in_proj.in_features)
    choose = t(
        "split()[0] | x_proj | linear | | Δ; dt_proj | dt_proj | linear; softplus() | softplus"
    )
    begin = t(":in | x | input; chunk()[0] | in_proj | linear; conv1d; silu() | SiLU")
    end = t(
        "out_proj:in | selective scan | scan; out_proj:in | × | join; out_proj | out_proj | linear"
    )
    gate = t("silu()#2 | SiLU")
    columns = [
        Column(choose, top=4, tail=False),
        Column([*begin, None, None, *end]),
        Column(gate, top=4, tail=False),
    ]
    links = [
        Link((1, 3), (0, 0)),
        Link((0, 0), (1, 6), f"B, C {_times(t.shapes['split()[1]'])}", shift=-0.5),
        Link((0, 2), (1, 6), f"Δ {_times(t.shapes['softplus()'])}", shift=None),
        Link((1, 1), (2, 0), _times(t.shapes["chunk()[1]"])),
        Link((2, 0), (1, 7), shift=None),
    ]
    return draw(columns, links, box=1.36, room=0.8)


@_on_meta()
def grn(block: convnext.Block | None = None, side: int = 56) -> Figure:
    """Draw ConvNeXt V2's block (2301.00808, figure 5), and GRN's steps (section 4.2)."""
    block = block or convnext.Block(96, layer_scale=None, use_grn=True)
    t = Trace(block, 1, block.dwconv.in_channels, side, side)
    whole = t(":in | x | input; dwconv; norm; pwconv1; act; grn; pwconv2; | + | join | 6")
    steps = t(
        "grn:in | x | input; linalg_vector_norm() | norm over the map | norm | | G;"
        "div() | ÷ mean over channels | norm | | N; grn | x · N · γ + β; grn | + | join | 3"
    )
    inside = Column(steps, "GRN", top=2, inside=(0, 5))
    return draw([Column(whole, "ConvNeXt V2 block"), inside])


@_on_meta()
def fused_mbconv(
    separate: efficientnetv2.MBConv | None = None,
    fused: efficientnetv2.FusedMBConv | None = None,
    side: int = 56,
) -> Figure:
    """Draw MBConv, its squeeze-and-excitation, and Fused-MBConv (2104.00298, figure 2)."""
    separate = separate or efficientnetv2.MBConv(24, 24)
    fused = fused or efficientnetv2.FusedMBConv(24, 24)
    t = Trace(separate, 1, separate.conv_pw.in_channels, side, side)
    left = t(
        ":in | x | input; conv_pw; silu() | BatchNorm, SiLU | norm; conv_dw;"
        "silu()#2 | BatchNorm, SiLU | norm; se | SE | part; conv_pwl; bn3; | + | join | 7"
    )
    inside = t(
        "se:in | x | input; mean() | mean over the map | norm; se.conv_reduce; silu()#3 | SiLU;"
        "se.conv_expand; sigmoid() | sigmoid; se | × | join | 5"
    )
    x, wide, act, *end = Trace(fused, 1, fused.conv_exp.in_channels, side, side)(
        ":in | x | input; conv_exp; silu() | BatchNorm, SiLU | norm; conv_pwl; bn2; | + | join | 7"
    )
    columns = [
        Column(left, "MBConv"),
        Column(inside, "inside SE", top=1, inside=(0, 5)),
        Column([x, None, None, wide, act, None, *end], "Fused-MBConv"),
    ]
    return draw(columns, box=1.58, room=0.58)


def covered(conv: nn.Conv2d, size: int) -> list[list[int]]:
    """Ask the gradient which of a row's pixels each window of a convolution covers.

    Args:
        conv: from one channel to one; its weights become ones.
        size: side of the picture.

    Returns:
        For each output position in the top row, the columns that it depends on.
    """
    picture = torch.zeros(1, 1, size, size, requires_grad=True)
    nn.init.ones_(conv.weight)
    found = []
    for value in conv(picture)[0, 0, 0]:
        (slope,) = torch.autograd.grad(value, picture, retain_graph=True)
        found.append(slope[0, 0].sum(0).nonzero().flatten().tolist())
    return found


def windows(found: Mapping[str, Sequence[Sequence[int]]], size: int) -> Figure:
    """Draw which pixels of a row the windows of some convolutions cover, padding on each side.

    Args:
        found: of :func:`covered`, for each convolution; at the row's ends a window has fewer pixels
            than its width, and the rest is padding.
        size: pixels in the row.
    """
    figure, axes = plt.subplots(len(found), 1, figsize=(7, 1.95 * len(found)), squeeze=False)
    colours = [PALETTE[name] for name in ("blue", "orange", "green", "pink")]
    for ax, (name, spans) in zip(axes.flat, found.items(), strict=True):
        wide = max(map(len, spans))
        for pixel in range(-1, size + 1):
            inside = 0 <= pixel < size
            style = {"fc": PALETTE["pale"]} if inside else {"fc": "white", "ls": ":"}
            ax.add_patch(Rectangle((pixel - 0.5, 0), 1, 0.8, ec=INK, **style))
            _write(ax, pixel, 0.4, str(pixel) if inside else "pad", va="center")
        for i, span in enumerate(spans):
            first = span[-1] - wide + 1 if span[0] == 0 and span[-1] < size - 1 else span[0]
            level, colour = -0.35 - 0.32 * (i % 2), colours[i % len(colours)]
            ends = (first - 0.4, level), (first + wide - 0.6, level)
            _line(ax, *ends, color=colour, lw=5, solid_capstyle="butt")
            ax.plot(first + (wide - 1) / 2, level, "o", color="white", ms=4, zorder=4)
        ax.set(xlim=(-1.7, size + 0.7), ylim=(-0.95, 0.95), title=name)
        ax.axis("off")
    return figure


@_on_meta()
def uib(block: uibs.UniversalInvertedBottleneck | None = None, side: int = 14) -> Figure:
    """Draw MobileNetV4's universal block (2404.10518, figure 4), without norms, and its settings.

    Raises:
        ValueError: the block has not both depthwise convolutions.
    """
    block = block or uibs.UniversalInvertedBottleneck(64, 64)
    convs = {n: part for n, part in block.named_modules() if isinstance(part, nn.Conv2d)}
    notes = (" (optional)", ", expand", " (optional)", ", project")
    steps = [":in | x | input"]
    for (name, conv), note in zip(convs.items(), notes, strict=True):
        steps.append(f"{name} | {describe(conv)[0]}{note} | conv")
    steps += ["| + | join | 4"] * block.has_skip
    t, below = Trace(block, 1, next(iter(convs.values())).in_channels, side, side), 1.95
    figure = draw([Column(t("; ".join(steps)))], box=2.1, room=2.7, below=below)
    ax, y = figure.axes[0], figure.get_size_inches()[1] - below
    for name, (before, between) in uibs.KINDS.items():
        y += 0.41
        title = {"ConvNext": "ConvNext-like", "IB": "inverted bottleneck"}.get(name, name)
        _write(ax, 0.1, y, title, ha="left", fontweight="bold")
        _arrow(ax, (1.75, y), (4.72, y))
        for i, kept in enumerate((before, True, between, True)):
            if kept:
                _box(ax, 2.1 + 0.72 * i, y, 0.58, Box(("dw", "1×1")[i % 2], "conv"))
    return figure
