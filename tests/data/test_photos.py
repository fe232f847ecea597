"""Photographs open from the installed packages, with the network cut."""

import socket

import numpy as np
import pytest
import torch

from modarch_utils.data import photos


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a photograph asked for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", photos.names())
def test_every_photograph_opens(name):
    photo = photos.load(name)
    assert photo.mode == "RGB" and min(photo.size) >= 300
    assert np.asarray(photo).std() > 20


def test_the_cat_is_there():
    assert photos.load("chelsea").size == (451, 300)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no photograph 'dog'; choose one of astronaut, chelsea"):
        photos.load("dog")


def test_disparity_matches_the_pair():
    """Moved by its disparity, the left picture is like the right one; moved back, it is not."""
    pair = photos.stereo()
    left, right = (np.asarray(image).astype(float).mean(2) for image in pair[:2])
    assert pair.disparity.shape == left.shape == right.shape
    rows, columns = np.nonzero(np.isfinite(pair.disparity))
    moved = pair.disparity[rows, columns].round().astype(int)

    def error(sign: int) -> float:
        there = columns + sign * moved
        ok = (there >= 0) & (there < left.shape[1])
        return np.abs(left[rows[ok], columns[ok]] - right[rows[ok], there[ok]]).mean()

    assert error(-1) < 0.5 * error(+1)


def test_digits():
    images, labels = photos.digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.uint8
    assert images.max() == 255 and labels.bincount().min() > 170
