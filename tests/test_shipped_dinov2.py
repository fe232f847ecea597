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
    promised = text.partition("Quick check")[2]
    for factor, value in dinov2_features.quick(network).items():
        said = float(re.search(rf"{factor} ([\d.]+) %", promised)[1])
        # Another machine's rounding may turn a few of the queries.
        assert value == pytest.approx(said, abs=2), factor


def test_both_know_more_than_the_random_start_and_the_zoo_says_so():
    record = records.load(dinov2_features.NAME)
    shape = {n: dinov2_features.mean(record, "shape_knn", n) for n in dinov2_features.BACKBONES}
    for name in dinov2_features.SHIPPED:
        assert shape[name] > shape["untrained"]
        assert zoo.find(name).quality == dinov2_features.zoo_line(record, name)
