"""The course's figures: one palette, one style, and alternative text for every picture."""

import base64
import html
import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image, features
from scipy.optimize import isotonic_regression

PALETTE = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "pink": "#CC79A7",
    "amber": "#E69F00",
    "sky": "#56B4E9",
    "grey": "#6B7280",
    "ink": "#1F2937",
    "line": "#9CA3AF",
    "pale": "#CBD5E1",
}
"""Okabe and Ito's colours, which people with any colour vision can tell apart, and greys."""
INCH_PX = 96
COLUMN_PX = 736
"""Width of the site's text, CSS pixels."""
MOVING_SECONDS = 5
# Method 6 or quality 100 take ten times as long for one or two per cent.
EXACT = {"lossless": True, "quality": 75, "method": 4}
EXACT_BYTES = 32_000


def use_style(dpi: int = 144) -> None:
    """Set the course's look for every figure that follows.

    Args:
        dpi: pixels of a stored figure's inch, of which a page shows at most 96; fewer where a
            chapter has many pictures.
    """
    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": dpi,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": plt.cycler(color=list(PALETTE.values())[:6]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "grid.color": "#E5E7EB",
            "grid.linewidth": 0.8,
            "lines.linewidth": 2,
            "font.size": 10,
            "legend.frameon": False,
        }
    )


def show(figure: Figure, *, alt: str, caption: str) -> None:
    """Display a figure in a notebook with its alternative text and a caption under it.

    It is an HTML image, as JupyterLab gives a bare PNG no alternative text. An inch of the figure
    is CSS's inch; a narrower page makes it smaller, and none enlarges its pixels.

    Args:
        figure: drawn figure; it is closed afterwards, so that Jupyter does not show it twice.
        alt: what a reader who cannot see the figure needs to know.
        caption: one or two sentences that make sense without the text around them.

    Raises:
        ValueError: ``alt`` or ``caption`` is empty.
    """
    _check(alt, caption)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    _display(
        *_coded(Image.open(buffer).convert("RGB")),
        round(_inch_px(figure) * figure.get_size_inches()[0]),
        alt,
        caption,
        {"text_px": text_px(figure)},
    )


def text_px(figure: Figure) -> float | None:
    """Return the size of a drawn figure's smallest text in CSS pixels, on the site's column.

    None for a figure without text. A notebook keeps it beside the figure, where a rule reads it.
    """
    texts = (t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip())
    points = min((text.get_fontsize() for text in texts), default=None)
    inch = min(_inch_px(figure), COLUMN_PX / figure.get_size_inches()[0])
    return None if points is None else round(float(points / 72 * inch), 2)


def _inch_px(figure: Figure) -> float:
    dpi = plt.rcParams["savefig.dpi"]
    return min(INCH_PX, figure.dpi if dpi == "figure" else dpi)


def show_animation(
    frames: Sequence[torch.Tensor], *, seconds: float, alt: str, caption: str, zoom: int = 1
) -> None:
    """Display pictures one after the other, as often as five seconds allow; the last one stays.

    What moves beside a text for longer needs a button that stops it (WCAG 2.2.2).

    Args:
        frames: ``(3, H, W)`` each, uint8 or floats in [0, 1].
        seconds: how long each of them is seen; the last one three times as long.
        alt: what a reader who cannot see it needs to know.
        caption: one or two sentences that make sense without the text around them.
        zoom: screen pixels along the side of a pixel.

    Raises:
        ValueError: no frames, more than five seconds of them, or ``alt`` or ``caption`` is empty.
    """
    _check(alt, caption)
    moving = seconds * (len(frames) - 1)
    if not len(frames):
        raise ValueError("An animation needs at least one frame.")
    if moving > MOVING_SECONDS:
        raise ValueError(
            f"An animation may move for {MOVING_SECONDS} seconds, but this one does for "
            f"{moving:g}: give fewer frames, or less time for each."
        )
    arrays = (to_image(frame) for frame in frames)
    arrays = [a if a.dtype == np.uint8 else (255 * a).round().astype(np.uint8) for a in arrays]
    first, *others = (Image.fromarray(a.repeat(zoom, axis=0).repeat(zoom, axis=1)) for a in arrays)
    lengths = [round(1000 * seconds)] * len(arrays)
    lengths[-1] *= 3
    # The pause after the last round is no movement.
    rounds = (MOVING_SECONDS * 1000 + lengths[-1]) // sum(lengths)
    film = {"save_all": True, "append_images": others, "duration": lengths, "loop": rounds}
    _display("webp", _bytes(first, "webp", **EXACT, **film), first.width, alt, caption, {})


def _check(alt: str, caption: str) -> None:
    if not alt.strip() or not caption.strip():
        raise ValueError("A figure needs alternative text and a caption; give both.")


def _coded(picture: Image.Image) -> tuple[str, bytes]:
    """The picture's format and bytes: exact, or with errors no eye sees where that saves many."""
    exact = _bytes(picture, "webp", **EXACT)
    if len(exact) <= EXACT_BYTES or not features.check("avif"):
        return "webp", exact
    close = _bytes(picture, "avif", quality=90, subsampling="4:4:4")
    return ("avif", close) if len(close) < 0.7 * len(exact) else ("webp", exact)


