"""Pencil drawings of pictures."""

import torch

from modarch_utils.data import scenes
from recipes.sketch import pencil


def test_an_even_bright_picture_leaves_the_paper_white():
    assert (pencil(torch.full((1, 3, 32, 32), 230, dtype=torch.uint8)) == 255).all()


def test_an_edge_becomes_a_line_on_its_dark_side():
    image = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    image[..., 16:] = 180
    drawn = pencil(image)[0, 0].float()
    assert drawn[:, 16].max() < 230  # beside the edge
    assert drawn[:, :14].min() == 255 and drawn[:, 22:].min() == 255


def test_darkness_becomes_strokes_first_one_way_then_crossed():
    def drawn(value):
        return pencil(torch.full((1, 3, 32, 32), value, dtype=torch.uint8))[0, 0, 8:24, 8:24]

    half, dark = drawn(120), drawn(40)
    # Strokes run along the diagonal: one pixel down and one to the left is the same stroke.
    assert torch.equal(half[1:, :-1], half[:-1, 1:]) and half.float().std() > 10
    assert not torch.equal(dark[1:, :-1], dark[:-1, 1:])
    assert dark.float().mean() < half.float().mean()


def test_it_is_grey_and_each_picture_is_drawn_by_itself():
    images = scenes.render(4, 32, seed=3, framing="close").images
    drawn = pencil(images)
    assert drawn.shape == images.shape and drawn.dtype == torch.uint8
    assert torch.equal(drawn[:, 0], drawn[:, 1]) and torch.equal(drawn[:, 0], drawn[:, 2])
    assert torch.equal(pencil(images[2:3]), drawn[2:3])
