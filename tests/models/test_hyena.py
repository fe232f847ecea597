"""What Hyena promises: causal, any length up to its longest, filters from a small network."""

import pytest
import torch

from modarch_utils.models.hyena import Hyena, HyenaFilter, fft_conv
from modarch_utils.models.sequence import SequenceModel


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_future_changes_nothing_before_it(order):
    torch.manual_seed(0)
    model = Hyena(16, 100, order=order).eval()
    x = torch.randn(2, 100, 16)
    changed = x.clone()
    changed[:, 60:] = 10 * torch.randn(2, 40, 16)
    with torch.no_grad():
        a, b = model(x), model(changed)
    # Not bit for bit: the FFT spreads the rounding of the large numbers over all positions.
    assert (a[:, :60] - b[:, :60]).abs().max() <= 1e-5 * b.abs().max()
    assert (a[:, 60:] - b[:, 60:]).abs().max() > 0.1


def test_shorter_sequences_use_the_beginning_of_the_same_filters():
    torch.manual_seed(0)
    model = Hyena(12, 64).eval()
    x = torch.randn(2, 64, 12)
    with torch.no_grad():
        whole = model(x)
        for length in (1, 2, 31, 64):
            torch.testing.assert_close(
                model(x[:, :length]), whole[:, :length], rtol=1e-4, atol=1e-5
            )


def test_filters_fade_and_parameters_do_not_grow_with_the_length():
    torch.manual_seed(0)
    filters = HyenaFilter(32, 1000)
    h = filters(1000).abs()
    assert h.shape == (32, 1000)
    assert filters(10).shape == (32, 10)
    # The window is 1 at the start; at 30 % of the length the fastest has fallen to 1 %.
    assert torch.equal(filters.window[0], torch.ones(32))
    assert filters.window[300, 0].item() == pytest.approx(0.01, rel=0.02)
    assert (filters.window[300].diff() > 0).all()
    short, long = (sum(p.numel() for p in HyenaFilter(32, n).parameters()) for n in (10, 1000))
    assert short == long
    assert not [k for k in filters.state_dict() if k.startswith(("window", "encoding"))]


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="has 11 positions.*max_length=11 or more"):
        Hyena(4, 10)(torch.randn(1, 11, 4))
    with pytest.raises(ValueError, match="order is 0"):
        Hyena(4, 10, order=0)
    with pytest.raises(ValueError, match="filter has 5 values and the sequence 6"):
        fft_conv(torch.randn(1, 2, 6), torch.randn(2, 5))


def test_stack_is_causal_and_every_weight_learns():
    torch.manual_seed(0)
    model = SequenceModel(7, 16, 2, lambda dim: Hyena(dim, 20))
    symbols = torch.randint(7, (2, 20))
    logits = model(symbols)
    assert logits.shape == (2, 20, 7)
    changed = symbols.clone()
    changed[:, 15:] = (symbols[:, 15:] + 1) % 7
    torch.testing.assert_close(model(changed)[:, :15], logits[:, :15], rtol=1e-4, atol=1e-5)
    logits.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