def _bytes(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _display(kind: str, content: bytes, width: int, alt: str, caption: str, metadata: dict) -> None:
    from IPython.display import display

    image = (
        f'<img alt="{html.escape(alt)}" width="{width}" style="max-width:100%;height:auto" '
        f'src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'
    )
    display(
        {"text/html": image, "text/plain": f"Figure: {caption}"},
        metadata={"text/html": metadata},
        raw=True,
    )
    display({"text/markdown": f"*{caption}*", "text/plain": caption}, raw=True)


def to_image(image: torch.Tensor) -> np.ndarray:
    """Turn ``(3, H, W)`` or ``(1, H, W)`` into an array that ``imshow`` draws, ``(H, W, 3)``.

    uint8 images stay as they are; floats are taken to lie in [0, 1] and are clipped to it.
    """
    array = image.detach().cpu()
    array = array.permute(1, 2, 0).expand(-1, -1, 3).numpy()
    return array if array.dtype == np.uint8 else array.clip(0, 1)


def image_grid(
    images: torch.Tensor,
    captions: Sequence[str] | None = None,
    ncols: int = 8,
    size: float = 1.2,
) -> Figure:
    """Draw images in rows.

    Args:
        images: ``(N, C, H, W)``, uint8 or floats in [0, 1]; C is 1 or 3.
        captions: one short text under each image.
        ncols: images in a row.
        size: inches of one image.

    Raises:
        ValueError: no images, another shape, or not one caption for each image.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise ValueError(
            f"A grid needs images (N, C, H, W) with C 1 or 3 and N at least 1, "
            f"but got {tuple(images.shape)}."
        )
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(images)} images need as many captions, not {len(captions)}.")
    nrows = -(-len(images) // ncols)
    height = size * (1.25 if captions else 1.03) * nrows
    figure, axes = plt.subplots(nrows, ncols, figsize=(size * ncols, height), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for i, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        axis.imshow(to_image(image), interpolation="nearest" if image.shape[-1] < 96 else None)
        if captions is not None:
            axis.set_title(captions[i], fontsize=8, fontweight="normal", loc="center")
    return figure


def strip(rows: Mapping[str, torch.Tensor], columns: Sequence[str], *, size: float = 1.5) -> Figure:
    """Draw pictures in named rows under named columns.

    Args:
        rows: names, each with one image (3 or 1, H, W) for each column.
        columns: their titles.
        size: inches for a picture.

    Raises:
        ValueError: no rows, or a row with more or fewer images than there are columns.
    """
    if not rows:
        raise ValueError("A strip of pictures needs at least one row.")
    for name, images in rows.items():
        if len(images) != len(columns):
            raise ValueError(f"Row {name!r} has {len(images)} images for {len(columns)} columns.")
    margin = 1.3, 0.15 + 0.2 * max(title.count("\n") + 1 for title in columns)
    figure, axes = plt.subplots(
        len(rows),
        len(columns),
        figsize=(size * len(columns) + margin[0], size * len(rows) + margin[1]),
        squeeze=False,
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(to_image(image))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9, fontweight="normal", loc="center")
    return figure


def plain_numbers(axis: Axis) -> None:
    """Write 0.5, 1, 2, 5, 10 on a logarithmic axis, not powers of ten; its limits must be set."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1, 3)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def steps(
    ax: Axes,
    labels: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float] | None = None,
    *,
    kept: Sequence[bool] | None = None,
    color: str = PALETTE["blue"],
) -> None:
    """Draw a ladder of named steps from top to bottom, with error bars.

    Args:
        ax: axes to draw on.
        labels: names of the steps, first at the top.
        mean: one value for each step; NaN leaves a gap.
        std: standard deviations.
        kept: False for a step that was tried and dropped: a hollow mark beside the line.
        color: of the line.
    """
    y, mean = np.arange(len(labels)), np.asarray(mean, float)
    std = None if std is None else np.asarray(std, float)
    on = np.ones(len(y), bool) if kept is None else np.asarray(kept, bool)
    for part, style in ((on, {"lw": 1.3}), (~on, {"ls": "", "elinewidth": 1.3, "mfc": "white"})):
        ax.errorbar(
            mean[part], y[part], None, None if std is None else std[part],
            marker="o", color=color, capsize=2, markersize=5, **style,
        )  # fmt: skip
    ax.set_yticks(y, labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)


def apart(values: Sequence[float], gap: float) -> list[float]:
    """Return places for labels: as near to ``values`` as may be, at least ``gap`` apart.

    The order is kept. Least squares: labels that would overlap form a block, centred on its values.
    """
    order = np.argsort(values, kind="stable")
    before = gap * np.arange(len(values))  # the room taken by the labels before each one
    places = np.empty(len(values))
    places[order] = before + isotonic_regression(np.asarray(values)[order] - before).x
    return places.tolist()
