"""Two processes under `accelerate launch` follow one process's loss curve."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modarch_utils.training.loop import fit
from tests.training import example

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_two_processes_follow_one(tmp_path):
    launch = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes"),
        *("2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", "1", "--main_process_port", str(free_port())),
        *("-m", "tests.training.example", "shared", str(tmp_path)),
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    run = subprocess.run(
        launch, cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert {f.name for f in tmp_path.glob("rank*")} == {"rank0of2", "rank1of2"}
    two = json.loads((tmp_path / "history.json").read_text("utf-8"))

    val = example.data(31, seed=1)
    model = example.network()
    one = fit(model, example.data(), val, example.SHARED, progress=False)
    assert len(two["step_loss"]) == example.SHARED.epochs * example.STEPS
    for key in ("step_loss", "train_loss", "val_loss"):
        assert two[key] == pytest.approx(getattr(one, key), rel=1e-4), key
    # A share counted twice or not at all would give another denominator than 31.
    for key in ("val_accuracy", "ema_accuracy"):
        assert two[key] == pytest.approx(getattr(one, key), abs=1e-9), key
    assert min(one.step_loss) < 0.97 * one.step_loss[0]  # it did learn something

    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(state["model"][key], value, rtol=1e-3, atol=1e-4)


def test_processes_that_are_not_connected_are_noticed(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one of 2 processes.*ACCELERATE_USE_CPU=true"):
        fit(example.network(), example.data(), None, example.SHARED, progress=False)
