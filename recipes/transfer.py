"""What ImageNet weights are worth where labels are few: 1 to 64 of each shape; three seeds.

``probe``: EfficientNet-Lite0 as it comes, a linear classifier on its pooled features.
``fine_tune``: all of it learns, the pretrained part at a tenth of the classifier's rate.
``layer_decay``: each layer at a part of the rate of the one above. ``unfreeze``: as
``fine_tune``, but from the classifier downwards. ``scratch``: the same network from a random
start. ``small``: the small ConvNet of ``inductive_bias`` from a random start, with four times the
steps. For :mod:`recipes.fine_tuning` there are two more. ``lp_ft``: as ``fine_tune``, but the
classifier begins as ``probe``'s (Kumar et al. 2022, arXiv 2202.10054); ``train_seconds`` leaves
the probe out. ``lora``: the pretrained part stays, and small matrices beside its own learn with
the classifier (Hu et al. 2021, arXiv 2106.09685).

A seed draws which scenes are labelled, the start of what is new, and the batches. Each method's
rate is the better of two on validation scenes, with 16 labels of a shape drawn by another seed;
the regularisation of ``probe`` is chosen on the same scenes.
"""

import math
import time
from dataclasses import asdict, dataclass
from functools import partial

import timm
import torch
from peft import LoraConfig, inject_adapter_in_model
from sklearn.pipeline import Pipeline
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from transformers import AutoModel

from modarch_utils import records, zoo
from modarch_utils.data import scenes
from modarch_utils.models.dinov2 import load_transformers
from modarch_utils.studies.inductive_bias import build
from modarch_utils.studies.transfer import (
    cached_features,
    decayed_rates,
    fine_tune,
    trainable,
    two_rates,
)
from modarch_utils.training.batches import to_input
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.equal_steps import equal_steps
from modarch_utils.training.loop import fit
from modarch_utils.training.probes import linear_probe
from modarch_utils.training.randomness import seeded
from recipes import jobs, mini_dinov2, mini_dinov2_pretrained, streams

NAME = "transfer"
SEEDS = (0, 1, 2)
CHECKPOINT = "efficientnet_lite0"
CLASSES = len(scenes.SHAPES)
TRAINED = ("fine_tune", "layer_decay", "unfreeze", "scratch", "small")
TUNING = {"per_class": 16, "seed": 10}


@dataclass(frozen=True)
class TransferSettings:
    """Data and budget."""

    image_size: int = 64
    framing: str = "wide"
    per_class: tuple[int, ...] = (1, 4, 16, 64)
    """Labelled images of each of the eight shapes."""
    pool: int = 800
    val_images: int = 300
    test_images: int = 1000
    steps: int = 48
    batch_size: int = 32
    """A set with fewer images is repeated until it fills a batch."""
    small_steps: int = 192
    rates: tuple[float, ...] = (3e-3, 1e-2)
    """Peak rates to choose from, of the classifier where there are several."""
    body: float = 0.1
    """Rate of the pretrained part, as a part of the classifier's."""
    layer_decay: float = 0.8
    weight_decay: float = 0.05
    augment: str = "flip"
    backbone: str = CHECKPOINT
    """A key of :data:`BACKBONES`."""
    lora_rank: int = 8


SETTINGS = TransferSettings()


def load(settings: TransferSettings = SETTINGS) -> list[scenes.Scenes]:
    """Scenes to label, to choose and to test."""
    counts = (settings.pool, settings.val_images, settings.test_images)
    return streams.each(counts, settings.image_size, settings.framing)


def efficientnet(pretrained: bool) -> nn.Module:
    """EfficientNet-Lite0 from timm."""
    if pretrained:
        model = zoo.load_timm(CHECKPOINT)
    else:
        model = timm.create_model(zoo.find(CHECKPOINT).timm_name)
    return model.to(memory_format=torch.channels_last)


def dinov2(pretrained: bool) -> nn.Module:
    """The course's ``mini-dinov2`` as timm has it, whose classifier sees the class token."""
    ours = mini_dinov2_pretrained.build(torch.initial_seed())
    if pretrained:
        folder = zoo.folder(mini_dinov2.NAME)
        load_transformers(ours, zoo.whole(AutoModel.from_pretrained(folder), folder).state_dict())
    size = mini_dinov2_pretrained.SETTINGS
    model = VisionTransformer(
        size.image_size,
        size.patch_size,
        embed_dim=size.dim,
        depth=size.depth,
        num_heads=size.num_heads,
        reg_tokens=size.registers,
        init_values=1.0,
        no_embed_class=True,
        global_pool="token",
        num_classes=0,
    )
    model.load_state_dict(checkpoint_filter_fn(dict(ours.state_dict()), model))
    return model


BACKBONES = {CHECKPOINT: efficientnet, mini_dinov2.NAME: dinov2}

ADAPTED = {mini_dinov2.NAME: ["qkv", "proj", "fc1", "fc2"]}
"""The layers that ``lora`` adds to, by the ends of their names; the patches' too. (EfficientNet's
frozen BatchNorm would go on to move.)"""


def network(pretrained: bool, classes: int, seed: int = 0, backbone: str = CHECKPOINT) -> nn.Module:
    """A backbone with a new classifier (0 classes: pooled features), ready to be used."""
    with seeded(seed):
        model = BACKBONES[backbone](pretrained)
        model.reset_classifier(classes)
    return model.eval()


