"""The scaling law: the fit finds what is there, says what is open, and the grid is fair."""

from dataclasses import astuple, replace

import numpy as np
import pytest
import torch

from modarch_utils.data import scenes
from modarch_utils.measure import count_params
from modarch_utils.studies import scaling

PARAMS = np.repeat([5e3, 2e4, 7e4, 3e5], 4)
IMAGES = np.tile([128, 512, 2048, 8192], 4)
LAW = scaling.Law(0.004, 20.0, 0.6, 15.0, 0.8)


def test_the_fit_finds_a_law_without_noise():
    found = scaling.fit_law(PARAMS, IMAGES, LAW(PARAMS, IMAGES))
    np.testing.assert_allclose(astuple(found), astuple(LAW), rtol=1e-3)


def test_the_fit_does_not_depend_on_the_unit_of_the_error():
    found = scaling.fit_law(PARAMS, IMAGES, 100 * LAW(PARAMS, IMAGES))
    assert found.params_power == pytest.approx(LAW.params_power, rel=1e-3)
    assert found.floor == pytest.approx(100 * LAW.floor, rel=1e-3)


def test_the_spread_of_the_bootstrap_grows_with_the_noise():
    rng = np.random.default_rng(0)
    spread = []
    for noise in (0.02, 0.2):
        errors = LAW(PARAMS, IMAGES)[:, None] * np.exp(noise * rng.standard_normal((16, 3)))
        laws = scaling.bootstrap(PARAMS, IMAGES, errors, times=20)
        powers = [law.images_power for law in laws]
        spread.append(np.std(powers))
        assert abs(np.mean(powers) - LAW.images_power) < 5 * noise
    assert 0 < spread[0] < spread[1] / 3


def test_unfit_input():
    with pytest.raises(ValueError, match="cannot be fitted to 5 points"):
        scaling.fit_law(PARAMS[:5], IMAGES[:5], LAW(PARAMS, IMAGES)[:5])
    with pytest.raises(ValueError, match="needs positive values"):
        scaling.fit_law(PARAMS, IMAGES, np.zeros(16))


def test_widths_quadruple_the_parameters():
    counts = [count_params(scaling.build(width, 0)) for width in scaling.SETTINGS.widths]
    ratios = np.divide(counts[1:], counts[:-1])
    assert (ratios > 3.5).all() and (ratios < 4.1).all()


def test_cells_share_the_steps_and_learn():
    data = scenes.render(128, 32, framing="close")
    settings = replace(scaling.SETTINGS, steps=16)
    for n in (64, 128):
        some = (data.images[:n], data.shape[:n])
        net, history = scaling.train(8, 1e-2, 0, some, settings)
        assert len(history.step_loss) == 16
        assert np.mean(history.step_loss[-4:]) < np.mean(history.step_loss[:4])
    again = scaling.build(8, 0, settings).state_dict()
    assert not torch.equal(again["3.weight"], net.state_dict()["3.weight"])
