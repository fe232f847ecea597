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


def test_digits():
    images, labels = photos.digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.uint8
    assert images.max() == 255 and labels.bincount().min() > 170