def one_run(
    method: str, per_class: int, lr: float, seed: int, settings: TransferSettings = SETTINGS
) -> dict:
    """Learn from the labelled scenes; accuracies in percent. ``lr`` is 0 for ``probe``.

    ``train_seconds`` is the processor's time for learning alone; ``probe`` has the features of
    the labelled scenes in it.
    """
    index = streams.labelled(load(settings)[0].shape, per_class, seed)
    if method == "probe":
        return probe(index, settings)[0]
    return train(method, index, lr, seed, settings)


def probe(index: Tensor, settings: TransferSettings) -> tuple[dict, Pipeline]:
    """A linear classifier on frozen features; those of validation and test are cached."""
    pool, *others = load(settings)
    started = time.process_time()
    model = network(pretrained=True, classes=0, backbone=settings.backbone)
    val, test = ((cached_features(model, data.images), data.shape) for data in others)
    after = time.process_time()
    with torch.no_grad():  # of the labelled ones only, as somebody with no more would have to
        known = model(to_input(pool.images[index]))
    found = linear_probe((known, pool.shape[index]), val, test)
    result = {
        "val": streams.percent(found.classifier.score(*(part.numpy() for part in val))),
        "test": streams.percent(found.accuracy),
        "strength": found.strength,
        "train_seconds": round(time.process_time() - after, 2),
        "features_seconds": round(after - started, 2),
    }
    return result, found.classifier


@torch.no_grad()
def take_over(head: nn.Linear, classifier: Pipeline) -> None:
    """Give a layer the answers of a classifier on standardised features."""
    scaler, regression = (step for _, step in classifier.steps)
    weight = regression.coef_ / scaler.scale_
    head.weight.copy_(torch.from_numpy(weight))
    head.bias.copy_(torch.from_numpy(regression.intercept_ - weight @ scaler.mean_))


def add_lora(model: nn.Module, settings: TransferSettings) -> None:
    """Freeze a model but for its classifier, and put LoRA's matrices beside its layers."""
    head = model.get_classifier()
    wanted = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_rank,
        target_modules=ADAPTED[settings.backbone],
    )
    inject_adapter_in_model(wanted, model)
    head.requires_grad_(True)


def train(method: str, index: Tensor, lr: float, seed: int, settings: TransferSettings) -> dict:
    """A network, all of it or part by part."""
    pool, *others = load(settings)
    if small := method == "small":
        model = build("convnet", seed)
    else:
        model = network(method != "scratch", CLASSES, seed, settings.backbone)
    if method == "lp_ft":
        take_over(model.get_classifier(), probe(index, settings)[1])
    if method == "lora":
        add_lora(model, settings)
    index = index.repeat(max(1, settings.batch_size // len(index)))
    data = pool.images[index], pool.shape[index]
    config = recipe(len(index), method, lr, seed, settings)
    started = time.process_time()
    if small:
        fit(model, data, None, config, progress=False)
    else:
        schedule = partial(trainable, opens=opening(config.epochs))
        rates_of = peaks(method, model, lr, settings)
        fine_tune(model, data, config, rates_of, schedule if method == "unfreeze" else None)
    seconds = round(time.process_time() - started, 2)
    found = streams.scores(model, *streams.shapes(others))
    return found | {"train_seconds": seconds}


def recipe(n: int, method: str, lr: float, seed: int, settings: TransferSettings) -> TrainConfig:
    """Settings for ``n`` images."""
    return equal_steps(
        n,
        settings.small_steps if method == "small" else settings.steps,
        settings.batch_size,
        lr=lr,
        weight_decay=settings.weight_decay,
        label_smoothing=0.0,
        augment=settings.augment,
        seed=seed,
    )


def peaks(method: str, model: nn.Module, lr: float, settings: TransferSettings) -> dict[str, float]:
    """Peak rate of each parameter."""
    if method == "layer_decay":
        return decayed_rates(model, lr, settings.layer_decay)
    if method in ("scratch", "lora"):
        return two_rates(model, lr, lr)
    return two_rates(model, lr, settings.body * lr)


def opening(epochs: int) -> tuple[int, int, int]:
    """When classifier, last stage and everything else begin to learn."""
    return 0, math.ceil(epochs / 4), math.ceil(epochs / 2)


def main() -> None:
    """Run what is missing and write the record."""
    model = network(pretrained=True, classes=0)
    for data in load()[1:]:  # rendered and computed once, before the processes start
        cached_features(model, data.images)
    settings = {**asdict(SETTINGS), "scenes": scenes.version(), "checkpoint": CHECKPOINT}
    cases = [{"method": method, "per_class": TUNING["per_class"]} for method in TRAINED]
    tried, best = jobs.search(
        NAME, one_run, cases, lambda case: SETTINGS.rates, (TUNING["seed"],), settings
    )
    chosen = [{"method": case["method"], "lr": case["lr"]} for case in best]
    chosen.insert(0, {"method": "probe", "lr": 0})
    todo = jobs.grid(chosen, per_class=SETTINGS.per_class, seed=SEEDS)
    results = jobs.run(NAME, one_run, todo, settings)
    settings |= {"seeds": SEEDS, "best_lr": chosen, "tuning": tried}
    print(records.save(NAME, settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
