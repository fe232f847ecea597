"""The recipes of ``mini-sd``, made tiny: from scenes to a pipeline, stopped on the way."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from modarch_utils.training.history import History
from recipes import epochs, mini_sd, mini_sd_autoencoder
from tests.recipes import tiny


def test_from_scenes_to_a_pipeline(place, capsys, monkeypatch):
    make = partial(
        mini_sd.main,
        mini_sd.DataSettings(singles=4, pairs=8, held_out=4),
        replace(mini_sd.CONFIG, epochs=2, batch_size=8),
        tiny.SD,
        mini_sd.Sheet(steps=2),
    )
    with pytest.raises(FileNotFoundError, match=r"recipes.mini_sd_autoencoder`"):
        make()
    mini_sd_autoencoder.main(
        mini_sd_autoencoder.DataSettings(scenes=6, sketches=4, held_out=8),
        replace(mini_sd_autoencoder.CONFIG, epochs=2, batch_size=8),
        tiny.SD,
    )
    run = place / "runs" / "mini_sd_autoencoder"
    assert Image.open(run / "epoch-002.png").width > 500
    scores = json.loads((run / "scores.json").read_text("utf-8"))
    assert scores.keys() == {"1", "2"} and scores["2"]["psnr"] > 3

    # Between the first epoch and the second.
    tiny.interrupted(make, epochs, "keep", monkeypatch)
    make()
    printed = capsys.readouterr().out
    assert printed.count("epoch 2:") == 2 and "untold" in printed
    folder = place / "weights" / "mini-sd"
    weights = {file: file.read_bytes() for file in folder.glob("*/*.safetensors")}
    entry = tiny.listed("mini-sd")
    assert {folder / part for part in entry["parts"]} == weights.keys() and len(weights) == 3
    assert entry["quality"] == "not measured yet"
    pipe = DiffusionPipeline.from_pretrained(folder)
    assert pipe.vae.config.scaling_factor != 1
    kept = json.loads((place / "mini_sd.json").read_text("utf-8"))
    assert [row["epoch"] for row in kept["results"]] == [1, 2]
    make()  # finished: it writes the same again
    assert all(file.read_bytes() == before for file, before in weights.items())


@pytest.mark.parametrize("wanted, trains, measures", [(5, [1, 4, 5], [3, 4, 5]), (3, [1], [3])])
def test_a_run_goes_on_with_the_last_epoch_that_was_finished(tmp_path, wanted, trains, measures):
    def train(until):
        trained.append(until)
        done = max(until, 3)  # three were done before a stop
        return History(train_loss=[1.0] * done, seconds=[1.0] * done)

    trained = []
    _, rows = epochs.measured(train, wanted, tmp_path, lambda epoch, history: {})
    assert trained == trains and [row["epoch"] for row in rows] == measures


def test_the_sheet_asks_for_every_class():
    prompts = mini_sd.SHEET.prompts
    assert len(set(prompts)) == 16
    words = {word for prompt in prompts for word in prompt.split()}
    known = mini_sd.mini_sd.vocabulary(mini_sd.tokenizer())
    assert words | {"pencil", "sketch"} == set(known)


def test_every_picture_has_its_caption():
    images, captions = mini_sd.pictures(3, 2, 3)
    assert len(images) == len(captions) == 2 * (2 + 3)
    assert torch.equal(images[:2].flip(3), images[2:4]) and captions[:2] == captions[2:4]
    before, after = captions[4], captions[7]  # a scene and its mirror image
    assert before.split(" on ")[1] == after.split(" on ")[1]
    first, second = before.split(" on ")[0].split(" left of ")
    assert after.startswith(f"{second} left of {first}")


def test_the_autoencoder_sees_sketches_too():
    images = mini_sd_autoencoder.load(4, sketches=2, seed=3)
    assert len(images) == 2 * 4 + 2
    colourful = (images.float().std(1).mean((1, 2)) > 1).tolist()
    assert colourful == [True] * 8 + [False] * 2
