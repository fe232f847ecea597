"""Crops show what they say they show, and colours change as they should."""

from colorsys import rgb_to_hsv
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modarch_utils.training.crops import Crops, multi_crop, random_crops, recolour

PLAIN = Crops(jitter=0.0, grey=0.0)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=6, side=32):
    return torch.randint(0, 256, (n, 3, side, side), generator=rng(1), dtype=torch.uint8)


def coordinates(n=500, side=40):
    """Images whose pixels say where they are: channel 0 the column, channel 1 the row, 0 to 1."""
    at = (torch.arange(side) + 0.5) / side
    across, down = at.expand(side, side), at[:, None].expand(side, side)
    picture = torch.stack((across, down, across))
    return picture.expand(n, -1, -1, -1)


def test_shapes_types_and_range():
    views = multi_crop(images(), Crops(global_size=24, local_size=12, local_crops=3), rng())
    assert [tuple(v.shape) for v in views] == [(2, 6, 3, 24, 24), (3, 6, 3, 12, 12)]
    for view in views:
        assert view.dtype == torch.float32
        assert view.min() >= -1 and view.max() <= 1
    assert multi_crop(images(), Crops(local_crops=0), rng())[1].shape == (0, 6, 3, 32, 32)


def test_the_generator_decides_everything():
    torch.manual_seed(0)
    first = multi_crop(images(), Crops(), rng(3))
    torch.manual_seed(1)
    for a, b in zip(first, multi_crop(images(), Crops(), rng(3)), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], multi_crop(images(), Crops(), rng(4))[0])


def test_the_whole_image_is_the_identity_or_its_mirror():
    everything = replace(PLAIN, global_size=32, global_scale=(1.0, 1.0), ratio=(1.0, 1.0))
    source = images(40)
    views, _ = multi_crop(source, everything, rng())
    expected = source.float() / 127.5 - 1
    flipped = 0
    for view in views:
        for i, crop in enumerate(view):
            straight = torch.allclose(crop, expected[i], atol=1e-4)
            mirrored = torch.allclose(crop, expected[i].flip(2), atol=1e-4)
            assert straight != mirrored
            flipped += mirrored
    assert 25 < flipped < 55  # of 80


def test_crops_cover_what_the_settings_say():
    crops = random_crops(coordinates(), 2, 20, (0.1, 0.5), (3 / 4, 4 / 3), rng()).flatten(0, 1)
    left, right = crops[:, 0, :, 0].mean(1), crops[:, 0, :, -1].mean(1)
    top, bottom = crops[:, 1, 0].mean(1), crops[:, 1, -1].mean(1)
    # Between the centres of the outer pixels lies 19/20 of a crop.
    width, height = (right - left).abs() * 20 / 19, (bottom - top) * 20 / 19
    assert (height > 0).all()
    area, ratio = width * height, width / height
    assert 0.09 < area.min() < 0.13 and 0.46 < area.max() < 0.53
    assert area.mean() == pytest.approx(0.3, abs=0.02)
    assert 0.73 < ratio.min() < 0.79 and 1.25 < ratio.max() < 1.37
    middle = (left + right) / 2
    assert middle.mean() == pytest.approx(0.5, abs=0.03)
    assert middle.min() < 0.25 and middle.max() > 0.75
    assert ((right < left).float().mean() - 0.5).abs() < 0.06
    assert crops.min() > -1e-6 and crops.max() < 1 + 1e-6


@given(st.integers(0, 2**31), st.floats(0.05, 0.7), st.floats(0.75, 1.33), st.integers(8, 40))
def test_a_crop_is_an_upright_window_of_the_size_asked_for(seed, area, ratio, size):
    scales, ratios = (area, area), (ratio, ratio)
    crops = random_crops(coordinates(4), 2, size, scales, ratios, rng(seed)).flatten(0, 1)
    for channel, axis, long in ((0, 2, (area * ratio) ** 0.5), (1, 1, (area / ratio) ** 0.5)):
        places = crops[:, channel]
        assert places.diff(dim=3 - axis).abs().max() < 1e-5
        # Between the centres of the outer pixels; half a pixel of the image may be its border.
        seen = (places.amax((1, 2)) - places.amin((1, 2))) * size / (size - 1)
        assert (seen - long).abs().max() < 0.03
        steps = places.diff(dim=axis).abs()
        assert steps.max() < long / size * 1.001


