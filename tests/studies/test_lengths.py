"""What a layer costs: the layers are what they are called, and the fit finds a known law."""

import numpy as np
import pytest
import torch

from modarch_utils import measure
from modarch_utils.studies import lengths


@pytest.mark.parametrize("name", lengths.SEQUENCE)
def test_every_layer_of_a_sequence_keeps_the_shape(name):
    torch.manual_seed(0)
    x = torch.randn(2, 128, lengths.DIM)
    assert lengths.SEQUENCE[name](128)(x).shape == x.shape


@pytest.mark.parametrize("name", lengths.IMAGE)
def test_every_layer_of_an_image_keeps_the_shape(name):
    torch.manual_seed(0)
    shape = (2, lengths.DIM, 16, 16) if name == "convolution" else (2, 16, 16, lengths.DIM)
    x = torch.randn(shape)
    assert lengths.IMAGE[name](16)(x).shape == x.shape


def test_both_attentions_are_the_same_and_only_one_keeps_its_weights():
    torch.manual_seed(0)
    kept, fused = lengths.SEQUENCE["attention, weights kept"](64), lengths.SEQUENCE["attention"](64)
    kept.load_state_dict(fused.state_dict())
    x = torch.randn(1, 64, lengths.DIM)
    assert torch.allclose(kept(x), fused(x), atol=1e-6)
    memory = {
        name: [measure.peak_memory(lengths.step("sequence", name, n)) for n in (256, 1024)]
        for name in ("attention, weights kept", "attention")
    }
    assert memory["attention, weights kept"][1] > 10 * memory["attention, weights kept"][0]
    assert memory["attention"][1] < 5 * memory["attention"][0]


@pytest.mark.parametrize(
    ("kind", "layer", "size", "reach"),
    [("sequence", "window attention", 256, 64), ("image", "window attention", 16, 8)],
)
def test_a_window_sees_itself_alone(kind, layer, size, reach):
    module = (lengths.SEQUENCE if kind == "sequence" else lengths.IMAGE)[layer](size)
    shape = (1, size, lengths.DIM) if kind == "sequence" else (1, size, size, lengths.DIM)
    x = torch.randn(shape).requires_grad_()
    first = module(x)[0, 0] if kind == "sequence" else module(x)[0, 0, 0]
    first.sum().backward()
    seen = x.grad[0].abs().sum(-1) > 0
    assert seen.sum() == (reach if kind == "sequence" else reach**2)
    assert seen[:reach].all() if kind == "sequence" else seen[:reach, :reach].all()


def test_a_step_can_run_again():
    step = lengths.step("sequence", "Hyena", 64)
    step()
    step()


def test_fit_finds_a_known_law_and_its_uncertainty():
    x = np.array([1.0, 2, 4, 8, 16])
    law = lengths.fit_power_law(x, 3 * x**1.5)
    assert law.exponent == pytest.approx(1.5) and law.factor == pytest.approx(3)
    assert law.error < 1e-6
    assert law([2]) == pytest.approx([3 * 2**1.5])
    rng = np.random.default_rng(0)
    fits = [
        lengths.fit_power_law(x, 3 * x**1.5 * np.exp(rng.normal(0, 0.1, 5))) for _ in range(300)
    ]
    spread = np.std([f.exponent for f in fits])
    assert spread == pytest.approx(np.sqrt(np.mean([f.error**2 for f in fits])), rel=0.2)


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, 0], [1, 2, 3])]
)
def test_fit_names_what_it_needs(x, y):
    with pytest.raises(ValueError, match="three points"):
        lengths.fit_power_law(x, y)
