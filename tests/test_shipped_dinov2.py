"""The two DINOv2 models of the course load by transformers alone and are as good as they say."""

import re

import pytest

from modarch_utils import records, zoo
from recipes import dinov2_features
from tests.recipes.tiny import dinov2_is_ours


@pytest.mark.parametrize("name", dinov2_features.SHIPPED)
def test_shipped_weights_are_as_good_as_their_card_says(name):
    network = dinov2_features.shipped(name)
    dinov2_is_ours(zoo.folder(name), network)
    text = (zoo.folder(name) / "README.md").read_text("utf-8")
    assert f"sha256 `{zoo.find(name).sha256}`" in text
    promised = text.partition("Quick check")[2]
    for factor, value in dinov2_features.quick(network).items():
        said = float(re.search(rf"{factor} ([\d.]+) %", promised)[1])
        # Another machine's rounding may turn a few of the queries.
        assert value == pytest.approx(said, abs=2), factor


def test_record_is_of_these_weights_and_whole():
    record = records.load(dinov2_features.NAME)
    for name in dinov2_features.SHIPPED:
        assert record["settings"]["sha256"][name] == zoo.find(name).sha256
    for name in dinov2_features.BACKBONES:
        seeds = records.select(record, "seed", name=name).tolist()
        assert seeds == record["settings"]["seeds"] == list(dinov2_features.SEEDS)
    shape = {n: dinov2_features.mean(record, "shape_knn", n) for n in dinov2_features.BACKBONES}
    for name in dinov2_features.SHIPPED:
        assert shape[name] > shape["untrained"]
        assert zoo.find(name).quality == dinov2_features.zoo_line(record, name)
