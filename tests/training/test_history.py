"""A history survives JSON and draws what it holds."""

import json

import matplotlib.pyplot as plt
import pytest
import torch

from modarch_utils.training.history import History


def run() -> History:
    return History(
        train_loss=[2.0, 1.0],
        val_loss=[2.5, 1.5],
        val_accuracy=[0.4, 0.3],
        ema_accuracy=[0.2, 0.5],
        lr=[0.1, 0.01],
        seconds=[3.0, 4.0],
        step_loss=[2.5, 1.5, 1.25, 0.75],
        ema_weights={"w": torch.zeros(1)},
    )


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_round_trip_through_json():
    again = History.from_dict(json.loads(json.dumps(run().to_dict())))
    assert again == run()
    assert again.ema_weights is None


def test_summaries():
    assert run().epochs == 2
    assert run().final_accuracy == 0.3
    assert run().best == 0.5
    with pytest.raises(ValueError, match="no validation set"):
        _ = History(train_loss=[1.0]).final_accuracy


def test_plot_draws_every_curve():
    figure = run().plot()
    loss, accuracy = figure.axes
    steps, train, val = loss.lines
    assert steps.get_xdata().tolist() == [0.5, 1.0, 1.5, 2.0]
    assert steps.get_ydata().tolist() == run().step_loss
    assert train.get_ydata().tolist() == [2.0, 1.0]
    assert val.get_ydata().tolist() == [2.5, 1.5]
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [[0.4, 0.3], [0.2, 0.5]]
    figure.canvas.draw()


def test_plot_without_validation_has_one_panel():
    (loss,) = History(train_loss=[1.0], step_loss=[1.0]).plot().axes
    assert len(loss.lines) == 2


def test_runs_can_share_an_axis():
    figure, ax = plt.subplots()
    assert run().plot(ax, label="a") is figure
    run().plot(ax, label="b")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.4, 0.3]] * 2
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
