"""Scenes and pairs have the same bytes however they are asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modarch_utils.data import pairs, renderer, scenes
from tests.data.pictures import RENDER, same

N = 96


@pytest.fixture(scope="module", params=RENDER)
def made(request):
    """A way to render, and what it renders."""
    render = RENDER[request.param]
    return render, render(N, 64, seed=5)


@given(st.integers(0, N - 12), st.integers(1, 12))
@settings(max_examples=8)
def test_bytes_do_not_depend_on_number_or_start(made, first, n):
    render, batch = made
    assert same(render(n, 64, seed=5, start=first), batch[first : first + n])


@pytest.mark.parametrize("threads", [1, 3])
def test_bytes_do_not_depend_on_threads_or_chunks(made, threads, monkeypatch):
    render, batch = made
    before = torch.get_num_threads()
    # Patched, as the renderer's own bytes are the version of every picture kept so far.
    monkeypatch.setattr(renderer, "PIXELS_AT_ONCE", 13 * 64**2)  # eight uneven chunks
    torch.set_num_threads(threads)
    try:
        assert same(render(N, 64, seed=5), batch)
        assert torch.get_num_threads() == threads  # the setting is put back
    finally:
        torch.set_num_threads(before)


def test_seeds_and_samples_differ(made):
    render, batch = made
    assert not torch.equal(render(8, 64, seed=6).images, batch[:8].images)
    assert len({image.numpy().tobytes() for image in batch.images}) == N


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"n": 0}, "at least 1"),
        ({"size": 31}, "32 to 256 pixels"),
        ({"size": 257}, "32 to 256 pixels"),
        ({"seed": -1}, "must not be negative"),
    ],
)
@pytest.mark.parametrize("make", [scenes.render, scenes.load, pairs.render, pairs.load])
def test_bad_arguments_get_one_sentence(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**{"n": 1, **arguments})


@pytest.mark.parametrize("how", ["render", "load"])
def test_what_only_one_of_them_refuses(how):
    with pytest.raises(ValueError, match="no framing 'far'; choose one of wide, close"):
        getattr(scenes, how)(1, framing="far")
    with pytest.raises(ValueError, match="below 2..32; 4294967296 is not"):
        getattr(pairs, how)(1, seed=2**32)
