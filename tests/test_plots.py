"""Figures carry alternative text; grids have the size they should."""

import base64
import io
import re
from itertools import pairwise

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

from modarch_utils import plots
from modarch_utils.data import scenes


@pytest.fixture(autouse=True)
def close_figures():
    with plt.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def displayed(monkeypatch):
    calls = []

    def display(data, metadata=None, raw=False):
        assert raw  # otherwise the dictionary itself would be shown
        calls.append((data, metadata))

    monkeypatch.setattr(IPython.display, "display", display)
    return calls


def picture(page):
    """The picture in an output's HTML, and the attributes of its tag."""
    tag = BeautifulSoup(page, "html.parser").img
    kind, data = re.fullmatch("data:image/(webp|avif);base64,(.*)", tag["src"]).groups()
    shown = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert shown.format == kind.upper()
    return shown, tag.attrs


def test_show_sends_an_image_with_its_alternative_text(displayed):
    figure = plt.figure(figsize=(5, 2))
    plots.show(figure, alt='A "line" that rises: a < b & c.', caption="It rises.")
    (data, metadata), (caption, _) = displayed
    assert set(data) == {"text/html", "text/plain"}  # the picture's bytes stand once
    assert data["text/plain"] == "Figure: It rises."
    tag = picture(data["text/html"])[1]
    assert tag["alt"] == 'A "line" that rises: a < b & c.'
    assert tag["width"] == "480" and "max-width:100%" in tag["style"]
    assert metadata == {"text/html": {"text_px": None}}
    assert caption["text/markdown"] == "*It rises.*"
    assert not plt.fignum_exists(figure.number)  # Jupyter would show it a second time


