"""The recipes of ``mini-sd``, made tiny: from scenes to a pipeline, stopped on the way."""

import json
from dataclasses import replace

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from modarch_utils import records, zoo
from modarch_utils.models.mini_sd import MiniSDConfig
from modarch_utils.training.history import History
from recipes import epochs, mini_sd, mini_sd_autoencoder

TINY = MiniSDConfig(
    image_size=32, vae_channels=(8, 8, 8), unet_channels=(32, 32), text_dim=32, text_layers=1
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    vae = tmp_path / "weights" / "mini-sd" / "vae"
    monkeypatch.setattr(mini_sd_autoencoder, "FOLDER", vae)
    monkeypatch.setattr(mini_sd, "AUTOENCODER", vae)
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    for recipe in (mini_sd_autoencoder, mini_sd):
        monkeypatch.setattr(recipe, "SIZE", TINY)
        monkeypatch.setattr(recipe, "CONFIG", replace(recipe.CONFIG, epochs=2, batch_size=8))
    data = mini_sd_autoencoder.DataSettings(scenes=6, sketches=4, held_out=8)
    monkeypatch.setattr(mini_sd_autoencoder, "DATA", data)
    monkeypatch.setattr(mini_sd, "DATA", mini_sd.DataSettings(singles=4, pairs=8, held_out=4))
    monkeypatch.setattr(mini_sd, "SHEET_STEPS", 2)
    return tmp_path


def test_from_scenes_to_a_pipeline(tiny, capsys, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"recipes.mini_sd_autoencoder`"):
        mini_sd.main()
    mini_sd_autoencoder.main()
    run = tiny / "runs" / "mini_sd_autoencoder"
    assert Image.open(run / "epoch-002.png").width > 500
    scores = json.loads((run / "scores.json").read_text("utf-8"))
    assert scores.keys() == {"1", "2"} and scores["2"]["psnr"] > 3

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mini_sd, "keep", stop)  # between the first epoch and the second
        mini_sd.main()
    mini_sd.main()
    printed = capsys.readouterr().out
    assert printed.count("epoch 2:") == 2 and "untold" in printed
    folder = tiny / "weights" / "mini-sd"
    assert "sha256" in (folder / "README.md").read_text("utf-8")
    pipe = DiffusionPipeline.from_pretrained(folder)
    assert pipe.vae.config.scaling_factor != 1
    kept = json.loads((tiny / "mini_sd.json").read_text("utf-8"))
    assert [row["epoch"] for row in kept["results"]] == [1, 2]
    weights = {file: file.read_bytes() for file in folder.glob("*/*.safetensors")}
    mini_sd.main()  # finished: it writes the same again
    assert len(weights) == 3
    assert all(file.read_bytes() == before for file, before in weights.items())


def test_a_run_goes_on_with_the_last_epoch_that_was_finished():
    def train(until):
        trained.append(until)
        return History(train_loss=[1.0] * max(until, 3))  # three were done before a stop

    trained = []
    given = [epoch for epoch, _ in epochs.each_epoch(train, 5)]
    assert trained == [1, 4, 5] and given == [3, 4, 5]
    trained = []
    assert [epoch for epoch, _ in epochs.each_epoch(train, 3)] == [3]


def test_the_sheet_asks_for_every_class():
    prompts = mini_sd.prompts()
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