def test_crops_of_an_image_differ_and_belong_to_it():
    flat = (torch.arange(6) * 40).to(torch.uint8).view(6, 1, 1, 1).expand(6, 3, 32, 32)
    for view in multi_crop(flat, PLAIN, rng()):
        expected = (torch.arange(6) * 40 / 127.5 - 1).view(1, 6, 1, 1, 1).expand_as(view)
        torch.testing.assert_close(view, expected, atol=1e-5, rtol=0)
    views, _ = multi_crop(images(), PLAIN, rng())
    assert not torch.allclose(views[0], views[1], atol=0.1)


def colour(rgb, n=200):
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(n, 3, 2, 2)


def only(**one):
    none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grey": 0.0}
    return Crops(**(none | {"jitter": 1.0} | one))


def luma(x):
    return (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)


def test_no_change_is_no_change():
    x = images().float() / 255
    torch.testing.assert_close(recolour(x, only(), rng()), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(recolour(x, PLAIN, rng()), x, atol=1e-5, rtol=0)


def test_brightness_is_a_factor():
    out = recolour(colour((0.2, 0.4, 0.6)), only(brightness=0.4), rng())
    factor = out[:, 0, 0, 0] / 0.2
    for channel, value in enumerate((0.2, 0.4, 0.6)):
        torch.testing.assert_close(out[:, channel, 0, 0], value * factor)
    assert 0.6 <= factor.min() < 0.65 and 1.35 < factor.max() <= 1.4


def test_contrast_keeps_the_mean_and_scales_what_is_left():
    x = 0.4 + 0.2 * images(200).float() / 255
    out = recolour(x, only(contrast=0.4), rng())
    torch.testing.assert_close(luma(out).mean((1, 2)), luma(x).mean((1, 2)))
    factor = out.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.59 < factor.min() < 0.7 and 1.3 < factor.max() < 1.41


@pytest.mark.parametrize("how", [{"saturation": 0.4}, {"hue": 0.5}, {"grey": 1.0}])
def test_saturation_hue_and_grey_keep_brightness(how):
    x = 0.4 + 0.2 * images(50).float() / 255
    torch.testing.assert_close(luma(recolour(x, only(**how), rng())), luma(x))


def test_hue_reaches_every_colour():
    out = recolour(colour((0.5, 0.35, 0.35)), only(hue=0.5), rng())[:, :, 0, 0]
    hues = torch.tensor([rgb_to_hsv(*rgb)[0] for rgb in out.tolist()])
    assert torch.histc(hues, 6, 0, 1).min() > 10
    near = recolour(colour((0.5, 0.35, 0.35)), only(hue=0.05), rng())[:, :, 0, 0]
    assert (near[:, 0] > near[:, 1:].max(1).values).all()  # still a red


def test_grey_has_no_colour_and_takes_its_share():
    out = recolour(images(500).float() / 255, only(grey=0.2), rng())
    grey = (out.amax(1) - out.amin(1)).amax((1, 2)) < 1e-4
    assert 70 < grey.sum() < 130
    x = images(500).float() / 255
    kept = recolour(x, only(hue=0.4, jitter=0.8), rng())
    same = (kept - x).abs().amax((1, 2, 3)) < 1e-4
    assert 70 < same.sum() < 130


@pytest.mark.parametrize("bad", [images().float(), images()[0], images()[:, :1]])
def test_wrong_images(bad):
    with pytest.raises(ValueError, match="uint8 images"):
        multi_crop(bad, Crops(), rng())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_scale": (0.5, 1.2)}, "shares"),
        ({"local_scale": (0.0, 0.2)}, "shares"),
        ({"hue": 0.6}, "hue"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        Crops(**options)