def kept(figure, displayed):
    """How a figure is drawn, and how a notebook shows it: two arrays, and the two files' bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # which moves a little each time that it draws
    figure.savefig(file := io.BytesIO(), format="png")
    plots.show(figure, alt="Colours.", caption="Colours.")
    page = displayed[0][0]["text/html"]
    shown, _ = picture(page)
    arrays = (np.asarray(image.convert("RGB")).astype(int) for image in (Image.open(file), shown))
    return *arrays, len(file.getvalue()), len(page), shown.format


def test_a_colour_bar_keeps_every_colour(displayed):
    figure, axis = plt.subplots()
    figure.colorbar(axis.imshow(np.random.default_rng(0).random((16, 16)), cmap="viridis"))
    drawn, shown, before, after, _ = kept(figure, displayed)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 256
    np.testing.assert_array_equal(shown, drawn)
    assert after < 0.9 * before


def test_many_pictures_look_the_same_in_fewer_bytes(displayed):
    plots.use_style(72)
    images = scenes.render(24, 64, seed=3).images
    rows = dict(zip("abc", images.split(8), strict=True))
    drawn, shown, before, after, kind = kept(plots.strip(rows, "12345678"), displayed)
    assert kind == "AVIF" and after < before / 2
    error = shown - drawn
    assert 10 * np.log10(255**2 / (error**2).mean()) > 42  # decibels; 256 colours: about 33
    assert abs(error.mean((0, 1))).max() < 1  # of 255: no hue is shifted


def test_without_a_coder_for_pictures_they_are_exact(displayed, monkeypatch):
    monkeypatch.setattr(plots.features, "check", lambda name: False)
    figure = plots.strip({"noise": torch.rand(4, 3, 64, 64)}, "abcd")
    drawn, shown, *_, kind = kept(figure, displayed)
    assert kind == "WEBP"
    np.testing.assert_array_equal(shown, drawn)


@pytest.mark.parametrize(
    ("inches", "points", "px"),
    [(4, 9, 12.0), (736 / 96, 6.75, 9.0), (2 * 736 / 96, 9, 6.0)],  # the last one is halved
)
def test_the_smallest_text_is_measured_on_the_sites_column(displayed, inches, points, px):
    plots.use_style()
    figure = plt.figure(figsize=(inches, 2))
    figure.text(0.5, 0.5, "small", fontsize=points)
    figure.text(0.5, 0.8, "large", fontsize=20)
    figure.text(0.5, 0.2, " ", fontsize=1)
    figure.text(0.5, 0.2, "hidden", fontsize=1, visible=False)
    plots.show(figure, alt="Words.", caption="Words.")
    assert displayed[0][1]["text/html"]["text_px"] == px


def test_an_animation_shows_its_frames_in_order_and_stops(displayed):
    colours = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    frames = [colour[:, None, None].expand(3, 4, 5) for colour in colours]
    plots.show_animation(frames, seconds=0.2, alt="Red, green, blue.", caption="Lights.", zoom=2)
    (data, _), (caption, _) = displayed
    assert caption["text/markdown"] == "*Lights.*"
    film, tag = picture(data["text/html"])
    assert tag["alt"] == "Red, green, blue." and tag["width"] == "10"
    assert film.n_frames == 3 and film.size == (10, 8)
    lengths = []
    for i, colour in enumerate(colours):
        film.seek(i)
        film.load()
        lengths.append(film.info["duration"])
        shown = torch.from_numpy(np.array(film.convert("RGB"))).float() / 255
        assert (shown == colour).all()
    assert lengths == [200, 200, 600]
    assert film.info["loop"] == 5  # 4 rounds of 1 s, and one of 0.4 s to its last frame


def test_a_page_does_not_enlarge_pixels(displayed):
    for dpi, width in ((72, "360"), (144, "480")):
        plots.use_style(dpi)
        plots.show(plt.figure(figsize=(5, 2)), alt="Empty.", caption="Empty.")
        shown, tag = picture(displayed[-2][0]["text/html"])
        assert tag["width"] == width and shown.width == 5 * dpi


def test_a_long_animation_plays_once(displayed):
    frames = torch.rand(6, 3, 4, 4)
    plots.show_animation(list(frames), seconds=0.7, alt="Noise.", caption="Noise.")
    assert picture(displayed[0][0]["text/html"])[0].info["loop"] == 1
    with pytest.raises(ValueError, match="may move for 5 seconds, but this one does for 5.5"):
        plots.show_animation(list(frames), seconds=1.1, alt="Noise.", caption="Noise.")


TWO = torch.zeros(2, 3, 8, 8)
LINE = {"alt": "A line.", "caption": "A line."}
SHOWN = "alternative text and a caption"
GRID = "A grid needs images .* but got"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.show(plt.figure(), alt="", caption="It rises."), SHOWN),
        (lambda: plots.show(plt.figure(), alt="A line.", caption=" "), SHOWN),
        (lambda: plots.show(plt.figure(), alt=" \n", caption=""), SHOWN),
        (lambda: plots.show_animation([], seconds=0.2, **LINE), "at least one frame"),
        (lambda: plots.show_animation(TWO, seconds=0.2, **LINE | {"alt": ""}), "alternative text"),
        (lambda: plots.image_grid(TWO[:0]), GRID),
        (lambda: plots.image_grid(TWO[0]), GRID),
        (lambda: plots.image_grid(torch.zeros(2, 4, 8, 8)), GRID),
        (lambda: plots.image_grid(TWO, captions=["one"]), "2 images need as many captions, not 1"),
        (lambda: plots.strip({}, ["one"]), "at least one row"),
        (lambda: plots.strip({"a": TWO}, ["one"]), "Row 'a' has 2 images for 1 columns"),
    ],
)
def test_what_cannot_be_shown(displayed, call, words):
    with pytest.raises(ValueError, match=words):
        call()
    assert displayed == []


def test_image_grid():
    images = torch.rand(10, 3, 8, 12)
    figure = plots.image_grid(images, [f"n{i}" for i in range(10)], ncols=4, size=1.5)
    assert len(figure.axes) == 12
    drawn = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in drawn] == [f"n{i}" for i in range(10)]
    for axis, image in zip(drawn, images, strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), image.permute(1, 2, 0))
    assert not any(axis.axison for axis in figure.axes)
    assert figure.get_size_inches() == pytest.approx([6, 1.5 * 1.25 * 3])


def test_image_grid_without_words_is_lower():
    images = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    figure = plots.image_grid(images, size=1)
    assert figure.get_size_inches() == pytest.approx([8, 1.03])


def test_strip():
    rows = {"first": torch.rand(2, 3, 8, 8), "second": torch.rand(2, 3, 8, 8)}
    figure = plots.strip(rows, ["left", "right\nside"], size=1)
    assert [axis.get_title() for axis in figure.axes] == ["left", "right\nside", "", ""]
    assert [axis.get_ylabel() for axis in figure.axes] == ["first", "", "second", ""]
    shown = [axis.images[0].get_array() for axis in figure.axes]
    for array, image in zip(shown, torch.cat(list(rows.values())), strict=True):
        np.testing.assert_array_equal(array, image.permute(1, 2, 0))
    assert figure.get_size_inches() == pytest.approx([3.3, 2.55])
    assert len(plots.strip({"only": torch.rand(1, 3, 8, 8)}, ["one"]).axes) == 1


@pytest.mark.parametrize(
    "limits, expected",
    [((0.4, 6), ["0.5", "1", "2", "5"]), ((1, 300), ["1", "3", "10", "30", "100", "300"])],
)
def test_plain_numbers(limits, expected):
    figure, axis = plt.subplots()
    axis.set(xscale="log", xlim=limits)
    plots.plain_numbers(axis.xaxis)
    figure.canvas.draw()
    low, high = limits
    shown = [t for t in axis.get_xticklabels() if low <= t.get_position()[0] <= high]
    assert [t.get_text() for t in shown] == expected
    assert not any(t.get_text() for t in axis.get_xticklabels(minor=True))


def test_to_image():
    floats = torch.tensor([-1.0, 0.25, 2.0]).view(3, 1, 1).requires_grad_()
    assert plots.to_image(floats).tolist() == [[[0, 0.25, 1]]]
    grey = torch.arange(6, dtype=torch.uint8).view(1, 2, 3)
    array = plots.to_image(grey)
    assert array.shape == (2, 3, 3) and array.dtype == np.uint8
    assert (array == np.arange(6).reshape(2, 3, 1)).all()


def test_steps_run_from_top_to_bottom():
    _, ax = plt.subplots()
    plots.steps(ax, ["first", "second", "third"], [1, float("nan"), 3], [0.1, 0.1, 0.1])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second", "third"]
    bottom, top = ax.get_ylim()
    assert bottom > top
    line = ax.containers[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata().astype(float), [1, np.nan, 3])


def test_labels_are_apart_in_order_and_near():
    assert plots.apart([3, 1, 9], 1) == [3, 1, 9]
    assert plots.apart([5, 5.5], 1) == [4.75, 5.75]
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.uniform(0, 5, size=8)
        places = np.array(plots.apart(values, 0.5))
        order = np.argsort(values)
        assert all(b - a >= 0.5 - 1e-9 for a, b in pairwise(places[order]))
        assert places.mean() == pytest.approx(values.mean())
