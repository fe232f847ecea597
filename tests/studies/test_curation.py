"""Curation: the web is uneven, near-copies are found, neighbours are fetched."""

from dataclasses import replace

import pytest
import torch

from modarch_utils.studies import curation

SMALL = replace(curation.Web(), drawn=600, distinct=100, pictures=160)


def test_the_web_is_uneven_and_reproducible():
    images, factors = curation.web(32, 5, SMALL)
    assert images.shape == (160, 3, 32, 32) and len(factors) == 160
    counts = factors.shape.bincount(minlength=8)
    assert counts[0] > 3 * counts[4:].max()
    again, _ = curation.web(32, 5, SMALL)
    assert torch.equal(images, again)
    other, _ = curation.web(32, 6, SMALL)
    assert not torch.equal(images, other)


def test_near_copies_are_moved_and_relit_a_little():
    images = torch.randint(60, 200, (20, 3, 8, 8), dtype=torch.uint8)
    copies = curation.near_copies(images, torch.Generator().manual_seed(0))
    assert copies.shape == images.shape and copies.dtype == torch.uint8
    assert not torch.equal(copies, images)
    moved = [images[:, :, 1 + y : 7 + y, 1 + x : 7 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    gaps = torch.stack(
        [(copies[:, :, 1:7, 1:7].float() / m - 1).abs().amax((1, 2, 3)) for m in moved]
    )
    assert (gaps.min(0).values < 0.06).all()


def test_one_of_each_group_of_copies_stays():
    torch.manual_seed(0)
    centres = torch.randn(10, 64)
    features = centres.repeat_interleave(4, 0) + 0.01 * torch.randn(40, 64)
    assert curation.without_copies(features, 0.9).tolist() == list(range(0, 40, 4))
    assert len(curation.without_copies(features, 1.1)) == 40
    chain = torch.tensor([[1.0, 0], [0.95, 0.31], [0.81, 0.59], [0, 1]])  # 0-1-2, and 3
    assert curation.without_copies(chain, 0.93).tolist() == [0, 3]


def test_the_nearest_are_fetched_first():
    pool = torch.eye(5)
    chosen = torch.tensor([[1, 0.5, 0, 0, 0], [1, 0, 0.5, 0, 0]])
    assert curation.fetched(chosen, pool, 1).tolist() == [0]
    assert set(curation.fetched(chosen, pool, 3).tolist()) == {0, 1, 2}
    assert sorted(curation.fetched(chosen, pool, 5).tolist()) == list(range(5))
    with pytest.raises(ValueError, match="6 pictures cannot be fetched from 5"):
        curation.fetched(chosen, pool, 6)
