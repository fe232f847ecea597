"""A run that was killed goes on to the same bytes; a folder belongs to one run."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modarch_utils.training import checkpoint
from modarch_utils.training.loop import TrainConfig, fit
from tests.training import example

ROOT = Path(__file__).parents[2]
SHORT = TrainConfig(epochs=2, batch_size=16)

pytestmark = pytest.mark.usefixtures("one_thread")


def identical(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in a)


def numbers(history) -> dict[str, list[float]]:
    return {k: v for k, v in history.to_dict().items() if k != "seconds"}


def test_a_killed_run_ends_in_the_same_bytes(tmp_path):
    train, val = example.data(), example.data(30, seed=1)
    straight = example.network(drop_path=0.3)
    expected = fit(straight, train, val, example.RESUMED, progress=False)

    command = [sys.executable, "-m", "tests.training.example", "killed", tmp_path]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    saved = torch.load(tmp_path / checkpoint.NAME, weights_only=True)
    assert len(saved["history"]["train_loss"]) == 1

    # A network with other first weights and another state of the generators: neither matters.
    torch.manual_seed(99)
    resumed = example.network(drop_path=0.3)
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.add_(1)
    history = fit(resumed, train, val, example.RESUMED, out=tmp_path, progress=False)

    assert identical(resumed.state_dict(), straight.state_dict())
    assert identical(history.ema_weights, expected.ema_weights)
    assert not identical(history.ema_weights, resumed.state_dict())
    assert numbers(history) == numbers(expected)


def test_a_finished_run_comes_back_at_once(tmp_path):
    train, val = example.data(), example.data(30, seed=1)
    first = example.network()
    expected = fit(first, train, val, SHORT, out=tmp_path, progress=False)
    again = example.network()
    again.register_forward_pre_hook(lambda module, _: pytest.fail() if module.training else None)
    history = fit(again, train, val, SHORT, out=tmp_path, progress=False)
    assert history == expected
    assert identical(again.state_dict(), first.state_dict())


def test_another_run_in_the_folder_is_refused(tmp_path):
    train = example.data()
    fit(example.network(), train, None, SHORT, out=tmp_path, stop_after=1, progress=False)

    def again(model=None, data=train, val=None, config=SHORT):
        model = model or example.network()
        fit(model, data, val, config, out=tmp_path, progress=False)

    with pytest.raises(ValueError, match=r"settings \(lr: 0.001 there, 0.5 here\).*another folder"):
        again(config=replace(SHORT, lr=0.5))
    changed = train[0].clone()
    changed[50, 1, 2, 3] += 1
    with pytest.raises(ValueError, match="different training data"):
        again(data=(changed, train[1]))
    with pytest.raises(ValueError, match="different validation data"):
        again(val=train)
    with pytest.raises(ValueError, match="different model"):
        again(model=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4)))
    again()  # the same run is welcome


def test_a_damaged_checkpoint_is_named(tmp_path):
    train = example.data()
    fit(example.network(), train, None, SHORT, out=tmp_path, stop_after=1, progress=False)
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged: delete it"):
        fit(example.network(), train, None, SHORT, out=tmp_path, progress=False)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    checkpoint.save(tmp_path, {"history": {"a": 1}})
    before = (tmp_path / checkpoint.NAME).read_bytes()
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(tmp_path, {"history": {}, "model": lambda: None})
    assert (tmp_path / checkpoint.NAME).read_bytes() == before
