"""What several recipes' tests make tiny, and what they ask of each."""

import tomllib

import pytest
import torch
from transformers import AutoModel, Dinov2WithRegistersModel

from modarch_utils import zoo
from modarch_utils.models.mini_sd import MiniSDConfig
from modarch_utils.training.batches import to_input
from recipes import cards

SD = MiniSDConfig(
    image_size=32, vae_channels=(8, 8, 8), unet_channels=(32, 32), text_dim=32, text_layers=1
)


def listed(name):
    """The zoo's entry that a recipe wrote, whose hash is the file's and stands in the card."""
    entry = tomllib.loads((zoo.WEIGHTS / cards.INDEX).read_text("utf-8"))[name]
    folder, _, file = entry["location"].partition(":")
    assert entry["sha256"] == cards.sha256(zoo.WEIGHTS / folder / file)
    known = [known for known in entry.get("parts", {}).values() if known] or [entry["sha256"]]
    card = (zoo.WEIGHTS / folder / "README.md").read_text("utf-8")
    assert entry["kind"] == "shipped" and all(digest in card for digest in known)
    return entry


def interrupted(recipe, module, function, monkeypatch):
    """Run a recipe, and stop it by the keyboard where it first calls a module's function."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, function, stop)
        recipe()


def noise(n=2, size=64):
    """Noise as images (n, 3, size, size) uint8."""
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, size, size), generator=rng, dtype=torch.uint8)


def dinov2_is_ours(folder, ours):
    """Assert that transformers computes from a folder what our network does."""
    theirs = AutoModel.from_pretrained(folder).eval()
    assert isinstance(theirs, Dinov2WithRegistersModel)
    x = to_input(noise())
    with torch.no_grad():
        out, expected = theirs(x), ours(x)
    patches = out.last_hidden_state[:, 1 + theirs.config.num_register_tokens :]
    torch.testing.assert_close(out.pooler_output, expected.cls)
    torch.testing.assert_close(patches, expected.patches)
